from typing import Any

import pytest

from batchscope.decisions.cost import Prices
from batchscope.decisions.terms import Terms
from batchscope.errors import InvalidInput


@pytest.mark.parametrize(
    ("given", "where", "wants"),
    [
        ({"objective": "cost"}, "--objective cost", "--device-hour"),
        ({"objective": "energy"}, "--objective energy", "--watts"),
        ({"objective": "carbon", "watts": 300.0}, "--objective carbon", "--carbon"),
        ({"max_cost": 1.0}, "--max-cost", "--device-hour"),
        ({"max_cost": 1.0, "prices": Prices(kilowatt_hour=0.3)}, "--max-cost", "--watts"),
        ({"max_cost": 0.0}, "--max-cost", "above 0"),
        ({"deadline": 0.0}, "--deadline", "above 0"),
        ({"watts": -1.0}, "--watts", "above 0"),
        ({"objective": "speed"}, "--objective", "time, cost"),
    ],
)
def test_terms_that_cannot_be_worked_out_say_what_is_missing(
    given: dict[str, Any], where: str, wants: str
) -> None:
    with pytest.raises(InvalidInput) as raised:
        Terms(**given)

    assert where in raised.value.args[1]
    assert wants in raised.value.args[2]


def test_a_misspelt_objective_is_met_with_the_nearest() -> None:
    with pytest.raises(InvalidInput, match="did you mean carbon"):
        Terms(objective="carbn")


def test_money_buys_as_many_seconds_as_its_prices_say() -> None:
    prices = Prices(device_hour=2.0, kilowatt_hour=0.25)
    terms = Terms(max_cost=9.0, prices=prices, watts=1000.0, devices=4)

    (limit,) = terms.limits
    # Four devices at 2.25 an hour each: 9 an hour.
    assert limit.seconds == pytest.approx(3600)
    assert limit.per_second * limit.seconds == pytest.approx(9.0)
