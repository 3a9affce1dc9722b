import pytest

from batchscope.decisions.cost import (
    Cost,
    Prices,
    Use,
    break_even_runs,
    cost_of,
    explain_change,
    rank_total,
)
from batchscope.errors import InvalidInput
from batchscope.estimate import Interval, NotIdentified


def exactly(value: float) -> Interval:
    return Interval(value=value, low=value, high=value, unit="")


def use(batch_size: int, *, steps: float, step: float, **others: object) -> Cost:
    prices = others.pop("prices", Prices(device_hour=2.0))
    assert isinstance(prices, Prices)
    arguments: dict[str, object] = {"devices": 1, "watts": 500.0} | others
    return cost_of(
        Use(
            batch_size=batch_size,
            steps=exactly(steps),
            step_seconds=exactly(step),
            **arguments,  # type: ignore[arg-type]
        ),
        prices,
    )


def value(estimate: object) -> float:
    assert isinstance(estimate, Interval)
    return estimate.value


def test_consumption_is_consumption_per_step_times_steps() -> None:
    prices = Prices(device_hour=2.0, kilowatt_hour=0.3, grams_per_kilowatt_hour=400)
    found = use(64, steps=7200, step=0.5, devices=4, prices=prices)

    assert value(found.seconds) == pytest.approx(3600)
    assert value(found.device_hours) == pytest.approx(4)
    assert value(found.kilowatt_hours) == pytest.approx(2)
    assert value(found.carbon_grams) == pytest.approx(800)
    assert value(found.usage) == pytest.approx(4 * 2 + 2 * 0.3)
    assert value(found.examples) == pytest.approx(64 * 7200)


def test_carbon_is_not_known_without_that_of_a_kilowatt_hour() -> None:
    found = use(64, steps=7200, step=0.5, watts=300.0, prices=Prices(kilowatt_hour=0.3))

    assert isinstance(found.kilowatt_hours, Interval)
    assert isinstance(found.carbon_grams, NotIdentified)
    assert found.carbon_grams.remedy == "--carbon"


def test_what_fits_at_little_extra_time_per_step_is_said_to() -> None:
    small, large = use(64, steps=1000, step=1.0), use(128, steps=500, step=1.05)
    text = explain_change(small, large, Prices())

    assert "fits the hardware at hand at little extra time per step" in text
    assert "the time is 0.525 times" in text


def test_where_power_differs_energy_and_usage_are_said_beside_time() -> None:
    small = use(64, steps=1000, step=1.0, watts=100.0, prices=Prices(kilowatt_hour=0.3))
    large = use(128, steps=500, step=1.0, watts=300.0, prices=Prices(kilowatt_hour=0.3))

    text = explain_change(small, large, Prices())

    assert "the time is 0.500 times, the energy 1.50 times, the money 1.50 times" in text


def test_twice_the_devices_for_half_the_steps_cost_the_same_in_half_the_time() -> None:
    small = use(64, steps=1000, step=1.0)
    large = use(128, steps=500, step=1.0, devices=2)

    assert value(large.usage) == pytest.approx(value(small.usage))
    text = explain_change(small, large, Prices())
    assert "2.00 times the devices for 0.500 times the steps" in text
    assert "the time is 0.500 times, the device-hours are 1.00 times" in text


def test_an_upgrade_that_does_not_pay_back_says_after_how_many_runs_it_would() -> None:
    prices = Prices(device_hour=3600.0, hardware=900.0, engineering=100.0, runs=10)
    small = use(64, steps=100, step=1.0, prices=prices)
    large = use(128, steps=80, step=1.0, is_present=False, prices=prices)

    assert break_even_runs(small, large, prices) == pytest.approx(50)
    assert "it would after 50 runs, and 10 runs are planned" in explain_change(small, large, prices)
    assert value(large.total) == pytest.approx(80 + 100)
    many = Prices(device_hour=3600.0, hardware=900.0, engineering=100.0, runs=60)
    assert "pays back after 50 runs" in explain_change(small, large, many)
    once = Prices(device_hour=3600.0, hardware=10.0, runs=10)
    assert "pays back after 1 run, and" in explain_change(small, large, once)
    slower = use(128, steps=120, step=1.0, is_present=False, prices=prices)
    assert "never pays back" in explain_change(small, slower, prices)


def test_whether_an_upgrade_pays_back_is_not_known_without_its_price_or_the_power_it_takes() -> (
    None
):
    free, electric = Prices(device_hour=1.0), Prices(kilowatt_hour=0.3, hardware=900.0)

    def say(prices: Prices) -> str:
        small = use(64, steps=100, step=1.0, prices=prices, watts=None)
        large = use(128, steps=80, step=1.0, is_present=False, prices=prices, watts=None)
        return explain_change(small, large, prices)

    assert "it has no price (--hardware, --engineering)" in say(free)
    assert "watts are not known" in say(electric)


def test_what_is_not_known_stays_so() -> None:
    unknown = NotIdentified(reason="not reached", remedy="more steps", unit="steps")
    found = cost_of(
        Use(batch_size=8, devices=1, steps=unknown, step_seconds=exactly(1.0)), Prices()
    )

    assert isinstance(found.seconds, NotIdentified)
    assert isinstance(found.kilowatt_hours, NotIdentified)
    assert "not known" in explain_change(found, use(16, steps=1, step=1), Prices())


def test_electricity_without_watts_is_not_priced() -> None:
    priced = use(8, steps=10, step=1.0, watts=None, prices=Prices(kilowatt_hour=0.3))

    assert isinstance(priced.usage, NotIdentified)


def test_without_a_price_money_is_not_known_and_not_nothing() -> None:
    small, large = (use(b, steps=10, step=1.0, prices=Prices()) for b in (8, 16))

    assert isinstance(small.usage, NotIdentified)
    told = small.to_dict()["total"]
    assert isinstance(told, dict)
    assert (told["value"], told["reason"], told["remedy"]) == (
        None,
        "nothing has a price",
        "--device-hour",
    )
    # Ranked, and told, by device-hours.
    assert rank_total(small) == pytest.approx(10 / 3600)
    assert "and so is the usage" in explain_change(small, large, Prices())


def test_what_costs_nothing_costs_nothing() -> None:
    free = use(8, steps=10, step=1.0, watts=0.0, prices=Prices(kilowatt_hour=0.3))

    assert value(free.usage) == 0.0


def test_a_price_below_0_is_refused() -> None:
    with pytest.raises(InvalidInput, match="hardware of -1"):
        Prices(hardware=-1)
    for runs in (0, 2.5):
        with pytest.raises(InvalidInput, match=f"runs of {runs}"):
            Prices(runs=runs)  # type: ignore[arg-type]


def test_what_waiting_is_worth_weighs_time_against_money() -> None:
    # Two devices take 0.6 of the time: 1.2 of the device-hours.
    def total(devices: int, step: float, waiting: float) -> float:
        prices = Prices(device_hour=2.0, waiting_hour=waiting)
        return value(use(64, steps=3600, step=step, devices=devices, prices=prices).total)

    assert total(2, 0.6, 0) == pytest.approx(1.2 * total(1, 1.0, 0))
    # An hour's wait is paid once, however many devices work.
    assert total(2, 0.6, 10) == pytest.approx(2 * 2.0 * 0.6 + 10 * 0.6)
    assert total(2, 0.6, 10) < total(1, 1.0, 10)
