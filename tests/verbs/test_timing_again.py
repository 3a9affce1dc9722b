import statistics
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import batchscope as bs
from batchscope.studies.fingerprint import fingerprint
from batchscope.studies.progress import Unwatched
from batchscope.studies.store import Store

from ..conftest import make_staying_task, make_task


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Several threads of a small step wait for one another where something else keeps a core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class CountTimings(Unwatched):
    """Counts them, and leaves a file where it is told to while the second is made."""

    def __init__(self, sign: Path) -> None:
        self.count = 0
        self._sign = sign

    def begin(self, label: str) -> None:
        is_timing = label.startswith("timing")
        self.count += is_timing
        if is_timing and self.count == 2:
            self._sign.touch()

    def end(self, label: str, *, runs: int = 0) -> None:
        self._sign.unlink(missing_ok=True)


def profile_as_if_disturbed(task: bs.Task, place: str) -> None:
    """Steps of 8 and 16 are in the store, timed twenty times too long."""
    bs.profile(task, batch_sizes=[8, 16], store=place)
    with closing(Store(place, create=False)) as store:
        (quiet,) = store.read_measurements(fingerprint(task, None).digest)
        slow = [
            replace(step, seconds=tuple(20 * one for one in step.seconds)) for step in quiet.steps
        ]
        store.save_measurement(replace(quiet, steps=tuple(slow)))


def read_timed_again(place: str) -> dict[str, Any]:
    with closing(Store(place, create=False)) as store:
        return store.find_study(None)["plan"]["timed_again"]


@pytest.mark.usefixtures("one_thread")
def test_where_two_times_are_apart_a_third_tells_which_was_disturbed(tmp_path: Path) -> None:
    place = f"{tmp_path}/runs.db"
    options: dict[str, Any] = {"batch_sizes": [8, 16], "store": place, "jobs": 1}
    task = make_staying_task(budget=bs.epochs(10))
    profile_as_if_disturbed(task, place)

    found = bs.recommend(task, target="train_loss<=0.6", effort="quick", **options)

    timed = read_timed_again(place)
    assert len(timed["once_more"]) == len(timed["seconds"])
    assert any("by which batch sizes were compared" in reason for reason in found.reasons)
    assert isinstance(found.predicted.seconds, bs.Interval)
    assert isinstance(found.predicted.steps, bs.Interval)
    medians = [statistics.median(timed[name]) for name in ("seconds", "once_more")]
    assert found.predicted.seconds.value == pytest.approx(
        found.predicted.steps.value * statistics.geometric_mean(medians)
    )
    for analysis in (found.analysis, bs.analyze(place)):
        # What sizes are shown to take is at the speed that one training is predicted for.
        size = next(size for size in analysis.tuned if size.batch_size == found.batch_size)
        for curve in size.curves:
            assert curve.step_seconds == pytest.approx(statistics.geometric_mean(medians))


@pytest.mark.usefixtures("one_thread")
def test_a_third_time_that_fails_takes_nothing_away_and_is_not_tried_again(tmp_path: Path) -> None:
    place, sign = f"{tmp_path}/runs.db", tmp_path / "sign"
    watcher = CountTimings(sign)
    lock = threading.Lock()

    def loss(model: torch.nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        if sign.exists():
            raise MemoryError
        with lock:
            return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])

    task = make_task(loss=loss, budget=bs.epochs(10))
    options: dict[str, Any] = {"batch_sizes": [8, 16], "store": place, "jobs": 1}
    profile_as_if_disturbed(task, place)

    first, again = (
        bs.recommend(task, target="train_loss<=0.6", effort="quick", watcher=watcher, **options)
        for _ in range(2)
    )

    timed = read_timed_again(place)
    assert len(timed["seconds"]) >= 2
    assert not timed.get("once_more")
    assert watcher.count == 2
    assert (again.predicted, again.spent) == (first.predicted, first.spent)
