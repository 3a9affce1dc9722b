import math

import pytest

from batchscope.replications.lab import Ends
from batchscope.replications.studies.lr_scaling import measure_span

RATES = (0.01, 0.1, 1.0, 10.0)


def test_stable_rates_end_where_the_loss_is_twice_the_best_between_those_tried() -> None:
    # In logs of base 2 the losses are 3, 0, 0, 2: a third of the way down, and half of that up.
    found = measure_span(RATES, (8.0, 1.0, 1.0, 4.0), 2.0)

    assert (found.low, found.high) == pytest.approx((1 / 3 + 1 + 1 / 2,) * 2)


def test_of_stable_rates_that_reach_the_edge_only_the_least_is_known() -> None:
    found = measure_span(RATES, (1.0, 1.0, 1.5, 3.0), 2.0)

    assert found.low == pytest.approx(2 + math.log(2 / 1.5) / math.log(2))
    assert found.high == math.inf


def test_where_no_rate_is_below_the_span_is_nothing() -> None:
    assert measure_span(RATES, (3.0, 2.5, 2.5, 3.0), 2.0) == Ends(0.0, 0.0)
