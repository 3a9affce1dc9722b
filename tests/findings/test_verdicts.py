from collections import Counter

import numpy as np
import polars as pl
import pytest

from batchscope.findings.analysis import Analysis, analyze_curves
from batchscope.findings.curves import read_curves
from batchscope.findings.tables.normalise import normalise_table

from . import planted

KINDS = {
    "fewer_updates": planted.fewer_updates(4.0),
    "generalization": planted.generalization(4.0),
    "learning_rate": planted.learning_rate(4.0),
    "no_difference": planted.no_difference(),
}
NAMES = (*KINDS, "batch_norm_noise")


def make(name: str, *, seed: int) -> pl.DataFrame:
    seeds = 5 + seed % 6
    if name == "batch_norm_noise":
        return planted.make_norm_table(4.0, seed=seed, seeds=seeds)
    return planted.make_table(KINDS[name], seed=seed, seeds=seeds)


def analyze(table: pl.DataFrame, *, margin: float) -> Analysis:
    runs = normalise_table(table, mapping={}, where={}, epoch_examples=planted.TRAIN_SIZE)
    return analyze_curves(
        read_curves(runs.frame),
        study="planted",
        task="planted",
        quality=runs.metric,
        higher=runs.higher,
        target=None,
        unit="examples",
        rank_by_target=False,
        margin=margin,
    )


def judge(table: pl.DataFrame, *, margin: float) -> tuple[str, float]:
    found = analyze(table, margin=margin)
    verdict = max(found.verdicts, key=lambda v: (v.large, -v.small), default=None)
    return ("none", 0.0) if verdict is None else (verdict.verdict, verdict.confidence)


def count(name: str, times: int) -> tuple[float, float]:
    """Shares that are right, and that are wrong and stated as sure."""
    # Equivalence at three deviations, so that it too can be shown.
    margin = 1.5 if name in {"fewer_updates", "generalization", "learning_rate"} else 3.0
    said = [judge(make(name, seed=seed), margin=margin * planted.SPREAD) for seed in range(times)]
    right = [verdict == name for verdict, _ in said]
    wrong = [verdict != name and confidence > 0.95 for verdict, confidence in said]
    return float(np.mean(right)), float(np.mean(wrong))


@pytest.mark.parametrize("name", NAMES)
def test_a_planted_explanation_is_found(name: str) -> None:
    right, wrong = count(name, 20)

    # Of 20 at 90% fewer than 15 are right once in ninety.
    assert right >= 0.75
    assert wrong <= 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_hundred_planted_tables_of_each_kind(name: str) -> None:
    right, wrong = count(name, 200)

    assert right >= 0.9
    assert wrong <= 0.02


@pytest.mark.slow
def test_effects_of_half_a_deviation_are_not_explained() -> None:
    said: Counter[str] = Counter()
    for seed in range(200):
        kind = (planted.fewer_updates, planted.generalization)[seed % 2](0.5)
        table = planted.make_table(kind, seed=seed, seeds=5 + seed % 6)
        said[judge(table, margin=0.4 * planted.SPREAD)[0]] += 1

    assert said["cannot_tell"] + said["not_enough_seeds"] >= 180


def test_batch_norm_is_named_where_a_fixed_ghost_size_closes_the_gap() -> None:
    rows = planted.make_table(planted.generalization(5.0), seed=0, seeds=6)
    plain = rows.with_columns(pl.col("batch_size").cast(pl.Float64).alias("ghost_batch"))
    # With statistics over 16 examples the largest batch is as the smallest.
    arm = plain.filter(pl.col("batch_size") == 16).with_columns(
        pl.lit(256).alias("batch_size"),
        pl.lit(16.0).alias("ghost_batch"),
        ("ghost-" + pl.col("run")).alias("run"),
        (pl.col("test_error") + 0.0002 * pl.col("seed")).alias("test_error"),
    )

    found = analyze(pl.concat([plain, arm], how="vertical_relaxed"), margin=0.006)

    verdict = next(v for v in found.verdicts if (v.small, v.large) == (16, 256))
    assert verdict.verdict == "batch_norm_noise"


def test_one_seed_is_too_few() -> None:
    found = analyze(planted.make_table(planted.generalization(5.0), seed=0, seeds=1), margin=0.006)

    assert found.verdicts
    assert {v.verdict for v in found.verdicts} == {"not_enough_seeds"}


def test_without_training_loss_a_difference_is_not_explained() -> None:
    table = planted.make_table(planted.generalization(5.0), seed=0, seeds=6).drop("train_loss")

    found = analyze(table, margin=0.006)

    assert {v.verdict for v in found.verdicts if v.large == 256} == {"cannot_tell"}
