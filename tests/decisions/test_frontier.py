import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscope.decisions.frontier import pareto, rank_draws, smallest_within

numbers = st.one_of(st.integers(0, 5).map(float), st.just(math.nan), st.just(math.inf))


@given(st.lists(st.tuples(numbers, numbers, numbers), max_size=12))
def test_the_frontier_is_that_of_brute_force(points: list[tuple[float, float, float]]) -> None:
    def worst(point: tuple[float, ...]) -> list[float]:
        return [math.inf if math.isnan(x) else x for x in point]

    def beats(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
        pairs = list(zip(worst(a), worst(b), strict=True))
        return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)

    expected = [
        at for at, point in enumerate(points) if not any(beats(other, point) for other in points)
    ]
    assert pareto(points) == expected


def test_the_standing_of_two_normal_choices_is_known() -> None:
    rng = np.random.default_rng(0)
    draws = {
        64: 10 + rng.standard_normal(200_000),
        128: 11 + rng.standard_normal(200_000),
    }
    standings = rank_draws(draws)

    # P(N(1, 2) > 0) = 0.7602.
    assert standings[64].best == pytest.approx(0.7602, abs=0.005)
    assert standings[128].best == pytest.approx(1 - 0.7602, abs=0.005)
    assert standings[64].regret < standings[128].regret


def test_the_smallest_choice_within_a_tolerance_is_taken() -> None:
    draws = {32: np.full(4, 1.3), 64: np.full(4, 1.02), 128: np.full(4, 1.0)}

    assert smallest_within(rank_draws(draws), 0.05) == 64
    assert smallest_within(rank_draws(draws), 0.5) == 32
    assert smallest_within(rank_draws(draws), -1.0) == 128
