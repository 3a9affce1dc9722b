import math

import pytest

from batchscope.replications.studies.lr_scaling import find_best, measure_stable

RATES = (0.01, 0.1, 1.0, 10.0)


def test_stable_rates_end_where_the_loss_is_twice_the_best_between_those_tried() -> None:
    # In logs of base 2 the losses are 3, 0, 0, 2: a third of the way down, and half of that up.
    found = measure_stable(RATES, (8.0, 1.0, 1.0, 4.0))

    assert (found.low, found.high) == pytest.approx((1 / 3 + 1 + 1 / 2,) * 2)


def test_of_stable_rates_that_reach_the_edge_only_the_least_is_known() -> None:
    found = measure_stable(RATES, (1.0, 1.0, 1.5, 3.0))

    assert found.low == pytest.approx(2 + math.log(2 / 1.5) / math.log(2))
    assert found.high == math.inf


def test_the_best_rate_is_that_of_a_parabola_or_known_to_one_side_at_the_edge() -> None:
    # In logs of base 10 a parabola about 0.1 x sqrt(10).
    losses = [math.exp((math.log10(rate) + 0.5) ** 2) for rate in RATES]

    inner, edge = find_best(RATES, losses), find_best(RATES, (4.0, 3.0, 2.0, 1.0))

    assert inner.low == inner.high == pytest.approx(math.log(10**-0.5))
    assert (edge.low, edge.high) == (math.log(1.0), math.inf)
