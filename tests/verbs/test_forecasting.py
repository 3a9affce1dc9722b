"""What batch sizes need that were never run."""

import math
import shutil
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import batchscope as bs
from batchscope.errors import CannotTell, InvalidInput
from batchscope.estimate import Interval, NotIdentified
from batchscope.records import StepTime, name_kind
from batchscope.studies.store import Store
from batchscope.verbs.forecasting import Forecast

from ..conftest import make_task

SIZES = [2, 4, 8, 16, 32]
JOULES = 3.6e6


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    store = str(tmp_path_factory.mktemp("forecasting") / "runs.db")
    bs.study(
        make_task(budget=bs.epochs(20)),
        batch_sizes=SIZES,
        learning_rates=[0.1],
        seeds=2,
        target="val_loss<=0.55",
        objective="time",
        store=store,
        jobs=1,
    )
    keep_times(store, {size: step_seconds(size) for size in SIZES})
    return store


def copy_store(place: str, folder: Path) -> str:
    """To be added to: all tests of this file read the other one."""
    return str(shutil.copy(place, folder / "runs.db"))


def step_seconds(size: int) -> float:
    """Of a device that takes 1 ms for any step and 0.1 ms more for each example."""
    return 1e-3 + 1e-4 * size


def keep_times(place: str, seconds: Mapping[int, float | None]) -> None:
    """Let a store have timed the steps of its latest study so; None where memory ran out."""
    with closing(Store(place, create=False)) as store:
        measured = store.read_measurements(store.find_study(None)["fingerprint"])[0]
        steps = tuple(
            StepTime(batch_size=size, seconds=() if each is None else (each,) * 21)
            for size, each in seconds.items()
        )
        store.save_measurement(replace(measured, steps=steps))


@pytest.fixture(scope="module")
def found(place: str) -> Forecast:
    return bs.forecast(place, [6, 64], prices=bs.Prices(device_hour=36.0), watts=100)


def test_a_size_that_was_never_run_gets_its_seconds_and_what_they_take(found: Forecast) -> None:
    six = found.costs[0]

    assert [cost.use.batch_size for cost in found.costs] == [6, 64]
    for part in (six.use.steps, six.use.step_seconds, six.seconds, six.kilowatt_hours, six.usage):
        assert isinstance(part, Interval)
        assert part.low < part.value < part.high
        assert part.confidence == 0.9
    assert isinstance(six.seconds, Interval)
    assert isinstance(six.use.steps, Interval)
    assert isinstance(six.use.step_seconds, Interval)
    assert isinstance(six.kilowatt_hours, Interval)
    assert isinstance(six.usage, Interval)
    # The law is of this form, and the timings are without noise.
    assert six.use.step_seconds.value == pytest.approx(step_seconds(6), rel=1e-3)
    product = six.use.steps.value * six.use.step_seconds.value
    assert six.seconds.value == pytest.approx(product)
    assert six.kilowatt_hours.value == pytest.approx(100 * product / JOULES)
    assert six.usage.value == pytest.approx(0.01 * product)


def test_each_size_that_was_run_is_predicted_from_the_others(found: Forecast) -> None:
    assert [one.batch_size for one in found.left_out] == SIZES
    assert [one.batch_size for one in found.step_seconds.left_out] == SIZES
    assert found.error is not None
    assert found.step_seconds.error is not None


def test_a_size_that_was_timed_is_not_predicted(
    place: str, found: Forecast, tmp_path: Path
) -> None:
    store = copy_store(place, tmp_path)
    timed = bs.profile(make_task(budget=bs.epochs(20)), batch_sizes=[6], store=store).sizes[0]

    use = bs.forecast(store, [6]).costs[0].use

    assert use.step_seconds == timed.step_seconds
    assert use.step_seconds != found.costs[0].use.step_seconds


def test_steps_that_were_timed_again_move_what_all_sizes_take(place: str, tmp_path: Path) -> None:
    store_path = copy_store(place, tmp_path)
    again = {"batch_size": 8, "examples": 0, "seconds": [4 * step_seconds(8)] * 21}
    with closing(Store(store_path, create=False)) as store:
        store.note(store.find_study(None)["id"], timed_again=again)

    known, unknown = bs.forecast(store_path, [16, 64]).costs

    # Between a time and four times that lies twice it, and so `runs` and `analyze` have it.
    assert isinstance(known.use.step_seconds, Interval)
    assert known.use.step_seconds.value == pytest.approx(2 * step_seconds(16))
    assert isinstance(unknown.use.step_seconds, Interval)
    assert unknown.use.step_seconds.value == pytest.approx(2 * step_seconds(64), rel=1e-3)


