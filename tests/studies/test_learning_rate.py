import itertools

import pytest

from batchscope.findings.tuning import Score
from batchscope.studies.learning_rate import RateSearch, next_rates, round_rate

SEARCH = RateSearch(start=0.01, rates=3, extensions=4, refinements=2, seed=0)


def valley(rate: float, best: float) -> Score:
    """A run's score, best at `best`; rates 30 times above diverge."""
    import math

    if rate > 30 * best:
        return (1.0, 1.0, math.inf, math.inf)
    return (0.0, 1.0, math.log(rate / best) ** 2, 0.0)


def search_all(search: RateSearch, best: float) -> dict[float, Score]:
    tried: dict[float, Score] = {}
    for _ in range(30):
        rates = next_rates(search, tried)
        if not rates:
            return tried
        tried |= {rate: valley(rate, best) for rate in rates}
    raise AssertionError("the search does not end")


def test_the_first_rates_surround_the_tasks_own() -> None:
    assert next_rates(SEARCH, {}) == (0.0032, 0.01, 0.032)


@pytest.mark.parametrize("best", [1e-4, 1e-3, 0.01, 0.1, 1.0])
def test_the_range_grows_until_the_best_lies_inside(best: float) -> None:
    tried = search_all(SEARCH, best)

    found = min(tried, key=tried.__getitem__)
    assert best / 2 < found < best * 2
    assert min(tried) < found < max(tried)


def test_the_range_grows_no_further_than_allowed() -> None:
    tried = search_all(SEARCH, 1e6)

    assert len(tried) == SEARCH.rates + SEARCH.extensions


def test_where_everything_diverges_lower_rates_are_tried() -> None:
    tried = search_all(SEARCH, 1e-12)

    assert min(tried) == pytest.approx(0.01 / 10**2.5, rel=0.05)


def test_refinements_lie_between_the_neighbours_of_the_best() -> None:
    tried = search_all(SEARCH, 0.013)

    refined = set(tried) - {0.0032, 0.01, 0.032}
    assert len(refined) == 2
    assert all(0.0031 <= rate <= 0.033 for rate in refined)


def test_what_is_tried_next_does_not_depend_on_which_run_finished_first() -> None:
    tried = {rate: valley(rate, 0.013) for rate in (0.0032, 0.01, 0.032)}

    answers = {
        next_rates(SEARCH, {rate: tried[rate] for rate in order})
        for order in itertools.permutations(tried)
    }

    assert len(answers) == 1


def test_a_stage_waits_for_all_its_runs() -> None:
    assert next_rates(SEARCH, {0.01: valley(0.01, 1.0)}) == (0.0032, 0.032)


def test_rates_have_two_digits() -> None:
    assert round_rate(0.0316227) == 0.032
