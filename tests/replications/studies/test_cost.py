import math

import pytest

from batchscope.replications.core_seconds import Way
from batchscope.replications.studies import cost

SIZES = (8, 64, 128, 256, 512, 1024)
CRITICAL, OVERHEAD = 512, 32


def _plant(sharing: float) -> tuple[dict[int, float], dict[Way, float]]:
    """Steps of a hyperbola, and steps that take overhead + B, shared at an extra cost."""
    steps = {size: 100 * (1 + CRITICAL / size) for size in SIZES}
    times = {
        Way(size, cores): OVERHEAD + size / cores + sharing * (cores - 1)
        for size in SIZES
        for cores in (1, 2)
    }
    return steps, times


def test_each_case_is_shown_where_the_two_curves_have_it() -> None:
    steps, times = _plant(sharing=4.0)

    critical = cost.find_critical(steps)
    # The middle of what could be, of an exact curve with six points.
    assert critical == pytest.approx(CRITICAL, rel=0.03)
    found = cost._choose_changes(SIZES, steps, times, CRITICAL)

    # sqrt(32 x 512) = 128 has the least core-seconds on one core, 8 the most.
    assert found["C1"] == (Way(8, 1), Way(128, 1))
    assert found["C2"] == (Way(256, 1), Way(512, 2))
    assert found["C3"] == (Way(512, 1), Way(1024, 2))


def test_a_case_that_no_doubling_can_show_is_left_out() -> None:
    steps, times = _plant(sharing=4.0)

    assert set(cost._choose_changes(SIZES, steps, times, 100)) == {"C1", "C3"}
    assert set(cost._choose_changes(SIZES, steps, times, 900)) == {"C1", "C2"}


def test_only_the_sizes_that_a_change_shows_are_judged() -> None:
    steps, times = _plant(sharing=4.0)

    changes = cost._choose_changes(SIZES, steps, times, CRITICAL)

    # 64 is in none of them: its judged seeds are not trained.
    assert {way.size for change in changes.values() for way in change} == set(SIZES) - {64}


def test_a_change_is_compared_in_core_seconds() -> None:
    steps, times = _plant(sharing=0.0)
    change = (Way(64, 1), Way(128, 2))
    per_seed = {size: {0: needed} for size, needed in steps.items()}

    seen = cost._compare(per_seed, 0, times, change)

    # As long a step, twice the cores, (1 + 512 / 128) / (1 + 512 / 64) of the steps.
    assert seen.low == pytest.approx(math.log(2 * 5 / 9))


def test_a_training_that_misses_the_target_leaves_it_open() -> None:
    steps, times = _plant(sharing=0.0)
    per_seed = {size: {0: None if size == 8 else needed} for size, needed in steps.items()}

    seen = cost._compare(per_seed, 0, times, (Way(8, 1), Way(64, 1)))

    assert (seen.low, seen.high) == (-10.0, 10.0)
