"""What each batch size costs, on one device and on two."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import batchscope as bs
from batchscope.decisions.comparing_costs import Costs
from batchscope.errors import CannotTell, InvalidInput
from batchscope.reports.terminal_costs import show_costs

from ..conftest import make_staying_task, make_task

SIZES = [4, 8, 16]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A study on one device, whose steps are timed on two as well."""
    store = str(tmp_path_factory.mktemp("costing") / "runs.db")
    task = make_task(budget=bs.epochs(20))
    rates = [0.1, 0.3]
    bs.study(
        task, batch_sizes=SIZES, learning_rates=rates, target="val_loss<=0.5", store=store, jobs=1
    )
    bs.profile(task, batch_sizes=SIZES, devices=2, store=store)
    return store


def test_on_one_device_the_cheapest_is_the_fastest_and_as_surely(place: str) -> None:
    found = bs.cost(place, prices=bs.Prices(device_hour=2.0))

    assert found.cheapest == found.fastest
    assert found.odds is not None
    # At one price the two differ by the rounding of a product.
    for time, total in found.odds:
        assert total.regret == pytest.approx(time.regret, abs=1e-9)
    assert sum(time.best for time, _ in found.odds) == pytest.approx(1)
    document = found.to_dict()
    costs = document["costs"]
    assert isinstance(costs, list)
    assert all({"odds", "on_frontier"} <= set(cost) for cost in costs)
    assert any("with a probability of" in sentence for sentence in found.sentences)


def test_where_power_differs_the_cheapest_need_not_be_the_fastest(place: str) -> None:
    prices = bs.Prices(kilowatt_hour=0.3)

    found = bs.cost(place, prices=prices, watts={4: 1.0, 8: 1e3, 16: 1e6})

    assert [cost.use.watts for cost in found.costs] == [1.0, 1e3, 1e6]
    assert found.cheapest.batch_size == 4
    assert any("is the cheapest with a probability" in sentence for sentence in found.sentences)


def test_of_one_device_and_two_both_are_weighed_at_every_size(place: str) -> None:
    found = bs.cost(place, prices=bs.Prices(device_hour=2.0), devices=[1, 2])

    assert [(c.use.batch_size, c.use.devices) for c in found.costs] == [
        (size, count) for count in (1, 2) for size in SIZES
    ]
    assert found.odds is not None
    assert any(" on 1 device" in said or " on 2 devices" in said for said in found.sentences)
    for cost in found.costs:
        assert isinstance(cost.seconds, bs.Interval)
        assert isinstance(cost.total, bs.Interval)
        # Of two devices each is paid for.
        paid = cost.seconds.value * cost.use.devices * 2.0 / 3600
        assert cost.total.value == pytest.approx(paid)
    for best in (found.cheapest, found.fastest):
        assert best in [found.costs[at].use for at in found.on_frontier]


def test_what_more_quality_takes_is_shown_in_80_columns(place: str) -> None:
    found = bs.cost(place, prices=bs.Prices(device_hour=2.0), devices=[1, 2])
    console = Console(file=io.StringIO(), width=80)
    show_costs(console, found)

    levels = found.to_dict()["levels"]
    assert isinstance(levels, list)
    assert len(levels) > 1
    assert {"learning_rate", "seconds", "total"} <= set(levels[0]["choices"][0])
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "What more quality takes" in text
    assert all(level["target"] in text for level in levels)
    assert max(map(len, text.splitlines())) <= 80


def test_one_count_that_the_runs_did_not_have_is_costed_by_its_own_timing(place: str) -> None:
    own = bs.cost(place, prices=bs.Prices(device_hour=2.0))
    one, two = (bs.cost(place, prices=bs.Prices(device_hour=2.0), devices=n) for n in (1, 2))
    both = bs.cost(place, prices=bs.Prices(device_hour=2.0), devices=[1, 2])

    def seconds(found: Costs) -> dict[tuple[int, int], object]:
        return {(c.use.batch_size, c.use.devices): c.use.step_seconds for c in found.costs}

    assert seconds(own) == seconds(one)
    assert seconds(one) | seconds(two) == seconds(both)
    with pytest.raises(InvalidInput):
        bs.cost(place, devices=3)


