import json
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
        ({"watts": {8: 100.0, 16: 0.0}}, "--watts", "above 0"),
        ({"watts": {}}, "--watts", "batch sizes from 1"),
        ({"watts": {0: 100.0}}, "--watts", "batch sizes from 1"),
        ({"watts": {"all": 100.0}}, "--watts", "batch sizes from 1"),
        ({"watts": {32: "much"}}, "--watts", "batch sizes from 1"),
        ({"objective": "time=1,speed=1"}, "--objective", "time, cost"),
        ({"objective": "time=1,quality=1"}, "--objective", "time, cost"),
        ({"objective": "time=0"}, "--objective", "above 0"),
        ({"objective": "time=much"}, "--objective", "above 0"),
        ({"objective": "time=1,time=2"}, "--objective", "each name once"),
        ({"objective": "time=1,energy=1"}, "--objective time=1,energy=1", "--watts"),
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


def test_a_second_costs_the_weighted_geometric_mean_of_what_it_takes() -> None:
    prices = Prices(device_hour=7.2)
    watts = {8: 100.0, 32: 400.0}

    assert Terms(objective="energy", watts=watts, devices=2).second_cost(32) == pytest.approx(800)
    # Half-way between 8 and 32 in the logarithm.
    assert Terms(objective="energy", watts=watts).second_cost(16) == pytest.approx(250)
    terms = Terms(objective="time=1,cost=1,energy=2", watts=watts, prices=prices)
    assert terms.second_cost(8) == pytest.approx((1 * 7.2 / 3600 * 100**2) ** 0.25)


@pytest.mark.parametrize(
    ("objective", "watts", "is_alike"),
    [
        ("time", {8: 100.0, 32: 400.0}, True),
        ("energy", 300.0, True),
        ("energy", {8: 300.0, 32: 300.0}, True),
        ("cost", {8: 100.0, 32: 400.0}, True),
        ("energy", {8: 100.0, 32: 400.0}, False),
        ("time=5,energy=1", {8: 100.0, 32: 400.0}, False),
    ],
)
def test_seconds_count_alike_where_power_does_not_matter(
    objective: str, watts: float | dict[int, float], is_alike: bool
) -> None:
    terms = Terms(objective=objective, watts=watts, prices=Prices(device_hour=2.0))

    assert terms.ranked_by == "time"
    assert terms.is_alike == is_alike


def test_terms_that_were_kept_with_a_study_are_the_same_again() -> None:
    terms = Terms(
        objective="time=1,cost=2",
        prices=Prices(device_hour=2.0, kilowatt_hour=0.3),
        watts={8: 100.0, 32: 400.0},
        devices=2,
    )
    kept = json.loads(json.dumps(terms.to_dict()))

    assert Terms.from_dict(kept, devices=2) == terms
    assert Terms.from_dict({"objective": "examples"}, devices=1) == Terms(objective="examples")


def test_money_buys_as_many_seconds_as_its_prices_say() -> None:
    prices = Prices(device_hour=2.0, kilowatt_hour=0.25)
    terms = Terms(max_cost=9.0, prices=prices, watts=1000.0, devices=4)

    (limit,) = terms.limits_at(32)
    # Four devices at 2.25 an hour each: 9 an hour.
    assert limit.seconds == pytest.approx(3600)
    assert limit.per_second * limit.seconds == pytest.approx(9.0)
