import math

import pytest

from batchscope.findings.claims import Seen
from batchscope.replications.lab import ANYTHING, Ends
from batchscope.replications.studies import selection

from .trained import make_trained

RATE = selection._RATES[len(selection._RATES) // 2]
TRAIN = selection._TRAIN


def stop(losses: list[float], *, diverged: bool = False) -> Ends:
    arm = (32, RATE, 0)
    columns = {
        "val_loss": losses,
        "examples": [epoch * TRAIN for epoch in range(len(losses))],
    }
    return selection._stop(make_trained({arm: columns}, diverged=[arm] if diverged else ()), 32, 0)


def test_training_stops_at_its_lowest_loss_and_no_earlier_where_that_is_the_last() -> None:
    assert stop([2.0, 1.0, 0.5, 0.7]) == Ends(2.0, 2.0)
    assert stop([2.0, 1.0, 0.7, 0.5]) == Ends(3.0, math.inf)


def test_of_a_training_that_diverged_no_end_is_known() -> None:
    assert stop([2.0, 1.0, 0.5, 0.7], diverged=True) == Ends(0.0, math.inf)


def test_updates_with_growth_are_over_those_of_the_fixed_size() -> None:
    arm = (32, RATE, 0)
    runs = make_trained({arm: {"step": [0.0, 400.0]}})

    seen = selection._compare_updates(runs, arm, selection._Grown(100, 256, 0.1))

    assert (seen.low, seen.high) == pytest.approx((math.log(0.25), math.log(0.25)))
    assert selection._compare_updates(runs, arm, None) == ANYTHING


def test_of_a_fixed_size_that_diverged_it_may_have_taken_any_number_of_steps() -> None:
    arm = (32, RATE, 0)
    runs = make_trained({arm: {"step": [0.0, 400.0]}}, diverged=[arm])

    seen = selection._compare_updates(runs, arm, selection._Grown(100, 256, 0.1))

    assert isinstance(seen, Seen)
    assert seen.low < 0 < seen.high
