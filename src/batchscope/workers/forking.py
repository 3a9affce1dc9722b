"""Workers that a nursery forks: there at once, where a process of its own would load torch anew."""

import atexit
import contextlib
import io
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO

import torch

from batchscope.errors import WorkerDied
from batchscope.workers.messages import write_message
from batchscope.workers.nursery import (
    ALWAYS,
    DESCRIPTORS,
    NUMBER,
    Surroundings,
    become_nursery,
    load_modules,
)

# One that was there may have been killed; the next one should not be.
_TRIES = 2
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def can_fork() -> bool:
    """Whether workers may be forked: what has seen CUDA cannot use it after a fork."""
    return sys.platform == "linux" and not torch.cuda.is_available()


class ForkedProcess:
    """A worker that a nursery forked, to be handled as a `subprocess.Popen`.

    Args:
        told: where the nursery writes its exit code.

    Attributes:
        returncode: None while it runs.
    """

    def __init__(self, pid: int, stdin: IO[bytes], stdout: IO[bytes], told: IO[bytes]) -> None:
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self.returncode: int | None = None
        self._told = told
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._look(timeout=0)

    def wait(self) -> int:
        """The exit code, once it has ended."""
        while (code := self._look(timeout=None)) is None:
            pass
        return code

    def kill(self) -> None:
        """End it at once."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _look(self, *, timeout: float | None) -> int | None:
        # Of its own, since a thread may wait while another looks.
        ended = select.poll()
        ended.register(self._told, select.POLLIN)
        if self.returncode is None and ended.poll(timeout):
            with self._lock:
                if self.returncode is None:
                    self._read_end()
        return self.returncode

    def _read_end(self) -> None:
        code = self._told.read(NUMBER.size)
        if code:
            (self.returncode,) = NUMBER.unpack(code)
            return
        # Its nursery is gone and nobody would hear of its end: left alone, it ends itself.
        with contextlib.suppress(OSError):
            self.stdin.close()
        self.returncode = -signal.SIGKILL


class _NurseryGoneError(Exception):
    pass


class _Nursery:
    """Where workers are asked for.

    Args:
        make: begins a process that serves the requests of a descriptor, and returns what ends it.
    """

    def __init__(self, make: Callable[[int], Callable[[], None]]) -> None:
        # Packets, so that a request is read whole.
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._end = make(theirs.fileno())

    def fork(self, modules: Sequence[str], surroundings: Surroundings) -> ForkedProcess:
        """Fork a worker.

        Raises:
            _NurseryGoneError: there is nobody to fork it.
            OSError: the system has no room for another process or descriptor.
        """
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            calls, stdin = _make_pipe(theirs, ours)
            told, end = _make_pipe(ours, theirs)
            stdout, answers = _make_pipe(ours, theirs)
            ends = [calls.fileno(), answers.fileno(), 2, end.fileno()]
            assert len(ends) == DESCRIPTORS
            try:
                socket.send_fds(self._requests, [pickle.dumps(list(modules))], ends)
            except ConnectionError as error:
                raise _NurseryGoneError from error
            theirs.close()
            forked = told.read(NUMBER.size)
            if not forked:
                raise _NurseryGoneError
            (pid,) = NUMBER.unpack(forked)
            if pid < 0:
                raise OSError(-pid, os.strerror(-pid))
            ours.pop_all()
        with contextlib.suppress(BrokenPipeError):
            write_message(stdin, surroundings)
        return ForkedProcess(pid, stdin, io.BufferedReader(stdout), told)

    def close(self) -> None:
        self._requests.close()
        # Killed, since it may be loading; its workers see the end of their calls.
        self._end()


def _start_process(requests: int) -> Callable[[], None]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "batchscope.workers.nursery", str(requests)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[requests],
        # Threads of its libraries would not survive a fork.
        env=environment_of(threads=1),
    )

    def end() -> None:
        process.kill()
        process.wait()

    return end


def _fork_process(requests: int) -> Callable[[], None]:
    pid = os.fork()
    if pid == 0:
        become_nursery(requests, environment_of(threads=1))

    def end() -> None:
        # Where the signal of its end is ignored, the system has forgotten it.
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    return end


def _make_pipe(
    reading: contextlib.ExitStack, writing: contextlib.ExitStack
) -> tuple[io.FileIO, IO[bytes]]:
    """A pipe whose ends are closed with the stacks given."""
    reader, writer = os.pipe()
    return (
        reading.enter_context(io.FileIO(reader)),
        writing.enter_context(os.fdopen(writer, "wb")),
    )


def environment_of(*, threads: int) -> dict[str, str]:
    """The variables of a process that computes in so many threads, and finds our modules."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return os.environ | dict.fromkeys(_THREAD_VARIABLES, str(threads)) | {"PYTHONPATH": path}


_lock = threading.Lock()
_nursery: list[_Nursery] = []


def fork_worker(modules: Sequence[str], environment: Mapping[str, str]) -> ForkedProcess:
    """Fork a worker from this process's nursery, which is started where there is none.

    Args:
        modules: that it will need; loaded once, for all workers. They may not start threads.
        environment: its variables.

    Raises:
        OSError: the system has no room for another process or descriptor.
        WorkerDied: nurseries end as soon as they are started.
    """
    surroundings = Surroundings(
        folder=os.getcwd(), environment=dict(environment), path=list(sys.path)
    )
    with _lock:
        for _ in range(_TRIES):
            if not _nursery:
                _nursery.append(_Nursery(_start_process))
            try:
                return _nursery[0].fork(modules, surroundings)
            except _NurseryGoneError:
                _nursery.pop().close()
    raise WorkerDied(
        "no worker process can be started",
        where=sys.executable,
        expected="a Python that can load torch",
        do="look at what it wrote above, and for the memory killer in the system's log",
    )


def fork_nursery() -> None:
    """Fork this process's nursery from itself, so that torch is loaded once.

    For a command, before it loads anything of a user's. Where threads run already, the first worker
    will have a nursery started instead.
    """
    if not can_fork():
        return
    load_modules(ALWAYS)
    with _lock:
        if not _nursery and len(os.listdir("/proc/self/task")) == 1:
            _nursery.append(_Nursery(_fork_process))


@atexit.register
def _close_nursery() -> None:
    while _nursery:
        _nursery.pop().close()


def _forget_nursery() -> None:
    """In a process that was forked from this one: the nursery is its parent's."""
    global _lock
    _lock = threading.Lock()
    _nursery.clear()


os.register_at_fork(after_in_child=_forget_nursery)
