"""A process that has loaded torch and forks workers, which each of them would take seconds for.

It hears of a worker to fork in one message: the modules that it will need, and four descriptors.
"""

import contextlib
import errno
import gc
import importlib
import os
import pickle
import selectors
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, cast

import numpy as np

from batchscope.workers.__main__ import main as serve_calls
from batchscope.workers.messages import read_message

# What is answered: the process that was forked or an error below 0, and at its end its exit code.
NUMBER = struct.Struct(">q")
# Standard input, output and error of the worker, and where the answers go.
DESCRIPTORS = 4
_LARGEST_REQUEST = 65_536
# Calls of a task, and what the first optimizer of a process would load.
ALWAYS = ("batchscope.workers.calls", "torch._dynamo")
# Files of the process that was forked: those that nothing refers to would close their numbers.
_inherited: list[object] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where a worker runs: the folder, the variables and the path of who asks for it."""

    folder: str
    environment: dict[str, str]
    path: list[str]


def become_nursery(number: int, environment: Mapping[str, str]) -> NoReturn:
    """What a process does that was just forked to be one: it lets go of all that it has open.

    Args:
        number: of the descriptor of its requests.
        environment: under which it loads modules.
    """
    code = 1
    try:
        os.environ.update(environment)
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1):
            os.dup2(null, standard)
        os.closerange(3, number)
        os.closerange(number + 1, os.sysconf("SC_OPEN_MAX"))
        _inherited.extend((sys.stdin, sys.stdout, sys.stderr))
        sys.stdin = os.fdopen(0, closefd=False)
        sys.stdout, sys.stderr = (os.fdopen(end, "w", 1, closefd=False) for end in (1, 2))
        serve_requests(number)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def serve_requests(number: int) -> None:
    """Fork workers until the process that asks for them is gone.

    Args:
        number: of the descriptor of its requests.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests = socket.socket(fileno=number)
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, _let_wake)
    told: dict[int, int] = {}
    load_modules(ALWAYS)
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if woken in ready:
                os.read(woken, _LARGEST_REQUEST)
                _tell_ends(told)
            if requests in ready:
                modules, ends, *_ = socket.recv_fds(requests, _LARGEST_REQUEST, DESCRIPTORS)
                if not modules:
                    return
                load_modules(pickle.loads(modules))
                pid = _fork()
                if pid == 0:
                    selector.close()
                    requests.close()
                    _become_worker(ends, inherited=[woken, wake, *told.values()])
                _tell(ends[-1], pid)
                for end in ends[:-1]:
                    os.close(end)
                if pid < 0:
                    os.close(ends[-1])
                else:
                    told[pid] = ends[-1]


def _fork() -> int:
    """As os.fork; the number of the error below 0 where the system has no room."""
    try:
        return os.fork()
    except OSError as error:
        return -(error.errno or errno.EAGAIN)


def _tell(end: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(end, NUMBER.pack(number))


def _let_wake(_number: int, _frame: object) -> None:
    """A signal without a handler would not be written to the pipe."""


def load_modules(modules: Sequence[str]) -> None:
    """What fails to load here fails again where it is needed, and is answered there."""
    for module in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    # Forked processes share the memory of what their garbage collector does not touch.
    gc.freeze()


def _tell_ends(told: dict[int, int]) -> None:
    """Answer for the workers that have ended."""
    for pid in list(told):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            end = told.pop(pid)
            _tell(end, os.waitstatus_to_exitcode(status))
            os.close(end)


def _become_worker(ends: Sequence[int], *, inherited: Sequence[int]) -> None:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for standard, end in enumerate(ends[:-1]):
            os.dup2(end, standard)
        for end in (*ends, *inherited):
            os.close(end)
        surroundings = cast(Surroundings, read_message(sys.stdin.buffer))
        os.chdir(surroundings.folder)
        os.environ.clear()
        os.environ.update(surroundings.environment)
        sys.path[:] = surroundings.path
        np.random.seed()
        serve_calls()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except EOFError:
        # Whoever asked for it is gone.
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve_requests(int(sys.argv[1]))
