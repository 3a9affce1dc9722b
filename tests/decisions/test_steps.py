import functools
import math

import numpy as np
import polars as pl
import pytest

from batchscope.budget import Target
from batchscope.decisions.steps import ExamplesForecast, forecast_examples
from batchscope.estimate import Estimate, Interval, NotIdentified
from batchscope.findings.curves import read_curves
from batchscope.findings.tables.normalise import normalise_table
from batchscope.findings.tuning import Ranking, tune_sizes

from ..shared_data import measured


def forecast(
    table: pl.DataFrame, sizes: list[int], target: float, others: list[int]
) -> ExamplesForecast:
    kept = table.filter(pl.col("batch_size").is_in(sizes))
    runs = normalise_table(kept, mapping={"metric": "metric"}, where={})
    tuned = tune_sizes(read_curves(runs.frame), Ranking(quality=runs.metric, higher=True))
    return forecast_examples(tuned, Target(runs.metric, target, ">="), others)


def recorded(workload: str) -> pl.DataFrame:
    table = pl.read_csv(measured("pollux/training_curves.csv"))
    return table.filter(pl.col("workload") == workload).select(
        "batch_size",
        pl.col("iteration").alias("step"),
        pl.col("samples").alias("examples"),
        "metric",
    )


def test_three_batch_sizes_of_a_recorded_job_predict_three_others() -> None:
    table = recorded("cifar10")
    others = [256, 512, 2048]
    errors: list[float] = []
    outside, widths = 0, []
    for target in (0.90, 0.92, 0.93, 0.935, 0.94):
        found = forecast(table, [128, 1024, 4096], target, others)
        truth = forecast(table, others, target, [])
        true = {one.batch_size: one.measured for one in truth.left_out}
        for size, estimate in found.examples.items():
            assert isinstance(estimate, Interval)
            errors.append(abs(estimate.value / true[size] - 1))
            outside += not estimate.low <= true[size] <= estimate.high
            widths.append(estimate.high / estimate.low)

    assert np.median(errors) <= 0.07
    assert outside <= 2
    assert np.median(widths) <= 1.6


def test_two_evaluations_a_run_cannot_tell_batch_sizes_apart() -> None:
    found = forecast(recorded("bert"), [12, 96, 384], 88.0, [24, 48, 192])

    for estimate in found.examples.values():
        assert isinstance(estimate, NotIdentified)
        assert "at most one evaluation apart" in estimate.reason
    assert found.error is None


SIZES = [32, 128, 512, 2048]
HELD_OUT = [256, 4096, 8192]
# Of the variance that a seed has at every batch size, over that which it has at one.
SHARED = [0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]


def simulated(seed: int, *, is_plain: bool, seeds: int = 3) -> tuple[pl.DataFrame, float, float]:
    """A study drawn as the forecast takes studies to be; its critical batch size and alpha.

    Args:
        is_plain: seeds have nothing in common from one batch size to another.
    """
    rng = np.random.default_rng(seed)
    critical = 2 ** rng.uniform(6, 11)
    alpha = rng.normal(1, 0.1)
    shared = 0.0 if is_plain else rng.choice(SHARED)
    common = 0.05 * math.sqrt(shared) * rng.standard_normal(seeds)
    rows: list[dict[str, float]] = []
    for size in SIZES:
        for number in range(seeds):
            noise = common[number] + 0.05 * rng.standard_normal()
            steps = 100 * (1 + (critical / size) ** alpha) * math.exp(noise)
            for share in np.linspace(0, 1.2, 61):
                rows.append(
                    {
                        "batch_size": size,
                        "seed": number,
                        "step": share * steps,
                        "examples": share * steps * size,
                        "metric": share,
                    }
                )
    return pl.DataFrame(rows), critical, alpha


@functools.cache
def foreseen(seed: int, *, is_plain: bool) -> tuple[dict[int, Estimate], float, float]:
    """The examples that all held-out sizes are forecast to need, in one of the studies drawn; with
    its critical batch size and alpha.
    """
    table, critical, alpha = simulated(seed, is_plain=is_plain)
    return dict(forecast(table, SIZES, 1.0, HELD_OUT).examples), critical, alpha


def coverage(size: int, times: int, *, is_plain: bool) -> float:
    """How often the interval holds what the size needs on average over seeds.

    Outside the data the curve bends by a tenth per doubling (one standard deviation), as the
    forecast allows for; not where `is_plain`.
    """
    inside = 0
    outside = 0.0 if is_plain else max(0.0, math.log2(size / SIZES[-1]))
    for seed in range(times):
        examples, critical, alpha = foreseen(seed, is_plain=is_plain)
        bend = 0.1 * outside * np.random.default_rng([seed, size]).standard_normal()
        true = size * 100 * (1 + (critical / size) ** alpha) * math.exp(bend)
        found = examples[size]
        inside += isinstance(found, Interval) and found.low <= true <= found.high
    return inside / times


@pytest.mark.parametrize("is_plain", [True, False])
def test_the_intervals_of_held_out_sizes_cover(is_plain: bool) -> None:
    # 90% of 60, less four standard errors.
    assert coverage(256, 60, is_plain=is_plain) >= 0.75


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("size", HELD_OUT)
def test_the_intervals_of_held_out_sizes_cover_nine_in_ten(size: int) -> None:
    assert 0.87 <= coverage(size, 1000, is_plain=False) <= 0.93


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("size", HELD_OUT)
@pytest.mark.xfail(strict=True, reason="they are too wide: 96%, 100% and 100% of 1,000")
def test_they_cover_nine_in_ten_where_nothing_is_shared_and_nothing_bends(size: int) -> None:
    assert 0.87 <= coverage(size, 1000, is_plain=True) <= 0.93
