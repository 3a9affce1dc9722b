from collections.abc import Callable
from pathlib import Path

import pytest

from batchscope.errors import InvalidTask
from batchscope.replications.lab import Lab
from batchscope.studies.progress import Unwatched
from batchscope.task import Task

from ..conftest import make_task


def square(task: Task, number: int, *, report: Callable[[object], None]) -> tuple[int, int]:
    if number < 0:
        raise ValueError("below 0")
    return task.train_size, number**2


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(
        is_quick=True,
        first_seed=0,
        count=2,
        is_control=False,
        store=str(tmp_path / "runs.db"),
        watcher=Unwatched(),
    )


def test_calls_are_answered_in_their_order(lab: Lab) -> None:
    calls = [(number,) for number in (3, 1, 4, 1, 5)]

    found = lab.ask(make_task(), square, calls, words="squaring")

    assert found == [(64, number**2) for (number,) in calls]


def test_a_call_that_fails_ends_the_rest(lab: Lab) -> None:
    with pytest.raises(InvalidTask, match="below 0"):
        lab.ask(make_task(), square, [(1,), (-1,), (2,)], words="squaring")
