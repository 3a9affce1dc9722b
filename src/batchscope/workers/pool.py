"""Worker processes that share the cores, and one stream of what they answer."""

import contextlib
import queue
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, cast

from batchscope.errors import BatchscopeError, WorkerDied
from batchscope.task import Task
from batchscope.workers.calls import AnswerKind, Call, Setup, TaskFunction, answer_call
from batchscope.workers.forking import ForkedProcess, can_fork, environment_of, fork_worker
from batchscope.workers.messages import open_message, read_sealed, write_message
from batchscope.workers.travel import TaskSource, cannot_load, own_modules

_WORKER, _ONCE = "batchscope.workers", "batchscope.workers.once"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker said about the call with this label."""

    label: str
    kind: AnswerKind
    value: object


def _let_pass(_: object) -> None:
    """For callers who do not listen."""


class Pool(ABC):
    """Where calls of a task are carried out; used in a `with`, at whose end it is closed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """End what still runs."""

    @property
    @abstractmethod
    def free(self) -> int:
        """How many calls could begin now."""

    @abstractmethod
    def submit(self, label: str, function: TaskFunction, *arguments: object) -> None:
        """Begin function(task, *arguments, report=...) on a free worker."""

    @abstractmethod
    def wait(self, timeout: float | None) -> Answer | None:
        """The next answer, or None when there was none in `timeout` seconds."""

    def ask(
        self,
        label: str,
        function: TaskFunction,
        *arguments: object,
        hear: Callable[[object], None] = _let_pass,
    ) -> object:
        """Begin a call while nothing else runs, and wait for its result.

        Args:
            hear: is told what the call reports on its way.

        Raises:
            BatchscopeError: whatever the call raised.
        """
        self.submit(label, function, *arguments)
        return self.wait_for_result(hear).value

    def wait_for_result(self, hear: Callable[[object], None] = _let_pass) -> Answer:
        """The next call that has returned.

        Args:
            hear: is told what calls report on their way.

        Raises:
            BatchscopeError: whatever a call raised.
        """
        while True:
            answer = self.wait(None)
            if answer is None:
                continue
            if answer.kind == "error":
                raise cast(BatchscopeError, answer.value)
            if answer.kind == "result":
                return answer
            hear(answer.value)


class ProcessPool(Pool):
    """Processes that are started when first needed and end with this one.

    Args:
        source: the task that each of them loads.
        count: processes at most, each with `threads` threads.
        once: each of them ends after one call, and does not see its parent die before.
    """

    def __init__(
        self,
        source: TaskSource,
        *,
        count: int,
        threads: int,
        once: bool = False,
    ) -> None:
        self._setup = Setup(source=source, threads=threads)
        self._count = count
        self._once = once
        self._answers: queue.Queue[Answer] = queue.Queue()
        self._workers: list[_Worker] = []
        self._unheard = 0

    def close(self) -> None:
        """Kill the workers."""
        for worker in self._workers:
            worker.kill()

    @property
    def is_idle(self) -> bool:
        """Whether every call has been answered, and the answer heard."""
        return self._unheard == 0

    @property
    def free(self) -> int:
        """How many calls could begin now."""
        self._workers = [worker for worker in self._workers if worker.is_alive]
        busy = sum(worker.label is not None for worker in self._workers)
        return self._count - busy

    def submit(self, label: str, function: TaskFunction, *arguments: object) -> None:
        """Begin function(task, *arguments, report=...) on a free worker."""
        call = Call(function=function, arguments=arguments)
        idle = [worker for worker in self._workers if worker.is_alive and worker.label is None]
        if idle:
            idle[0].begin(label, call)
        else:
            process = self._start(function.__module__)
            self._workers.append(_Worker(process, self._setup, self._answers, label, call))
        self._unheard += 1

    def _start(self, module: str) -> "subprocess.Popen[bytes] | ForkedProcess":
        environment = environment_of(threads=self._setup.threads)
        if not self._once and can_fork():
            return fork_worker(own_modules(self._setup.source, module), environment)
        return subprocess.Popen(
            [sys.executable, "-P", "-m", _ONCE if self._once else _WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )

    def wait(self, timeout: float | None) -> Answer | None:
        """The next answer, or None when there was none in `timeout` seconds."""
        try:
            answer = self._answers.get(timeout=timeout)
        except queue.Empty:
            return None
        self._unheard -= answer.kind in ("result", "error")
        return answer


class OwnProcess(Pool):
    """The pool for a task that cannot travel: one call at a time, in this process."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()

    def close(self) -> None:
        """Nothing runs between calls."""

    @property
    def free(self) -> int:
        """One call, unless its answer still waits."""
        return 1 if self._answers.empty() else 0

    def submit(self, label: str, function: TaskFunction, *arguments: object) -> None:
        """Carry out function(task, *arguments, report=...) before returning."""
        call = Call(function=function, arguments=arguments)
        answer_call(
            self._task, call, lambda kind, value: self._answers.put(Answer(label, kind, value))
        )

    def wait(self, timeout: float | None) -> Answer | None:
        """The next answer, or None when there is none."""
        try:
            return self._answers.get(timeout=timeout)
        except queue.Empty:
            return None


class _Worker:
    def __init__(
        self,
        process: "subprocess.Popen[bytes] | ForkedProcess",
        setup: Setup,
        answers: "queue.Queue[Answer]",
        label: str,
        call: Call,
    ) -> None:
        self.label: str | None = None
        self._answers = answers
        self._process = process
        self._send(setup)
        # Before anything is read: where the setup fails, that is what the first call is answered.
        self.begin(label, call)
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def begin(self, label: str, call: Call) -> None:
        self.label = label
        self._send(call)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _send(self, message: object) -> None:
        assert self._process.stdin is not None
        # The reader notices a death and answers for it.
        with contextlib.suppress(BrokenPipeError):
            write_message(self._process.stdin, message)

    def _read(self) -> None:
        assert self._process.stdout is not None
        while True:
            try:
                sealed = read_sealed(self._process.stdout)
            except EOFError:
                break
            try:
                kind, value = cast(tuple[AnswerKind, object], open_message(sealed))
            except Exception as error:  # whatever a user's own exception or result raises
                kind, value = "error", cannot_load("an answer of a worker cannot be loaded", error)
                # Of what it says next nobody could tell which call it answers.
                self.kill()
            label = self.label
            if kind == "ready" or label is None:
                continue
            if kind in ("result", "error"):
                self.label = None
            self._answers.put(Answer(label, kind, value))
        self._process.wait()
        if self.label is not None:
            self._answers.put(Answer(self.label, "error", self._death()))

    def _death(self) -> WorkerDied:
        died = WorkerDied(
            f"a worker process ended with exit code {self._process.returncode}",
            where=self.label or "worker",
            expected="a worker that answers",
            do="look for the memory killer in the system's log; --jobs 1 needs less memory",
        )
        died.worker_exit_code = self._process.returncode
        return died
