"""A look at a task before anything is spent on it."""

import math
import warnings
from collections.abc import Sequence

import torch

from batchscope.errors import BatchscopeError, InvalidInput, InvalidTask
from batchscope.records import Precision
from batchscope.task import Task
from batchscope.training.batches import Batches
from batchscope.training.devices import autocast
from batchscope.training.evaluation import Evaluator
from batchscope.training.seeding import keep_randomness, seed_everything
from batchscope.training.stepper import compute_loss

_EXAMPLES = 8


def check_batch_sizes(task: Task, batch_sizes: Sequence[int]) -> None:
    """See that each batch size can be made of the task's data.

    Raises:
        InvalidInput: one cannot.
    """
    for size in batch_sizes:
        if not 1 <= size <= task.train_size:
            raise InvalidInput(
                f"a batch of {size} {task.unit} cannot be made",
                where=f"--batch-sizes of {task.name}",
                expected=f"from 1 to {task.train_size}, the size of the training set",
                do="name another size, or leave it out",
            )


def check_task(task: Task, *, precision: Precision, device: torch.device) -> None:
    """Compute the loss, its gradient and every metric once, on a few examples of each set.

    Raises:
        InvalidTask: the model, loss or a metric fails, or is not one finite number.
    """
    with keep_randomness(), warnings.catch_warnings(), autocast(device, precision):
        seed_everything(0)
        warnings.simplefilter("ignore")
        try:
            model = task.model().to(device)
            task.optimizer_spec.build(
                model.parameters(), task.optimizer_spec.hyper_parameters(batch_size=1, lr=1e-3)
            )
            for part, data in task.datasets.items():
                _check_part(task, model, Batches(task, data, device), part)
            scores = Evaluator(task, precision=precision, device=device).evaluate(model)
            for column, value in scores.items():
                _check_finite(value, f"{column!r}", "all that it is evaluated on")
        except BatchscopeError:
            raise
        except Exception as error:  # whatever a user's own functions raise
            raise explain_failure(error) from error


def _check_part(task: Task, model: torch.nn.Module, batches: Batches, part: str) -> None:
    indices = torch.arange(min(_EXAMPLES, len(batches)))
    (piece,) = batches.chunks(indices, size=_EXAMPLES)
    loss = compute_loss(task.loss, model, piece.batch)
    if part == "train":
        loss.backward()
    _check_finite(float(loss), "the loss", f"the first examples of `{part}`")
    for name, metric in task.metrics.items():
        _check_finite(
            float(metric(model, piece.batch)),
            f"the metric {name!r}",
            f"the first examples of `{part}`",
        )


def _check_finite(value: float, name: str, part: str) -> None:
    if not math.isfinite(value):
        raise InvalidTask(
            f"{name} is {value} on {part}, before any update",
            where=f"the task, on {part}",
            expected="a finite number from the untrained model",
            do="look for NaN in the data, a log of 0, or a division by 0",
        )


def explain_failure(error: Exception) -> InvalidTask:
    """An error of the task's own code, with the line where it arose."""
    trace = error.__traceback__
    places: list[tuple[str, int]] = []
    while trace is not None:
        places.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    own = [place for place in places if "site-packages" not in place[0]]
    file, line = (own or places)[-1]
    return InvalidTask(
        f"the task failed: {type(error).__name__}: {error}",
        where=f"{file}, line {line}",
        expected="a model, loss and metrics that run on a batch of the task's data",
        do="mend it there; --debug shows the whole traceback",
    )
