import json

import numpy as np
import pytest

from batchscope.budget import Target
from batchscope.errors import CannotTell
from batchscope.estimate import Interval, NotIdentified
from batchscope.findings.analysis import Analysis, analyze_curves
from batchscope.findings.curves import Curve

from .curves import make_curve


def analyze(curves: list[Curve], target: Target | None = None) -> Analysis:
    return analyze_curves(
        curves,
        study="abc",
        task="t",
        quality="error",
        higher=False,
        target=target,
        unit="images",
    )


def make_study(rng: np.random.Generator) -> list[Curve]:
    """Sizes 8 to 64, three seeds each; the larger, the slower it learns."""
    return [
        make_curve(
            size,
            seed=seed,
            error=np.exp(-np.arange(6) * (4 - place) * 0.3 * rng.uniform(0.95, 1.05)).tolist(),
            loss=np.exp(-np.arange(6) * (4 - place) * 0.3).tolist(),
        )
        for place, size in enumerate((8, 16, 32, 64))
        for seed in range(3)
    ]


def test_each_size_has_its_steps_examples_and_seconds(rng: np.random.Generator) -> None:
    analysis = analyze(make_study(rng), Target("error", 0.5, "<="))

    assert [size.batch_size for size in analysis.sizes] == [8, 16, 32, 64]
    steps = [
        size.steps.value for size in analysis.sizes if not isinstance(size.steps, NotIdentified)
    ]
    assert steps == sorted(steps)
    assert analysis.fastest is not None
    assert analysis.fastest.best == 8


def test_a_size_that_never_got_there_is_shown_with_its_horizon(rng: np.random.Generator) -> None:
    analysis = analyze(make_study(rng), Target("error", 0.1, "<="))

    last = analysis.sizes[-1]
    assert last.reached == 0
    assert isinstance(last.steps, NotIdentified)
    assert last.steps.low == 50


def test_without_a_target_one_is_derived_and_said_to_be(rng: np.random.Generator) -> None:
    analysis = analyze(make_study(rng))

    assert analysis.target_derived
    assert analysis.target is not None
    assert analysis.sizes[0].reached == 3


def test_the_same_rate_at_every_size_is_shown_beside_the_tuned_ones(
    rng: np.random.Generator,
) -> None:
    curves = make_study(rng)
    curves += [make_curve(64, lr=0.4, seed=s, error=[0.1, 0.1, 0.1 + s / 100]) for s in range(3)]

    analysis = analyze(curves)

    assert analysis.fixed_rate is not None
    assert analysis.fixed_rate.learning_rate == 0.1
    assert analysis.sizes[-1].learning_rate == 0.4
    assert any("At one learning rate, 0.1" in sentence for sentence in analysis.sentences)


def test_training_loss_stands_beside_every_statement_about_quality(
    rng: np.random.Generator,
) -> None:
    analysis = analyze(make_study(rng))

    both = [s for s in analysis.sentences if "batch size 8 and" in s]
    assert both
    assert all("training loss" in sentence for sentence in both)


def test_unmeasured_seconds_are_not_identified(rng: np.random.Generator) -> None:
    curves = make_study(rng)
    for curve in curves:
        curve.columns["seconds"][:] = np.nan

    analysis = analyze(curves, Target("error", 0.5, "<="))

    seconds = analysis.sizes[0].seconds
    assert isinstance(seconds, NotIdentified)
    assert seconds.remedy == "batchscope profile"


def test_where_everything_diverged_the_lowest_rate_is_named() -> None:
    curves = [make_curve(lr=lr, status="diverged", error=[1, 1, 1]) for lr in (0.1, 0.003)]

    with pytest.raises(CannotTell, match="0.003"):
        analyze(curves)


def test_findings_are_json_without_nan(rng: np.random.Generator) -> None:
    document = analyze(make_study(rng)).to_dict()

    assert json.loads(json.dumps(document, allow_nan=False))["batch_sizes"][0]["batch_size"] == 8


def test_at_one_rate_the_largest_size_is_held_against_the_smallest_over_seeds(
    rng: np.random.Generator,
) -> None:
    ends = {8: 0.10, 64: 0.30}
    curves = [
        make_curve(size, lr=0.1, seed=s, error=[0.9, 0.5, end + 0.01 * rng.standard_normal()])
        for size, end in ends.items()
        for s in range(5)
    ]

    fixed = analyze(curves).fixed_rate

    assert fixed is not None
    difference = fixed.difference.difference
    assert isinstance(difference, Interval)
    assert difference.low < 0.2 < difference.high


def test_a_size_that_may_or_may_not_be_worse_is_open_and_the_seeds_that_tell_are_counted(
    rng: np.random.Generator,
) -> None:
    curves = [
        make_curve(size, lr=0.1, seed=s, error=[0.9, 0.5, 0.1 + 0.02 * rng.standard_normal()])
        for size in (8, 16)
        for s in range(3)
    ]

    left_open = [f for f in analyze(curves).findings if f.about == "quality" and f.is_open]

    assert len(left_open) == 1
    experiment = left_open[0].experiment
    assert experiment is not None
    assert experiment.runs is not None
    assert experiment.what == f"--seeds {3 + experiment.runs // 2}"
