import math

import numpy as np
import pytest

from batchscope.replications.rates import find_best, find_lowest

RATES = [0.01, 0.03, 0.1]


def test_the_lowest_point_of_a_parabola_in_the_log_is_found() -> None:
    losses = [(np.log(rate) - np.log(0.04)) ** 2 + 1 for rate in RATES]

    assert find_lowest(RATES, losses) == pytest.approx(0.04)


def test_it_lies_inside_the_rates_that_were_tried() -> None:
    assert find_lowest(RATES, [3.0, 1.9, 1.0]) == RATES[-1]


@pytest.mark.parametrize("losses", [[1.0, 1.0, 1.0], [1.0, 2.0, 1.0]])
def test_without_a_bend_upwards_there_is_none(losses: list[float]) -> None:
    assert find_lowest(RATES, losses) is None


WIDE = [0.01, 0.1, 1.0, 10.0]


def test_the_best_is_that_of_a_parabola_or_known_to_one_side_at_the_edge() -> None:
    # In logs of base 10 a parabola about 0.1 x sqrt(10).
    losses = [math.exp((math.log10(rate) + 0.5) ** 2) for rate in WIDE]

    inner, edge = (find_best(WIDE, one, dead=1e9) for one in (losses, [4.0, 3.0, 2.0, 1.0]))

    assert inner.low == inner.high == pytest.approx(math.log(10**-0.5))
    assert (edge.low, edge.high) == (math.log(1.0), math.inf)


def test_beside_a_rate_at_which_nothing_is_learned_the_best_lies_between_its_neighbours() -> None:
    found = find_best(WIDE, [0.4, 0.2, 0.1, 2.3], dead=1.15)

    assert (found.low, found.high) == (math.log(0.1), math.log(10.0))
