"""Calls carried out by a Ray cluster, one process to an allotment of cores."""

import socket
import time
from typing import Any
from urllib.parse import urlsplit

from batchscope.errors import InvalidInput, WorkerDied
from batchscope.workers.calls import AnswerKind, Call, Setup, TaskFunction, answer_elsewhere
from batchscope.workers.extras import import_extra
from batchscope.workers.pool import Answer, Pool
from batchscope.workers.travel import TaskSource

_SECONDS_TO_ANSWER = 10.0
# A call whose node goes down each time is not unlucky any more.
_NODES_LOST = 10


class RayPool(Pool):
    """A Ray cluster that carries out calls of one task.

    A call whose node is lost begins again on another.

    Args:
        source: the task that each process loads.
        address: "auto" for the cluster that this machine belongs to, or "ray://host:port" for one
            elsewhere.
        threads: cores of each call.
        gpus: of each call.
        jobs: calls at most at a time; None for as many as the cluster's cores hold.

    Raises:
        InvalidInput: Ray is not installed, or nothing answers at the address.
    """

    def __init__(
        self, source: TaskSource, *, address: str, threads: int, gpus: int, jobs: int | None
    ) -> None:
        self._ray: Any = import_extra("ray", extra="ray")
        if not self._ray.is_initialized():
            _check_reachable(address)
        self._address = address
        self._threads = threads
        self._gpus = gpus
        self._jobs = jobs
        self._setup = Setup(source=source, threads=threads)
        self._running: dict[Any, tuple[str, Call]] = {}
        self._lost: dict[str, int] = {}
        self._is_ours = False

    def __enter__(self) -> "RayPool":
        if not self._ray.is_initialized():
            try:
                self._connect()
            except (ConnectionError, RuntimeError, OSError) as error:
                raise _refusal(self._address, str(error).strip().splitlines()[0]) from error
            self._is_ours = True
        self._setup_ref = self._ray.put(self._setup)
        self._said: Any = self._make_queue()
        self._remote = self._ray.remote(
            num_cpus=self._threads, num_gpus=self._gpus, max_retries=0, max_calls=0
        )(_serve)
        return self

    def close(self) -> None:
        """Cancel what runs, and leave the cluster unless this process had joined it before."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        if self._is_ours:
            self._ray.shutdown()

    @property
    def free(self) -> int:
        """How many calls could begin now; nodes may come and go."""
        cores = float(self._ray.cluster_resources().get("CPU", 0))
        slots = max(1, int(cores // self._threads))
        return max(0, min(slots, self._jobs or slots) - len(self._running))

    def submit(self, label: str, function: TaskFunction, *arguments: object) -> None:
        """Begin function(task, *arguments, report=...) where there is room."""
        self._begin(label, Call(function=function, arguments=arguments))

    def wait(self, timeout: float | None) -> Answer | None:
        """The next answer, or None when there was none in `timeout` seconds."""
        if not self._running:
            # Others train what is left: there is nothing to be told until they are done.
            time.sleep(timeout or 0.0)
            return None
        done: list[Any] = self._ray.wait(list(self._running), timeout=timeout)[0]
        # What a call said on its way comes before what it came to.
        said = self._read_progress()
        if said is not None or not done:
            return said
        label, call = self._running.pop(done[0])
        errors = self._ray.exceptions
        try:
            kind, value = self._ray.get(done[0])
        except (errors.NodeDiedError, errors.ObjectLostError) as error:
            return self._begin_again(label, call, error)
        except errors.RayError as error:
            return Answer(label, "error", _death(label, error))
        return Answer(label, kind, value)

    def _begin(self, label: str, call: Call) -> None:
        reference = self._remote.remote(self._setup_ref, call, label, self._said)
        self._running[reference] = (label, call)

    def _begin_again(self, label: str, call: Call, error: Exception) -> Answer | None:
        """A call is not to blame for the loss of its node, unless nodes keep going down with it."""
        self._lost[label] = self._lost.get(label, 0) + 1
        if self._lost[label] > _NODES_LOST:
            return Answer(label, "error", _death(label, error))
        self._begin(label, call)
        return None

    def _read_progress(self) -> Answer | None:
        try:
            asked = self._said.actor.get_nowait.remote()
            label, value = self._ray.get(asked, timeout=_SECONDS_TO_ANSWER)
        except (self._queue.Empty, self._ray.exceptions.RayError):
            # Its node may have been lost: another takes over, and what was said is gone.
            return None
        running = (name for name, _ in self._running.values())
        return Answer(label, "progress", value) if label in running else None

    def _make_queue(self) -> Any:
        from ray.util import queue

        self._queue: Any = queue
        return queue.Queue(actor_options={"num_cpus": 0, "max_restarts": -1})

    def _connect(self) -> None:
        self._ray.init(address=self._address, log_to_driver=False, logging_level="ERROR")


def _serve(setup: Setup, call: Call, label: str, said: Any) -> tuple[AnswerKind, object]:
    """What a process of the cluster does."""
    import contextlib

    from ray.exceptions import RayError
    from ray.util.queue import Full

    def report(progress: object) -> None:
        with contextlib.suppress(RayError, Full):
            said.put_nowait((label, progress))

    return answer_elsewhere(setup, call, report)


def _death(label: str, error: Exception) -> WorkerDied:
    return WorkerDied(
        f"a process of the cluster ended: {str(error).strip().splitlines()[0]}",
        where=label,
        expected="a process that answers",
        do="look for the memory killer in the log of its node",
    )


def _check_reachable(address: str) -> None:
    """Ask a port before Ray does, which waits for minutes."""
    if address == "auto":
        return
    parts = urlsplit(address)
    try:
        place = (parts.hostname or "", parts.port or 0)
        socket.create_connection(place, timeout=_SECONDS_TO_ANSWER).close()
    except (OSError, ValueError) as error:
        raise _refusal(address, str(error)) from error


def _refusal(address: str, reason: str) -> InvalidInput:
    return InvalidInput(
        f"no Ray cluster answers at {address}: {reason}",
        where="--executor",
        expected="the address of a running cluster, such as ray://host:10001",
        do="start one with: ray start --head, or leave --executor out for this machine alone",
    )
