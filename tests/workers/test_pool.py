import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

import batchscope as bs
from batchscope.errors import InvalidTask, WorkerDied
from batchscope.workers.forking import can_fork
from batchscope.workers.pool import Answer, OwnProcess, Pool, ProcessPool
from batchscope.workers.travel import FileTask, pack_task

from ..conftest import SMALL_TASK, make_task

Report = Callable[[object], None]


@pytest.fixture(autouse=True, params=["forked", "whole"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that are forked, and those that load torch themselves, as where there is CUDA."""
    if request.param == "whole":
        monkeypatch.setattr("batchscope.workers.pool.can_fork", lambda: False)
    elif not can_fork():
        pytest.skip("workers are not forked here")


def describe(task: bs.Task, extra: int, *, report: Report) -> tuple[int, int, int, int]:
    print("what a task prints does not mix with its answers")
    report("half")
    return task.train_size, extra, torch.get_num_threads(), os.getpid()


def fail(task: bs.Task, *, report: Report) -> None:
    raise ValueError("no luck")


def vanish(task: bs.Task, *, report: Report) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for(pool: Pool, *kinds: str) -> Answer:
    while True:
        answer = pool.wait(120)
        assert answer is not None
        if answer.kind in kinds:
            return answer


def test_a_worker_answers_with_progress_and_result_at_its_own_thread_count() -> None:
    with ProcessPool(pack_task(make_task()), count=1, threads=1) as pool:
        pool.submit("a", describe, 5)
        assert pool.free == 0

        assert wait_for(pool, "progress").value == "half"
        size, extra, threads, process = wait_for(pool, "result").value  # type: ignore[misc]

    assert (size, extra, threads) == (64, 5, 1)
    assert process != os.getpid()
    assert not psutil.pid_exists(process)


def refuse(function: Callable[..., object]) -> InvalidTask:
    """The error of a call, after which the pool carries out another."""
    with ProcessPool(pack_task(make_task()), count=1, threads=1) as pool:
        pool.submit("a", function)
        error = wait_for(pool, "error").value
        pool.submit("b", describe, 1)
        assert wait_for(pool, "result").label == "b"
    assert isinstance(error, InvalidTask)
    return error


def test_an_error_of_the_task_comes_back_and_the_worker_lives_on() -> None:
    error = refuse(fail)

    assert "ValueError: no luck" in str(error)


def test_a_worker_that_is_killed_is_noticed_and_replaced() -> None:
    with ProcessPool(pack_task(make_task()), count=1, threads=1) as pool:
        pool.submit("a", vanish)
        assert isinstance(wait_for(pool, "error").value, WorkerDied)
        pool.submit("b", describe, 1)

        assert wait_for(pool, "result").label == "b"


def test_a_file_that_fails_in_the_worker_is_an_answer(tmp_path: Path) -> None:
    source = FileTask(path=str(tmp_path / "x.py"), text="1 / 0", name="task")
    with ProcessPool(source, count=1, threads=1) as pool:
        pool.submit("a", describe, 1)

        assert "ZeroDivisionError" in str(wait_for(pool, "error").value)


def test_a_call_that_a_worker_cannot_load_is_an_answer_and_the_worker_lives_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("def call(task, *, report):\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    only_here = importlib.import_module("only_here")
    sys.path.remove(str(tmp_path))

    error = refuse(only_here.call)

    assert "No module named 'only_here'" in error.args[0]


class OddError(InvalidTask):
    """Cannot be made from its own arguments, as unpickling does."""

    def __init__(self) -> None:
        super().__init__("odd", where="here", expected="none", do="nothing")


def be_odd(task: bs.Task, *, report: Report) -> None:
    raise OddError


def test_an_answer_that_cannot_be_loaded_here_is_an_error_and_the_worker_is_replaced() -> None:
    error = refuse(be_odd)

    assert "an answer of a worker cannot be loaded" in error.args[0]


def test_a_task_of_a_module_that_only_the_caller_finds_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nets_here.py").write_text(
        "import torch\ndef make():\n    return torch.nn.Linear(4, 2)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    source = pack_task(make_task(model=importlib.import_module("nets_here").make))
    sys.path.remove(str(tmp_path))
    with ProcessPool(source, count=1, threads=1) as pool:
        pool.submit("a", describe, 1)
        error = wait_for(pool, "error").value

    assert isinstance(error, InvalidTask)
    assert "No module named 'nets_here'" in error.args[0]


def test_a_task_that_stays_here_is_called_here() -> None:
    with OwnProcess(make_task()) as pool:
        pool.submit("a", describe, 2)

        assert wait_for(pool, "result").value[3] == os.getpid()  # type: ignore[index]


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        f"{SMALL_TASK}\n"
        "import os, time\n"
        "from batchscope.workers.pool import ProcessPool\n"
        "from batchscope.workers.travel import pack_task\n"
        "def stay(task, *, report):\n"
        "    report(os.getpid())\n"
        "    time.sleep(600)\n"
        "pool = ProcessPool(pack_task(task), count=1, threads=1)\n"
        "pool.submit('a', stay)\n"
        "print(pool.wait(120).value, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = psutil.Process(int(parent.stdout.readline()))

    parent.kill()
    parent.wait()

    try:
        worker.wait(timeout=30)
    except psutil.TimeoutExpired:
        pytest.fail("the worker outlived its parent")
