"""Workers that a nursery forks: there at once, where a process of its own would load torch anew."""

import atexit
import contextlib
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import IO

import torch

from batchscope.workers.messages import write_message
from batchscope.workers.nursery import DESCRIPTORS, EXIT_CODE, PID, Surroundings

_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def can_fork() -> bool:
    """Whether workers may be forked: what has seen CUDA cannot use it after a fork."""
    return sys.platform == "linux" and not torch.cuda.is_available()


class ForkedProcess:
    """A worker that a nursery forked, to be handled as a `subprocess.Popen`.

    Attributes:
        returncode: None while it runs.
    """

    def __init__(self, pid: int, stdin: IO[bytes], stdout: IO[bytes], ended: int) -> None:
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self.returncode: int | None = None
        self._ended = ended
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        with self._lock:
            if self.returncode is None and select.select([self._ended], [], [], 0)[0]:
                self._read_end()
            return self.returncode

    def wait(self) -> int:
        """The exit code, once it has ended."""
        with self._lock:
            if self.returncode is None:
                self._read_end()
            assert self.returncode is not None
            return self.returncode

    def kill(self) -> None:
        """End it at once."""
        if self.poll() is None:
            self._kill()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def _read_end(self) -> None:
        code = os.read(self._ended, EXIT_CODE.size)
        os.close(self._ended)
        if code:
            (self.returncode,) = EXIT_CODE.unpack(code)
            return
        # Its nursery is gone, and nobody would hear of its end.
        self._kill()
        self.returncode = -signal.SIGKILL


class _Nursery:
    def __init__(self) -> None:
        # Packets, so that a request is read whole.
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "batchscope.workers.nursery", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            # Threads of its libraries would not survive a fork; a worker sets its own.
            env=os.environ | dict.fromkeys(_ONE_THREAD, "1") | {"PYTHONPATH": path},
        )
        theirs.close()

    def fork(self, modules: Sequence[str], environment: Mapping[str, str]) -> ForkedProcess:
        """Fork a worker.

        Raises:
            OSError: the nursery is gone.
        """
        calls, stdin = os.pipe()
        stdout, answers = os.pipe()
        ended, end = os.pipe()
        theirs = [calls, answers, 2, end]
        assert len(theirs) == DESCRIPTORS
        try:
            socket.send_fds(self._requests, [pickle.dumps(list(modules))], theirs)
            pid = self._requests.recv(PID.size)
            if not pid:
                raise OSError("the nursery is gone")
        except OSError:
            for descriptor in (stdin, stdout, ended):
                os.close(descriptor)
            raise
        finally:
            for descriptor in (calls, answers, end):
                os.close(descriptor)
        worker = ForkedProcess(
            PID.unpack(pid)[0], os.fdopen(stdin, "wb"), os.fdopen(stdout, "rb"), ended
        )
        with contextlib.suppress(BrokenPipeError):
            surroundings = Surroundings(
                folder=os.getcwd(), environment=dict(environment), path=list(sys.path)
            )
            write_message(worker.stdin, surroundings)
        return worker

    def close(self) -> None:
        self._requests.close()
        self._process.wait()


_lock = threading.Lock()
_nursery: list[_Nursery] = []


def fork_worker(modules: Sequence[str], environment: Mapping[str, str]) -> ForkedProcess:
    """Fork a worker from this process's nursery, which is started where there is none.

    Args:
        modules: that it will need; loaded once, for all workers.
        environment: its variables.

    Raises:
        OSError: two nurseries died.
    """
    with _lock:
        if _nursery:
            with contextlib.suppress(OSError):
                return _nursery[0].fork(modules, environment)
            _nursery.pop().close()
        _nursery.append(_Nursery())
        return _nursery[0].fork(modules, environment)


@atexit.register
def _close_nursery() -> None:
    while _nursery:
        _nursery.pop().close()
