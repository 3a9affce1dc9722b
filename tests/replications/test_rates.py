import numpy as np
import pytest

from batchscope.replications.rates import find_lowest

RATES = [0.01, 0.03, 0.1]


def test_the_lowest_point_of_a_parabola_in_the_log_is_found() -> None:
    losses = [(np.log(rate) - np.log(0.04)) ** 2 + 1 for rate in RATES]

    assert find_lowest(RATES, losses) == pytest.approx(0.04)


def test_it_lies_inside_the_rates_that_were_tried() -> None:
    assert find_lowest(RATES, [3.0, 1.9, 1.0]) == RATES[-1]


@pytest.mark.parametrize("losses", [[1.0, 1.0, 1.0], [1.0, 2.0, 1.0]])
def test_without_a_bend_upwards_there_is_none(losses: list[float]) -> None:
    assert find_lowest(RATES, losses) is None
