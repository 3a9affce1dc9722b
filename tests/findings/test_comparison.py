import math
from collections.abc import Callable

import numpy as np
import pytest

from batchscope.estimate import Interval, NotIdentified
from batchscope.findings.comparison import Comparison, compare_settings

Draw = Callable[[np.random.Generator, int], np.ndarray]
DRAWS: dict[str, Draw] = {
    "normal": lambda rng, n: rng.standard_normal(n),
    # Heavy tails: t with 3 degrees, scaled to a standard deviation of 1.
    "heavy": lambda rng, n: rng.standard_t(3, n) / math.sqrt(3),
}
TIMES = 2000


def comparisons(
    draw: Draw, seeds: int, *, difference: float, margin: float, diverged: bool = False
) -> list[Comparison]:
    rng = np.random.default_rng(11)
    found: list[Comparison] = []
    for _ in range(TIMES):
        shared = rng.standard_normal(seeds)
        first, second = shared + draw(rng, seeds), shared + draw(rng, seeds) + difference
        if diverged:
            second[0] = math.inf
        found.append(
            compare_settings(dict(enumerate(first)), dict(enumerate(second)), margin=margin)
        )
    return found


@pytest.mark.parametrize("tails", DRAWS)
@pytest.mark.parametrize("seeds", [3, 5, 10, 20])
def test_intervals_cover_and_equivalence_keeps_its_level(tails: str, seeds: int) -> None:
    found = comparisons(DRAWS[tails], seeds, difference=1.0, margin=1.0)

    covered = [
        isinstance(c.difference, Interval) and c.difference.low <= 1.0 <= c.difference.high
        for c in found
    ]
    # Three standard errors of 2,000 draws are 1.5 points; heavy tails cover a little more.
    assert 0.935 <= np.mean(covered) <= 0.985
    # At the border of the margin equivalence is claimed at most once in twenty.
    assert np.mean([c.is_equivalent for c in found]) <= 0.065


@pytest.mark.parametrize("seeds", [3, 5, 10, 20])
def test_the_power_that_is_stated_is_the_power_there_is(seeds: int) -> None:
    found = comparisons(DRAWS["normal"], seeds, difference=2.0, margin=2.0)

    seen = float(np.mean([c.is_worse for c in found]))
    from batchscope.findings.power import find_power

    assert seen == pytest.approx(find_power(2.0, 1.0, seeds), abs=0.035)


@pytest.mark.parametrize("seeds", [3, 5, 10, 20])
def test_a_diverged_run_is_counted_and_never_makes_a_difference_out_of_nothing(seeds: int) -> None:
    found = comparisons(DRAWS["normal"], seeds, difference=0.0, margin=1.0, diverged=True)

    assert all(c.censored == 1 for c in found)
    wrong = np.mean([c.is_worse or c.is_better for c in found])
    # One of the runs is truly worse; with the others alike a sign test may see that at most.
    assert wrong <= 0.12
    if seeds < 6:
        assert all(isinstance(c.difference, NotIdentified) for c in found)


def test_runs_that_agree_to_the_last_digit_say_nothing_of_others() -> None:
    same = dict.fromkeys(range(5), 0.5)

    found = compare_settings(same, same, margin=0.1)

    assert isinstance(found.difference, NotIdentified)
    assert not found.is_equivalent


def test_pairs_of_which_both_diverged_count_against_what_is_to_be_shown() -> None:
    first = dict.fromkeys(range(8), math.inf)

    found = compare_settings(first, first, margin=0.1)

    assert found.censored == 8
    assert not found.is_equivalent
    assert not found.is_worse


def test_settings_without_a_seed_in_common_are_compared_unpaired() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        first = dict(enumerate(rng.standard_normal(6)))
        second = {10 + k: 1.0 + v for k, v in enumerate(rng.standard_normal(5))}
        found = compare_settings(first, second, margin=1.0)
        assert isinstance(found.difference, Interval)
        covered += found.difference.low <= 1.0 <= found.difference.high

    # Three standard errors of 1,000 draws are 2 points.
    assert 0.93 <= covered / 1000 <= 0.975
