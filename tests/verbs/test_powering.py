"""The power of training: measured, kept in the store, and found again."""

from contextlib import closing
from pathlib import Path

import pytest

import batchscope as bs
from batchscope.errors import InvalidInput
from batchscope.estimate import Interval
from batchscope.instruments.energy import EnergyBySize
from batchscope.records import PowerReading
from batchscope.studies.progress import Unwatched
from batchscope.studies.store import Store
from batchscope.task import Task
from batchscope.training.devices import choose_device
from batchscope.training.provenance import Origin, describe_machine
from batchscope.verbs.powering import find_watts, find_watts_here

from ..conftest import make_task

SIZES = [4, 8, 16]


def make_reading(
    size: int, watts: float, *, is_measured: bool = True, **changes: str
) -> PowerReading:
    device = choose_device("cpu")
    fields = {"fingerprint": "f" * 16, "precision": "float32", "device_kind": "cpu"} | changes
    return PowerReading(
        task="clouds",
        batch_size=size,
        watts=watts,
        source="a counter",
        is_measured=is_measured,
        examples=100,
        provenance=describe_machine(device, Origin(command="", commit=""), seconds=0.0),
        **fields,  # type: ignore[arg-type]
    )


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("powering") / "runs.db")


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task(budget=bs.epochs(20))


def test_the_latest_measured_power_of_each_batch_size_is_found(place: str) -> None:
    with closing(Store(place, create=True)) as store:
        for reading in (
            make_reading(32, 150.0),
            make_reading(8, 90.0),
            make_reading(32, 200.0),
            make_reading(64, 10.0, is_measured=False),
            make_reading(128, 10.0, precision="bf16"),
            make_reading(256, 10.0, device_kind="cuda"),
            make_reading(512, 10.0, fingerprint="e" * 16),
        ):
            store.save_power(reading)

        found = find_watts(store, "f" * 16, precision="float32", device="cpu")
        elsewhere = find_watts(store, "f" * 16, precision="float32", device="cpu", host="another")

    assert found == {8: 90.0, 32: 200.0}
    assert elsewhere is None


def test_power_at_several_sizes_is_kept_and_leads_the_choice(place: str, task: Task) -> None:
    measured = bs.energy(task, batch_size=SIZES[:2], watts=65.0, store=place)

    found = bs.recommend(
        task,
        batch_sizes=SIZES,
        target="val_loss<=0.5",
        objective="energy",
        effort="quick",
        store=place,
    )

    assert isinstance(measured, EnergyBySize)
    assert list(measured.watts) == SIZES[:2]
    assert found.objective == "energy"
    assert any("A device takes" in reason for reason in found.reasons)
    energy = found.usage.kilowatt_hours
    assert isinstance(energy, Interval)
    # What was measured before counts as spent.
    assert found.spent.examples > sum(one.examples for one in measured.sizes)
    costs = bs.cost(place).costs
    assert all(isinstance(cost.kilowatt_hours, Interval) for cost in costs)
    for cost in costs:
        # Four digits are kept, as a command is written; beyond the largest measured its own.
        watts = measured.watts[min(cost.use.batch_size, SIZES[1])]
        assert cost.use.watts == pytest.approx(watts, rel=1e-3)
    assert isinstance(bs.forecast(place, [6]).costs[0].use.watts, float)


def test_without_power_in_the_store_the_objective_says_what_is_missing(
    place: str, task: Task
) -> None:
    with pytest.raises(InvalidInput, match="in energy is not known"):
        bs.recommend(task, objective="energy", store=place)


def test_an_empty_place_has_no_power_yet(tmp_path: Path, task: Task) -> None:
    """As a new database of PostgreSQL has no tables."""
    empty = tmp_path / "empty.db"
    empty.touch()

    found = find_watts_here(str(empty), task, device=None, precision=None, watcher=Unwatched())

    assert found is None


def test_no_batch_size_is_one_error(place: str, task: Task) -> None:
    with pytest.raises(InvalidInput, match="no batch size"):
        bs.energy(task, batch_size=[], store=place)
