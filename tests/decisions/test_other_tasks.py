import math
from collections.abc import Sequence

import numpy as np
import pytest

from batchscope.decisions.other_tasks import History, OtherTask, read_history
from batchscope.estimate import Interval, NotIdentified
from batchscope.findings.to_target import StepsToTarget

SIZES = [8, 32, 128, 512, 2048]


def runs_of(
    critical: float,
    rng: np.random.Generator,
    *,
    sizes: Sequence[int] = SIZES,
    noise: float = 0.02,
    seeds: int = 3,
    alpha: float = 1.0,
) -> list[StepsToTarget]:
    return [
        StepsToTarget(
            batch_size=size,
            seed=seed,
            steps=100 * (1 + (critical / size) ** alpha) * math.exp(noise * rng.standard_normal()),
        )
        for size in sizes
        for seed in range(seeds)
    ]


def exactly(value: float) -> Interval:
    return Interval(value=value, low=value, high=value, unit="examples")


def test_critical_batch_sizes_of_other_tasks_are_found(rng: np.random.Generator) -> None:
    planted = {"a": 50.0, "b": 100.0, "c": 200.0, "d": 400.0}

    history = read_history(
        {name: OtherTask.of(runs_of(size, rng)) for name, size in planted.items()}
    )

    assert history is not None
    # A noise of 2% in three seeds at five sizes leaves a tenth.
    found = {name: size.value for name, size in history.critical.items()}
    assert found == pytest.approx(planted, rel=0.1)
    assert history.unbounded == ()
    assert history.error is not None
    assert 0 < history.error < 1


def test_two_tasks_are_no_history(rng: np.random.Generator) -> None:
    known = {name: OtherTask.of(runs_of(100.0, rng)) for name in "ab"}

    assert read_history(known) is None
    # Of the third no curve is known.
    few = OtherTask.of(runs_of(100.0, rng, sizes=[8, 32]))
    assert read_history(known | {"c": few}) is None


def test_tasks_whose_critical_batch_size_is_open_are_named(rng: np.random.Generator) -> None:
    known = {name: OtherTask.of(runs_of(100.0, rng)) for name in "abc"}
    # Steps fall in proportion up to the largest batch: only a lower bound.
    open_above = OtherTask.of(runs_of(1e7, rng))

    history = read_history(known | {"d": open_above})

    assert open_above.critical is None
    assert history is not None
    assert set(history.critical) == set("abc")
    assert history.unbounded == ("d",)


@pytest.mark.parametrize("size", [16, 512])
def test_its_interval_covers_a_new_task_as_often_as_it_says(size: int) -> None:
    """Tasks as it takes them to be; the new one was run at batch size 64 alone."""
    inside = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        middle, spread = rng.uniform(3, 7), rng.uniform(0.3, 1.5)
        drawn = np.exp(middle + spread * rng.standard_normal(6))
        history = History(critical=dict(zip("abcde", map(exactly, drawn[:5]), strict=True)))
        alpha = rng.normal(1, 0.1)
        own = runs_of(drawn[5], rng, sizes=[64], noise=0.14, alpha=alpha)
        bend = math.exp(0.1 * abs(math.log2(size / 64)) * rng.standard_normal())
        found = history.predict(own, size)
        assert isinstance(found, Interval)
        inside += found.low <= size * 100 * (1 + (drawn[5] / size) ** alpha) * bend <= found.high

    # 90% and three standard errors of 400 either way.
    assert 0.855 <= inside / 400 <= 0.945


def test_the_nearest_size_that_was_run_is_where_it_begins(rng: np.random.Generator) -> None:
    history = History(critical=dict.fromkeys("abc", exactly(100.0)))

    found = history.predict(runs_of(100.0, rng, sizes=[8, 512], noise=0.0), 512)

    assert isinstance(found, Interval)
    # At the size itself only its own seeds' scatter is left, usually a seventh.
    assert found.value == pytest.approx(512 * 100 * (1 + 100 / 512), rel=0.01)
    assert found.high / found.low < 1.6


def test_two_sizes_of_its_own_say_which_curve_is_likely(rng: np.random.Generator) -> None:
    """Other tasks' critical batch sizes are from 10 to 1,000; this one's is 1,000."""
    history = History(critical={name: exactly(10.0**n) for n, name in enumerate("abc", start=1)})
    true = 128 * 100 * (1 + 1000 / 128)

    alone = history.predict(runs_of(1000.0, rng, sizes=[8]), 128)
    both = history.predict(runs_of(1000.0, rng, sizes=[8, 512]), 128)

    assert isinstance(alone, Interval)
    assert isinstance(both, Interval)
    assert both.low <= true <= both.high
    assert both.high / both.low < 0.5 * alone.high / alone.low


def test_intervals_widen_with_the_distance(rng: np.random.Generator) -> None:
    history = History(critical=dict.fromkeys("abc", exactly(100.0)))
    found = [history.predict(runs_of(100.0, rng, sizes=[8]), size) for size in (8, 64, 1024)]

    widths = [one.high / one.low for one in found if isinstance(one, Interval)]
    assert len(widths) == 3
    assert widths == sorted(widths)
    # Seven doublings by a tenth each, at 90%: 3.2 either way, squared.
    assert widths[-1] > 9


def test_a_size_whose_seeds_did_not_all_get_there_is_no_place_to_begin(
    rng: np.random.Generator,
) -> None:
    history = History(critical=dict.fromkeys("abc", exactly(100.0)))
    failed = StepsToTarget(batch_size=64, seed=9, steps=5000.0, is_censored=True)
    runs = [*runs_of(100.0, rng, sizes=[8, 64]), failed]

    here = history.predict(runs, 64)
    assert isinstance(here, NotIdentified)
    assert here.low == 64 * 5000
    others = [run for run in runs if run.batch_size == 8]
    assert history.predict(runs, 32) == history.predict(others, 32)
    assert isinstance(history.predict([failed], 32), NotIdentified)
