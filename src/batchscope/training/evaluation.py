"""What a model scores on its data sets, and when a run looks."""

import heapq
import itertools
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from batchscope.budget import Budget, parse_budget
from batchscope.metrics import BatchFunction
from batchscope.records import Configuration, Precision
from batchscope.task import Task
from batchscope.training.batches import Batches
from batchscope.training.devices import autocast, is_out_of_memory
from batchscope.training.seeding import keep_randomness

_CHUNK = 1024
_LEAST_TRAIN_SUBSET = 256
_FIRST_EPOCH_LOOKS = 4
# An epoch over these: an easy target may be reached before the first of the four looks.
_EARLY_LOOKS = (32, 16, 8)
_GROWTH = 1.2


def evaluation_marks(
    train_size: int, horizon: float, also: Iterable[float] = (), *, every: float | None = None
) -> Iterator[float]:
    """The numbers of examples after which a run is evaluated, without end.

    Four in the first epoch, or in the horizon where that is shorter, and before the first of these
    an 8th, a 16th and a 32nd of an epoch; then a fifth more each time, rounded to quarter epochs:
    early changes are fast. They do not depend on the batch size, so that runs are read at the same
    examples, unless a step takes more than lies between two of them.

    Args:
        horizon: examples of the whole budget; infinite where unknown.
        also: further numbers of examples.
        every: examples between two of the others, instead of these.

    Example:
        >>> marks = evaluation_marks(400, 2000)
        >>> [next(marks) for _ in range(8)]
        [13, 25, 50, 100, 200, 300, 400, 500]
    """
    if every is not None:
        # An epoch of 1,797 examples in tenths ends at 1,797, whatever floating point says.
        regular = (math.ceil(round(count * every, 6)) for count in itertools.count(1))
        return heapq.merge(regular, sorted(also))
    unit = min(train_size, horizon) / _FIRST_EPOCH_LOOKS
    early = sorted({math.ceil(train_size / part) for part in _EARLY_LOOKS})
    return heapq.merge((mark for mark in early if mark < unit), _usual_marks(unit), sorted(also))


def _usual_marks(unit: float) -> Iterator[int]:
    count = 0
    while True:
        count = max(count + 1, math.floor(count * _GROWTH))
        yield math.ceil(count * unit)


def horizon_examples(budget: Budget, train_size: int, batch_size: int) -> float:
    """Examples that a budget allows; infinite where only the clock tells."""
    match budget.kind:
        case "epochs":
            return budget.amount * train_size
        case "examples":
            return budget.amount
        case "steps":
            return budget.amount * batch_size
        case "seconds":
            return math.inf


def marks_of(configuration: Configuration, train_size: int, horizon: float) -> Iterator[float]:
    """The numbers of examples after which a run of this configuration is evaluated.

    Args:
        horizon: as for `evaluation_marks`.
    """
    every = None
    if configuration.evaluate_every:
        every = horizon_examples(
            parse_budget(configuration.evaluate_every), train_size, configuration.batch_size
        )
    also = _also_read_marks(configuration, train_size)
    return evaluation_marks(train_size, horizon, also, every=every)


def _also_read_marks(configuration: Configuration, train_size: int) -> list[float]:
    """The numbers of examples at which the smaller budgets of a run are spent."""
    marks: list[float] = []
    for text in configuration.also_read:
        steps = parse_budget(text).steps(train_size, configuration.batch_size)
        assert steps is not None
        passes, rest = divmod(steps, math.ceil(train_size / configuration.batch_size))
        marks.append(passes * train_size + rest * configuration.batch_size)
    return marks


def count_evaluated(task: Task) -> dict[str, int]:
    """Data set -> the examples of it that one evaluation looks at."""
    counts = {name: len(data) for name, data in task.datasets.items()}
    counts["train"] = min(counts["train"], max(counts["val"], _LEAST_TRAIN_SUBSET))
    return counts


class Evaluator:
    """The losses and metrics of one task, on its data sets.

    Training data are represented by as many examples as there are for validation, at least 256,
    evenly spaced and the same for every run.
    """

    def __init__(self, task: Task, *, precision: Precision, device: torch.device) -> None:
        self._functions: Mapping[str, BatchFunction] = {"loss": task.loss, **task.metrics}
        self._precision: Precision = precision
        self._device = device
        self._chunk = _CHUNK
        counts = count_evaluated(task)
        self._sets = {
            name: (Batches(task, data, device), _evenly(len(data), counts[name]))
            for name, data in task.datasets.items()
        }

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Mean loss and metrics by column name; the model is in training mode afterwards."""
        model.eval()
        with torch.no_grad(), keep_randomness(), _remember_forward(model):
            row = {
                _column(part, name): value
                for part in self._sets
                for name, value in self._score(model, part).items()
            }
        model.train()
        return row

    def _score(self, model: nn.Module, part: str) -> dict[str, float]:
        """The means over one data set, in chunks that are halved until they fit in memory."""
        while True:
            try:
                return self._score_chunks(model, part)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self._chunk == 1:
                    raise
                self._chunk //= 2

    def _score_chunks(self, model: nn.Module, part: str) -> dict[str, float]:
        batches, indices = self._sets[part]
        totals = dict.fromkeys(self._functions, 0.0)
        weight = 0.0
        for piece in batches.chunks(indices, size=self._chunk):
            weight += piece.weight
            with autocast(self._device, self._precision):
                for name, function in self._functions.items():
                    totals[name] += float(function(model, piece.batch)) * piece.weight
        return {name: total / weight for name, total in totals.items()}


def _column(part: str, name: str) -> str:
    return name if part == "val" and name != "loss" else f"{part}_{name}"


def _evenly(size: int, count: int) -> torch.Tensor:
    return torch.arange(count) * size // count


@contextmanager
def _remember_forward(model: nn.Module) -> Generator[None]:
    """Let the loss and the metrics of one batch share a forward pass."""
    forward: Callable[..., Any] = model.forward
    own = vars(model).get("forward")
    last: list[Any] = []

    def remembered(*args: Any, **kwargs: Any) -> Any:
        if last and not kwargs and _same(args, last[0]) and _unchanged(last[1], last[2]):
            return last[1]
        output = forward(*args, **kwargs)
        last[:] = [] if kwargs else [args, output, getattr(output, "_version", None)]
        return output

    model.forward = remembered
    try:
        yield
    finally:
        del model.forward
        if own is not None:
            model.forward = own


def _same(left: tuple[Any, ...], right: tuple[Any, ...]) -> bool:
    return len(left) == len(right) and all(a is b for a, b in zip(left, right, strict=True))


def _unchanged(output: Any, version: int | None) -> bool:
    # A loss that writes into its logits must not hand them on to the next metric.
    return version is not None and output._version == version