def test_where_memory_ran_out_nothing_is_forecast(place: str, tmp_path: Path) -> None:
    store = copy_store(place, tmp_path)
    keep_times(store, {size: step_seconds(size) for size in (6, *SIZES)} | {32: None})

    below, at, beyond = bs.forecast(store, [6, 32, 64]).costs

    assert isinstance(below.seconds, Interval)
    for cost in (at, beyond):
        assert isinstance(cost.seconds, NotIdentified)
        assert "memory ran out at batch size 32" in cost.seconds.reason


def test_the_task_tells_what_memory_a_step_takes(place: str) -> None:
    studied = make_task(budget=bs.epochs(20))

    found = bs.forecast(place, [6, 64], task=studied)

    parameters = list(studied.model().parameters())
    weights = sum(weight.numel() * weight.element_size() for weight in parameters)
    six, more = found.memory[6].low, found.memory[64].low
    assert six is not None
    assert more is not None
    # Weights and their gradients; then four inputs and a label for each of 58 examples more.
    assert six >= 2 * weights
    assert more - six >= 58 * (4 * 4 + 8)


def test_without_the_task_no_memory_is_told_and_another_task_is_refused(place: str) -> None:
    assert bs.forecast(place, [6]).memory == {}
    with pytest.raises(InvalidInput) as caught:
        bs.forecast(place, [6], task="digits-mlp")
    assert caught.value.args[0].startswith("the task is digits-mlp, and the study is of ")


