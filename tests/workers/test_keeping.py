import os
from collections.abc import Callable

import psutil
import pytest

import batchscope as bs
from batchscope.workers import keeping
from batchscope.workers.keeping import keeping_workers, open_processes
from batchscope.workers.pool import Pool
from batchscope.workers.travel import TaskSource, pack_task

from ..conftest import make_task

Report = Callable[[object], None]


def name_process(task: bs.Task, *, report: Report) -> int:
    return os.getpid()


def ask_twice(source: TaskSource, *, leave_busy: bool = False) -> tuple[int, int]:
    """The processes that two pools, one opened after the other was closed, answer from."""

    def ask(pool: Pool) -> int:
        found = pool.ask("who", name_process)
        assert isinstance(found, int)
        return found

    with open_processes(source, count=1, threads=1) as pool:
        first = ask(pool)
        if leave_busy:
            pool.submit("unheard", name_process)
    with open_processes(source, count=1, threads=1) as pool:
        return first, ask(pool)


def test_workers_wait_for_the_next_study_and_end_with_the_last() -> None:
    source = pack_task(make_task())

    with keeping_workers():
        first, second = ask_twice(source)
        assert first == second
        assert psutil.pid_exists(first)

    assert not psutil.pid_exists(first)


def test_what_was_left_in_the_middle_is_not_lent_again() -> None:
    with keeping_workers():
        first, second = ask_twice(pack_task(make_task()), leave_busy=True)

    assert first != second
    assert not psutil.pid_exists(first)


def test_no_more_wait_than_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "_MOST", 1)
    found: list[int] = []
    with keeping_workers():
        for threads in (1, 2):
            with open_processes(pack_task(make_task()), count=1, threads=threads) as pool:
                found.append(int(str(pool.ask("who", name_process))))
        assert [psutil.pid_exists(one) for one in found] == [False, True]
