"""What each batch size costs, on one device and on two."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import batchscope as bs
from batchscope.errors import InvalidInput
from batchscope.reports.terminal_costs import show_costs

from ..conftest import make_staying_task, make_task

SIZES = [4, 8, 16]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A study on one device, whose steps are timed on two as well."""
    store = str(tmp_path_factory.mktemp("costing") / "runs.db")
    task = make_task(budget=bs.epochs(20))
    bs.study(task, batch_sizes=SIZES, target="val_loss<=0.5", store=store, jobs=1)
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