def test_few_sizes_leave_the_seconds_open(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = str(tmp_path_factory.mktemp("few") / "runs.db")
    task = make_task(budget=bs.epochs(20))
    bs.study(
        task, batch_sizes=[4, 8, 16], learning_rates=[0.1], target="val_loss<=0.55", store=store
    )

    cost = bs.forecast(store, [6]).costs[0]

    assert isinstance(cost.examples, Interval)
    assert isinstance(cost.seconds, NotIdentified)
    assert "batchscope profile" in cost.seconds.remedy


def keep_shared(place: str, sizes: list[int], counts: list[int]) -> None:
    """Let a store have timed steps that devices share, at the price of an exchange."""
    with closing(Store(place, create=False)) as store:
        measured = store.read_measurements(store.find_study(None)["fingerprint"])[0]
        for count in counts:
            steps = tuple(
                StepTime(batch_size=size, seconds=(shared_seconds(size, count),) * 21)
                for size in sizes
            )
            kind = name_kind("cpu", count)
            store.save_measurement(replace(measured, steps=steps, device_kind=kind))


def shared_seconds(size: int, count: int) -> float:
    exchange = 0.0 if count == 1 else 5e-4 + 1e-4 * max(count - 2, 0)
    return 1e-3 + 1e-4 * size / count + exchange


def test_on_more_devices_the_timings_on_several_numbers_tell(place: str, tmp_path: Path) -> None:
    store = copy_store(place, tmp_path)
    keep_shared(store, SIZES, [1, 2, 3])

    costs = bs.forecast(store, [8, 24], devices=4, prices=bs.Prices(device_hour=36.0)).costs

    one = bs.forecast(store, [8, 24]).costs
    for cost, alone in zip(costs, one, strict=True):
        size = cost.use.batch_size
        assert cost.use.devices == 4
        # The batch is shared: as many steps.
        assert cost.use.steps == alone.use.steps
        assert isinstance(cost.use.step_seconds, Interval)
        # The law is of this form; what it is held by moves it a little.
        truth = shared_seconds(size, 4)
        assert cost.use.step_seconds.value == pytest.approx(truth, rel=0.05)
        assert cost.use.step_seconds.low < truth < cost.use.step_seconds.high
        assert isinstance(cost.usage, Interval)
        assert isinstance(cost.seconds, Interval)
        assert cost.usage.value == pytest.approx(4 * 0.01 * cost.seconds.value)


def test_how_far_the_law_of_devices_is_off_is_shown_where_most_were_timed(
    place: str, tmp_path: Path
) -> None:
    store = copy_store(place, tmp_path)
    keep_shared(store, SIZES, [1, 2, 3])

    timed = bs.forecast(store, [8], devices=2)
    beyond = bs.forecast(store, [8], devices=4)

    for found, count in ((timed, 2), (beyond, 3)):
        assert [one.batch_size for one in found.step_seconds.left_out] == SIZES
        for one in found.step_seconds.left_out:
            assert one.measured == pytest.approx(shared_seconds(one.batch_size, count))
            assert abs(one.log_error) < 0.1
    # What was timed there is not predicted.
    assert isinstance(timed.costs[0].use.step_seconds, Interval)
    assert timed.costs[0].use.step_seconds.value == pytest.approx(shared_seconds(8, 2))


def test_timings_on_one_device_do_not_tell_of_two(place: str, tmp_path: Path) -> None:
    store = copy_store(place, tmp_path)
    keep_shared(store, [2, 3, 4, 6, 8, 12, 16, 20, 24, 32], [1])

    seconds = bs.forecast(store, [8], devices=2).costs[0].use.step_seconds

    assert isinstance(seconds, NotIdentified)
    assert "every timing is of one device" in seconds.reason


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ([0], "batch sizes 0"),
        ([6, 16.5], "batch sizes 6, 16.5"),
        ([math.nan], "batch sizes nan"),
        ([], "no batch size"),
        ([6, 128], "a batch of 128 of 64 training examples"),
    ],
    ids=["nothing", "a half", "no number", "none", "more than there are"],
)
def test_batch_sizes_that_cannot_be_trained_with_are_one_error(
    place: str, sizes: list[Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        bs.forecast(place, sizes)


def study_of(slope: float, store: str, sizes: list[int]) -> None:
    """A line in noise of deviation 3; its slope makes it a task of its own."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(512, 2, generator=generator)
    y = slope * x.sum(1) + 3 * torch.randn(512, generator=generator)
    task = make_task(
        name=f"line {slope:g}",
        model=lambda: torch.nn.Linear(2, 1),
        loss=lambda model, batch: torch.nn.functional.mse_loss(
            model(batch[0]).squeeze(1), batch[1]
        ),
        train=(x[:384], y[:384]),
        val=(x[384:], y[384:]),
        test=None,
        metrics={},
        budget=bs.epochs(10),
    )
    bs.study(
        task,
        batch_sizes=sizes,
        learning_rates=[0.01, 0.03, 0.1],
        seeds=2,
        # The best line is at 9.1: so near to it noise matters, and larger batches take fewer steps.
        target="val_loss<=9.5",
        store=store,
        jobs=1,
    )


@pytest.mark.slow
def test_other_tasks_of_the_store_stand_in_for_a_curve(tmp_path: Path) -> None:
    store = str(tmp_path / "runs.db")
    for slope in (2.0, 2.5, 3.0):
        study_of(slope, store, [4, 16, 64])
    # One that says nothing, since all of it diverged.
    bs.study(make_task(name="diverged"), batch_sizes=[8], learning_rates=[1e30], store=store)
    study_of(3.5, store, [8, 32])

    found = bs.forecast(store, [16])

    history = found.to_target.history
    assert history is not None
    assert set(history.critical) == {"line 2", "line 2.5", "line 3"}
    assert history.unbounded == ()
    estimate = found.examples[16]
    assert isinstance(estimate, Interval)
    eight, thirty_two = (one.measured for one in found.left_out)
    # Between the two that were run, which predict one another as well.
    assert 0.7 * eight < estimate.value < 1.4 * thirty_two
    assert estimate.high / estimate.low > 1.1
    assert found.error is not None


def test_a_target_that_untrained_networks_have_is_refused(place: str) -> None:
    with pytest.raises(CannotTell, match="an untrained network already has val_loss<=9"):
        bs.forecast(place, [6], target="val_loss<=9")


def test_a_price_of_electricity_needs_the_watts(place: str) -> None:
    with pytest.raises(InvalidInput, match="watts"):
        bs.forecast(place, [6], prices=bs.Prices(kilowatt_hour=0.3))
