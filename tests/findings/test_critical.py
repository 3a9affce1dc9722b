"""B_20 where the largest sizes miss the target."""

import numpy as np

from batchscope.budget import Target
from batchscope.estimate import Interval, NotIdentified
from batchscope.findings.critical import CriticalBatchSize, find_critical
from batchscope.findings.tuning import Ranking, tune_sizes

from .curves import make_curve

TARGET = Target("val_loss", 0.1, "<=")


def curves_of(size: int, steps: float, *, budget: int) -> list:
    """Three seeds whose log loss falls evenly to the target in so many steps."""
    rng = np.random.default_rng(size)
    places = np.arange(0, budget + 1, 10)
    return [
        make_curve(
            size,
            seed=seed,
            loss=tuple(0.1 ** (places / (steps * np.exp(0.02 * rng.standard_normal())))),
        )
        for seed in range(3)
    ]


def critical_of(*curves: list) -> CriticalBatchSize:
    ranking = Ranking(quality="val_loss", higher=False)
    found = find_critical(tune_sizes([c for some in curves for c in some], ranking), TARGET)
    assert found is not None
    return found


def test_a_size_that_misses_the_target_bounds_b_20_from_above() -> None:
    whole = [curves_of(8, 400, budget=800), curves_of(16, 200, budget=800)]
    # Twice the examples of batch size 8, and still not there.
    missed = curves_of(256, 100, budget=30)
    assert 256 * 30 > 2 * 8 * 400

    bounded = critical_of(*whole, missed).b_20
    alone = critical_of(*whole).b_20

    assert isinstance(bounded, NotIdentified)
    assert (bounded.low, bounded.high) == (16, 256)
    assert "256 misses the target" in bounded.reason
    assert isinstance(alone, NotIdentified)
    assert alone.high is None


def test_a_size_that_was_trained_too_short_bounds_nothing() -> None:
    whole = [curves_of(8, 400, budget=800), curves_of(16, 200, budget=800)]

    assert critical_of(*whole, curves_of(64, 100, budget=20)).b_20.high is None


def test_where_a_measured_size_passes_it_b_20_lies_before_that() -> None:
    found = critical_of(
        curves_of(8, 400, budget=800),
        curves_of(16, 210, budget=800),
        curves_of(32, 150, budget=800),
    ).b_20

    assert isinstance(found, Interval)
    assert 16 < found.value < 32
