"""One call inside a worker: what is asked for, and how it is answered."""

import functools
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, TypeVar

import torch

from batchscope.errors import BatchscopeError, InvalidTask
from batchscope.task import Task
from batchscope.workers.messages import open_message, write_message
from batchscope.workers.travel import TaskSource, cannot_load, load_task, with_traceback_of

AnswerKind = Literal["ready", "progress", "result", "error"]
Result = TypeVar("Result")
Report = Callable[[object], None]
# Called as function(task, *arguments, report=...); functions of every level come through here.
TaskFunction = Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a worker learns first."""

    source: TaskSource
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A function of the task and the rest of its arguments."""

    function: TaskFunction
    arguments: tuple[object, ...]


def prepare(message: bytes, answers: BinaryIO) -> Task:
    """Set the threads, load the task, and say so."""
    try:
        setup = _open(message)
        assert isinstance(setup, Setup)
        torch.set_num_threads(setup.threads)
        task = load_task(setup.source)
    except Exception as error:
        write_message(answers, ("error", as_batchscope_error(error)))
        raise SystemExit(1) from error
    write_message(answers, ("ready", None))
    return task


def answer_message(task: Task, message: bytes, answers: BinaryIO) -> None:
    """Carry out the call that a message asks for."""

    def answer(kind: AnswerKind, value: object) -> None:
        write_message(answers, (kind, value))

    try:
        call = _open(message)
    except InvalidTask as error:
        answer("error", error)
        return
    assert isinstance(call, Call)
    answer_call(task, call, answer)


def _open(message: bytes) -> object:
    try:
        return open_message(message)
    except Exception as error:
        raise cannot_load("a worker cannot load what it is sent", error) from error


def answer_call(task: Task, call: Call, answer: Callable[[AnswerKind, object], None]) -> None:
    """Call the function and answer with its result or its error."""

    def report(progress: object) -> None:
        answer("progress", progress)

    try:
        result = call.function(task, *call.arguments, report=report)
    except Exception as error:
        answer("error", as_batchscope_error(error))
    else:
        answer("result", result)


def answer_elsewhere(
    setup: Setup, call: Call, report: Callable[[object], None]
) -> tuple[AnswerKind, object]:
    """Carry out a call in a process that others manage, which may have served the task before."""
    torch.set_num_threads(setup.threads)
    answers: list[tuple[AnswerKind, object]] = []

    def answer(kind: AnswerKind, value: object) -> None:
        if kind == "progress":
            report(value)
        else:
            answers.append((kind, value))

    try:
        task = _load_once(setup.source)
    except Exception as error:
        return "error", as_batchscope_error(error)
    answer_call(task, call, answer)
    return answers[0]


@functools.lru_cache(maxsize=1)
def _load_once(source: TaskSource) -> Task:
    return load_task(source)


def as_batchscope_error(error: Exception) -> BatchscopeError:
    """The error itself if it is ours; otherwise one that shows the user's own."""
    if isinstance(error, BatchscopeError):
        return error
    own = traceback.extract_tb(error.__traceback__)[-1]
    return with_traceback_of(
        error,
        InvalidTask(
            f"the task failed: {type(error).__name__}: {error}",
            where=f"{own.filename}, line {own.lineno}",
            expected="a model, loss and metrics that run on every batch",
            do="mend it there; --debug shows the whole traceback",
        ),
    )
