from collections.abc import Callable
from pathlib import Path

import pytest

from batchscope.errors import InvalidTask
from batchscope.task import Task

from ..conftest import make_task
from .labs import make_lab


def square(task: Task, number: int, *, report: Callable[[object], None]) -> tuple[int, int]:
    if number < 0:
        raise ValueError("below 0")
    return task.train_size, number**2


def test_calls_are_answered_in_their_order(tmp_path: Path) -> None:
    calls = [(number,) for number in (3, 1, 4, 1, 5)]

    found = make_lab(tmp_path).ask(make_task(), square, calls, words="squaring")

    assert found == [(64, number**2) for (number,) in calls]


def test_a_call_that_fails_ends_the_rest(tmp_path: Path) -> None:
    with pytest.raises(InvalidTask, match="below 0"):
        make_lab(tmp_path).ask(make_task(), square, [(1,), (-1,), (2,)], words="squaring")
