"""What tests have workers do."""

import os
from collections.abc import Callable
from pathlib import Path

import batchscope as bs


def tell_process(task: bs.Task, *, report: Callable[[object], None]) -> int:
    report("here")
    return os.getpid()


def fail(task: bs.Task, *, report: Callable[[object], None]) -> int:
    raise ValueError("as it should")


def die_once(task: bs.Task, folder: str, *, report: Callable[[object], None]) -> str:
    """Be killed the first time."""
    mark = Path(folder, "was-here")
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), 9)
    return "second time"


def wait_for_file(task: bs.Task, path: str, *, report: Callable[[object], None]) -> str:
    """Run until a file appears, and say where this runs."""
    report(os.getpid())
    while not Path(path).exists():
        os.sched_yield()
    return "done"
