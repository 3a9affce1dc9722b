"""Workers that are forked from a process that has loaded torch."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import psutil
import pytest

import batchscope as bs
from batchscope.errors import WorkerDied
from batchscope.workers import forking
from batchscope.workers.pool import ProcessPool
from batchscope.workers.travel import pack_task

from ..conftest import make_task

pytestmark = pytest.mark.skipif(not forking.can_fork(), reason="workers are not forked here")

Report = Callable[[object], None]


def say_where(task: bs.Task, *, report: Report) -> tuple[int, str, str | None, list[str]]:
    return os.getppid(), os.getcwd(), os.environ.get("BATCHSCOPE_PLACE"), sys.path


def say_who(task: bs.Task, *, report: Report) -> int:
    return os.getpid()


def vanish(task: bs.Task, *, report: Report) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave(task: bs.Task, *, report: Report) -> None:
    os._exit(3)


def complain(task: bs.Task, *, report: Report) -> None:
    print("a warning of the task", file=sys.stderr, flush=True)


def ask(function: Callable[..., object]) -> object:
    with ProcessPool(pack_task(make_task()), count=1, threads=1) as pool:
        return pool.ask("a", function)


def test_workers_of_a_process_have_one_nursery_and_the_surroundings_of_the_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nursery, *_ = ask(say_where)  # type: ignore[misc]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BATCHSCOPE_PLACE", "elsewhere")
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))

    same, folder, place, path = ask(say_where)  # type: ignore[misc]

    assert (same, folder, place) == (nursery, str(tmp_path), "elsewhere")
    assert path[0] == str(tmp_path / "modules")
    assert psutil.Process(nursery).ppid() == os.getpid()


def test_what_a_task_prints_goes_where_errors_go_now(capfd: pytest.CaptureFixture[str]) -> None:
    ask(complain)

    assert "a warning of the task" in capfd.readouterr().err


@pytest.mark.parametrize(("end", "code"), [(vanish, -9), (leave, 3)])
def test_the_exit_code_of_a_worker_is_known(end: Callable[..., object], code: int) -> None:
    with pytest.raises(WorkerDied) as caught:
        ask(end)
    assert caught.value.worker_exit_code == code


def test_where_the_nursery_is_killed_its_workers_end_and_the_next_has_another() -> None:
    with ProcessPool(pack_task(make_task()), count=2, threads=1) as pool:
        nursery, *_ = pool.ask("a", say_where)  # type: ignore[misc]
        worker = psutil.Process(cast(int, pool.ask("a", say_who)))
        os.kill(nursery, signal.SIGKILL)
        psutil.Process(nursery).wait(30)

        other, *_ = pool.ask("b", say_where)  # type: ignore[misc]

        assert other != nursery
        assert not worker.is_running()


def test_a_nursery_ends_with_who_started_it() -> None:
    script = """
import os, time
from batchscope.workers.forking import fork_worker

print(os.getpid(), fork_worker([], os.environ).pid, flush=True)
time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    driver, worker = map(int, process.stdout.readline().split())
    nursery = psutil.Process(worker).parent()
    assert nursery is not None
    assert nursery.ppid() == driver

    process.kill()

    assert psutil.wait_procs([nursery, psutil.Process(worker)], timeout=60)[1] == []
    process.wait()


def test_a_command_forks_its_nursery_from_itself_before_it_has_threads() -> None:
    script = """
import os, sys
from batchscope.workers.forking import fork_nursery, fork_worker

fork_nursery()
worker = fork_worker([], os.environ)
print(worker.pid, flush=True)
sys.stdin.readline()
worker.stdin.close()
print(worker.wait())
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    worker = psutil.Process(int(process.stdout.readline()))
    nursery = worker.parent()
    assert nursery is not None
    assert nursery.ppid() == process.pid
    # Forked: it runs the same script.
    assert nursery.cmdline() == [sys.executable, "-c", script]
    assert nursery.num_threads() == 1
    # It keeps none of the files open that its parent has: not what is waited for at the end.
    assert os.stat(f"/proc/{nursery.pid}/fd/1").st_rdev == os.stat(os.devnull).st_rdev

    process.stdin.write("go on\n")
    process.stdin.flush()

    assert process.communicate(timeout=60)[0] == "0\n"
    assert process.returncode == 0
    assert psutil.wait_procs([nursery, worker], timeout=60)[1] == []


def test_a_command_with_threads_has_its_nursery_started() -> None:
    script = """
import os, threading
from batchscope.workers.forking import fork_nursery, fork_worker

going_on = threading.Event()
threading.Thread(target=going_on.wait).start()
fork_nursery()
worker = fork_worker([], os.environ)
(nursery,) = open(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read().split()
print(open(f"/proc/{nursery}/cmdline").read().split("\\0")[-3])
worker.kill()
print(worker.wait())
going_on.set()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.split() == ["batchscope.workers.nursery", "-9"], done.stderr


def test_after_a_study_the_nursery_has_one_thread_and_can_be_forked_from(tmp_path: Path) -> None:
    bs.study(make_task(), batch_sizes=[8, 16], budget="2ep", seeds=1, store=str(tmp_path / "r.db"))

    nursery, *_ = ask(say_where)  # type: ignore[misc]

    assert psutil.Process(nursery).num_threads() == 1


def test_a_request_that_was_interrupted_leaves_the_next_its_own_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    ask(say_where)
    with monkeypatch.context() as patch:
        # After the request was sent, before its answer is read.
        patch.setattr("contextlib.ExitStack.close", interrupt)
        with pytest.raises(KeyboardInterrupt):
            forking.fork_worker([], os.environ)

    worker = forking.fork_worker([], os.environ)
    worker.kill()

    assert worker.wait() == -9


def test_a_process_forked_from_the_driver_has_a_nursery_of_its_own() -> None:
    script = """
import os
from batchscope.workers.forking import fork_worker

mine = fork_worker([], os.environ)
child = os.fork()
if child == 0:
    theirs = fork_worker([], os.environ)
    theirs.kill()
    os._exit(0 if theirs.wait() == -9 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), mine.poll())
mine.kill()
print(mine.wait())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.split() == ["0", "None", "-9"], done.stderr
