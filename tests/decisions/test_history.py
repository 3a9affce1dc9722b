import math
from collections.abc import Sequence

import numpy as np
import pytest

from batchscope.decisions.history import History, read_history
from batchscope.findings.scaling import StepsToTarget

SIZES = [8, 32, 128, 512, 2048]


def runs_of(
    critical: float,
    rng: np.random.Generator,
    *,
    sizes: Sequence[int] = SIZES,
    noise: float = 0.02,
    seeds: int = 3,
) -> list[StepsToTarget]:
    return [
        StepsToTarget(
            batch_size=size,
            seed=seed,
            steps=100 * (1 + critical / size) * math.exp(noise * rng.standard_normal()),
        )
        for size in sizes
        for seed in range(seeds)
    ]


def test_critical_batch_sizes_of_other_tasks_are_found(rng: np.random.Generator) -> None:
    planted = {"a": 50.0, "b": 100.0, "c": 200.0, "d": 400.0}

    history = read_history({name: runs_of(size, rng) for name, size in planted.items()})

    assert history is not None
    # A noise of 2% in three seeds at five sizes leaves a tenth.
    assert history.critical == pytest.approx(planted, rel=0.1)
    assert history.error is not None
    assert 0 < history.error < 1


def test_two_tasks_are_no_history(rng: np.random.Generator) -> None:
    assert read_history({name: runs_of(100.0, rng) for name in "ab"}) is None
    # Of the third no curve is known.
    few = runs_of(100.0, rng, sizes=[8, 32])
    assert read_history({name: runs_of(100.0, rng) for name in "ab"} | {"c": few}) is None


@pytest.mark.parametrize("size", [16, 512])
def test_its_interval_covers_a_new_task_as_often_as_it_says(size: int) -> None:
    """Tasks whose log B_c is normal; the new one was run at batch size 64 alone."""
    inside = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        middle, spread = rng.uniform(3, 7), rng.uniform(0.3, 1.5)
        drawn = np.exp(middle + spread * rng.standard_normal(6))
        history = History(critical=dict(zip("abcde", drawn[:5], strict=True)), error=None)
        own = runs_of(drawn[5], rng, sizes=[64], noise=0.1)
        found = history.predict(own, size)
        inside += found.low <= size * 100 * (1 + drawn[5] / size) <= found.high

    # 90%, and three standard errors of 400 either way; seeds scatter less than is usual.
    assert 0.855 <= inside / 400 <= 0.975


def test_the_nearest_size_that_was_run_is_where_it_begins(rng: np.random.Generator) -> None:
    history = History(critical=dict.fromkeys("abc", 100.0), error=None)

    found = history.predict(runs_of(100.0, rng, sizes=[8, 512], noise=0.0), 512)

    # At the size itself only its own seeds' scatter is left, usually a seventh.
    assert found.value == pytest.approx(512 * 100 * (1 + 100 / 512), rel=0.01)
    assert found.high / found.low < 1.6