def test_an_upgrade_has_to_say_what_needs_it(place: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        bs.cost(place, prices=bs.Prices(device_hour=2.0, hardware=2000.0, runs=200))
    assert caught.value.args[2] == "--present beside them"


def test_devices_that_were_not_timed_are_named_with_the_command(place: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        bs.cost(place, devices=[1, 3])

    said = " ".join(map(str, caught.value.args))
    assert "steps on 3 devices were not timed" in said
    assert "--devices 3 --batch-sizes 4,8,16 --precision float32" in said


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"prices": bs.Prices(hardware=9.0), "present": 8}, "what it saves has none"),
        ({"present": 0}, "fits a batch of 0"),
    ],
    ids=["no price of usage", "nothing present"],
)
def test_an_upgrade_that_cannot_be_weighed_is_refused(
    place: str, named: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        bs.cost(place, **named)


@pytest.mark.parametrize("devices", [0, [1, 0], []])
def test_a_count_below_one_is_refused(place: str, devices: int | list[int]) -> None:
    with pytest.raises(InvalidInput, match="devices"):
        bs.cost(place, devices=devices)


def test_one_seed_has_no_cost_to_tell(tmp_path: Path) -> None:
    store = str(tmp_path / "runs.db")
    task = make_staying_task(budget=bs.epochs(20))
    bs.study(task, batch_sizes=[4, 8], seeds=1, target="val_loss<=0.5", store=store, jobs=1)

    with pytest.raises(bs.CannotTell):
        bs.cost(store)


def _write_runs(path: Path, steps: dict[int, list[int | None]]) -> str:
    """A table whose loss falls from 2 to 0.8 in so many steps of 10 ms, or stays above it."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["batch_size", "learning_rate", "seed", "step", "seconds", "val_loss"])
        for size, needed in steps.items():
            for seed, hit in enumerate(needed):
                for step in range(0, 2001, 50):
                    loss = 2 - 1.2 * min(step / hit, 1) if hit else 2 - 0.5 * min(step / 500, 1)
                    writer.writerow([size, 0.1, seed, step, step * 0.01, round(loss, 4)])
    return str(path)


def test_a_size_of_which_a_seed_missed_the_target_is_left_out_and_named(tmp_path: Path) -> None:
    place = _write_runs(
        tmp_path / "runs.csv",
        {
            64: [1500, 1540, 1580],
            128: [1000, 1020, 1050],
            256: [400, None, 420],
            512: [None, None],
            1024: [300],
            2048: [250, 250],
        },
    )

    found = bs.cost(place, target="val_loss<=0.8")

    assert [cost.use.batch_size for cost in found.costs] == [64, 128]
    assert found.fastest.batch_size == 128
    assert found.odds is not None
    assert found.sentences[:4] == (
        "Batch size 256 is left out: 1 of its 3 seeds did not get to val_loss<=0.8.",
        "Batch size 512 is left out: 2 of its 2 seeds did not get to val_loss<=0.8.",
        "Batch size 1,024 is left out: one seed has no spread.",
        "Batch size 2,048 is left out: 2 seeds all gave 250.",
    )
    levels = found.to_dict()["levels"]
    assert isinstance(levels, list)
    hard = [one for one in levels if float(one["target"].partition("<=")[2]) < 1.4]
    assert hard
    assert all(choice["batch_size"] != 256 for one in hard for choice in one["choices"])


def test_an_easier_target_takes_every_size_in(tmp_path: Path) -> None:
    steps: dict[int, list[int | None]] = {64: [1500, 1580], 256: [400, None]}
    place = _write_runs(tmp_path / "runs.csv", steps)

    found = bs.cost(place, target="val_loss<=1.6")

    assert [cost.use.batch_size for cost in found.costs] == [64, 256]


@pytest.mark.parametrize("price", ["kilowatt_hour", "grams_per_kilowatt_hour"])
def test_electricity_with_a_price_and_no_watts_is_refused(place: str, price: str) -> None:
    with pytest.raises(InvalidInput, match="watts"):
        bs.cost(place, prices=bs.Prices(**{price: 0.3}))


def test_what_twice_the_devices_do_is_said_at_the_fastest_size_on_each(place: str) -> None:
    found = bs.cost(place, prices=bs.Prices(device_hour=2.0), devices=[1, 2])

    fastest = {
        count: min(
            (cost for cost in found.costs if cost.use.devices == count),
            key=lambda cost: cost.seconds.value,  # type: ignore[union-attr]
        ).use.batch_size
        for count in (1, 2)
    }
    assert f"A batch of {fastest[2]} on 2 devices instead of" in found.sentences[-1]
    assert "takes 2.00 times the devices for" in found.sentences[-1]


def test_where_all_need_the_upgrade_there_is_nothing_to_compare_it_with(place: str) -> None:
    prices = bs.Prices(device_hour=2.0, hardware=100.0)

    found = bs.cost(place, prices=prices, present=1)

    assert "nothing at hand" in found.sentences[-1]
    assert not any("pay back" in sentence for sentence in found.sentences)


def test_a_target_that_untrained_networks_have_is_refused(place: str) -> None:
    with pytest.raises(CannotTell, match="an untrained network already has val_loss<=9"):
        bs.cost(place, target="val_loss<=9")


def test_carbon_is_said_where_it_is_known(place: str) -> None:
    def show(prices: bs.Prices) -> str:
        console = Console(width=80, file=io.StringIO())
        show_costs(console, bs.cost(place, prices=prices, watts=300))
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    assert "CO2" not in show(bs.Prices(kilowatt_hour=0.3))
    said = show(bs.Prices(kilowatt_hour=0.3, grams_per_kilowatt_hour=380))
    assert "In grams of CO2: " in said
    assert " at 4, " in said
