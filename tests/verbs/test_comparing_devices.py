from pathlib import Path

import pytest

import batchscope as bs
from batchscope.errors import InvalidInput, StoreError

from ..conftest import make_staying_task

TABLE = """
[SMALL]
memory_gb = 1
bandwidth_gb_s = 10
float32_tflops = 0.1
device_hour = 0.1

[LARGE]
memory_gb = 80
bandwidth_gb_s = 2000
float32_tflops = 20
device_hour = 2
"""


@pytest.fixture
def table(tmp_path: Path) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(TABLE)
    return str(path)


def test_without_a_study_the_time_is_that_of_an_epoch(table: str) -> None:
    task = make_staying_task()

    found = bs.devices(task, batch_sizes=[8, 16], table=table)

    assert found.goal == "through one epoch"
    assert {"SMALL", "LARGE", "H100"} <= {one.device for one in found.devices}
    assert all(one.refusal is None for one in found.devices)
    # A thing of starting kernels takes as long on both, and a twentieth of the price.
    assert found.cheapest == "SMALL"
    assert any("of the 2 that have a price" in sentence for sentence in found.sentences)
    assert any("guesses" in sentence for sentence in found.sentences)


def test_a_study_gives_the_steps_and_a_timing_makes_its_device_known(
    table: str, tmp_path: Path
) -> None:
    task, place = make_staying_task(budget=bs.epochs(6)), str(tmp_path / "runs.db")
    study = bs.study(task, batch_sizes=[8, 16], store=place, jobs=1)
    steps = {size.batch_size: size.steps for size in bs.analyze(study).sizes}

    found = bs.devices(
        task,
        store=place,
        table=table,
        measured=[
            bs.Timing(device="LARGE", batch_size=size, seconds=0.25 * size) for size in (8, 16)
        ],
    )

    large = next(one for one in found.devices if one.device == "LARGE")
    assert found.goal.startswith("to ")
    assert large.is_measured
    assert isinstance(large.seconds, bs.Interval)
    taken = steps[large.batch_size or 0]
    assert isinstance(taken, bs.Interval)
    assert large.seconds.value == pytest.approx(taken.value * 0.25 * (large.batch_size or 0))


def test_a_size_of_which_a_seed_missed_the_target_is_not_trained_on_any_device(
    table: str, tmp_path: Path
) -> None:
    task, place = make_staying_task(budget=bs.epochs(6)), str(tmp_path / "runs.db")
    study = bs.study(task, batch_sizes=[8, 16], seeds=3, store=place, jobs=1)
    worst = {8: 0.0, 16: 0.0}
    for size in bs.analyze(study).tuned:
        worst[size.batch_size] = max(float(c.columns["val_loss"].min()) for c in size.curves)
    missing, reaching = sorted(worst, key=lambda size: -worst[size])
    target = f"val_loss<={(worst[missing] + worst[reaching]) / 2}"

    found = bs.devices(task, store=place, table=table, target=target)

    assert {one.batch_size for one in found.devices if one.refusal is None} == {reaching}


def test_nothing_is_trained_and_the_random_numbers_stay_where_they_were(table: str) -> None:
    import torch

    state = torch.get_rng_state()
    bs.devices(make_staying_task(), batch_sizes=[8], table=table)

    assert torch.equal(torch.get_rng_state(), state)


def test_a_timing_on_a_device_that_is_not_known_names_the_nearest(table: str) -> None:
    timing = bs.Timing(device="LARG", batch_size=8, seconds=0.1)

    with pytest.raises(InvalidInput, match="did you mean LARGE"):
        bs.devices(make_staying_task(), table=table, measured=[timing])


@pytest.mark.parametrize(
    ("size", "seconds"), [(0, 1.0), (8, 0.0), (8, float("nan")), (10_000, 1.0)]
)
def test_a_timing_that_makes_no_sense_is_refused(table: str, size: int, seconds: float) -> None:
    timing = bs.Timing(device="LARGE", batch_size=size, seconds=seconds)

    with pytest.raises(InvalidInput, match=r"above\s+0"):
        bs.devices(make_staying_task(), table=table, measured=[timing])


def test_a_target_without_a_study_that_says_its_steps_is_refused(table: str) -> None:
    for said in ({"target": "loss<=0.5"}, {"which": "mine"}):
        with pytest.raises(InvalidInput, match=r"no\s+store"):
            bs.devices(make_staying_task(), table=table, **said)


def test_a_store_that_is_not_there_is_named(table: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        bs.devices(make_staying_task(), store=str(tmp_path / "none.db"), table=table)
