"""The weights that an instrument looks at: fresh, trained for a while, or read from a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import nn

from batchscope.budget import Budget
from batchscope.errors import CannotTell, InvalidInput
from batchscope.optimizers import starting_rate
from batchscope.records import Configuration, Precision
from batchscope.task import Task
from batchscope.training.hooks import Hook, RunState, find_listeners
from batchscope.training.loop import train
from batchscope.training.seeding import keep_randomness, seed_everything

Weights = str | Path | Mapping[str, torch.Tensor]

_BATCH_SIZE = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A model at rest, in training mode, with the optimizer that brought it there.

    Attributes:
        optimizer: None for weights from a file.
        words: where it stands, for a reader.
        batch_size, learning_rate: that it was trained with, or would be.
        examples: that it took to get there, now.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer | None
    words: str
    batch_size: int
    learning_rate: float
    examples: int


def reach_checkpoint(
    task: Task,
    *,
    after: Budget | None,
    device: torch.device,
    precision: Precision,
    weights: Weights | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
    hooks: Sequence[Hook] = (),
) -> Checkpoint:
    """Bring a fresh model to where it is looked at.

    Args:
        after: what it is trained for first; None to look at the initial weights.
        weights: a state_dict or a file with one, which is loaded instead of training.
        batch_size, learning_rate: of that training; 32 and the task's own by default.
        hooks: that watch it.

    Raises:
        InvalidInput: the weights do not fit the model.
        CannotTell: the training diverged.
    """
    with keep_randomness():
        seed_everything(seed)
        model = task.model().to(device)
    rate = learning_rate or starting_rate(task.optimizer_spec, model.parameters())
    size = min(batch_size or _BATCH_SIZE, task.train_size)
    at_rest = Checkpoint(
        model=model,
        optimizer=None,
        words="the initial weights",
        batch_size=size,
        learning_rate=rate,
        examples=0,
    )
    if weights is not None:
        _load(model, weights, device)
        given = isinstance(weights, Mapping)
        return replace(at_rest, words="the weights given" if given else f"the weights in {weights}")
    if after is None:
        return at_rest
    return _train(task, at_rest, after, device=device, precision=precision, seed=seed, hooks=hooks)


def _train(
    task: Task,
    start: Checkpoint,
    after: Budget,
    *,
    device: torch.device,
    precision: Precision,
    seed: int,
    hooks: Sequence[Hook],
) -> Checkpoint:
    configuration = configure_alone(
        task,
        batch_size=start.batch_size,
        learning_rate=start.learning_rate,
        seed=seed,
        budget=after,
        precision=precision,
        device=device,
    )
    end = _KeepEnd()
    # Evaluating a short training takes longer than training does.
    looks = after.until is not None or bool(find_listeners(hooks)["on_evaluation"])
    outcome = train(task, configuration, device=device, hooks=[end, *hooks], looks=looks)
    if outcome.status != "finished" or end.state is None:
        raise CannotTell(
            f"the training to the checkpoint ended as {outcome.status.replace('_', ' ')}",
            where=f"batch size {start.batch_size}, learning rate {start.learning_rate:g}, {after}",
            expected="a training that goes on",
            do="give a lower --learning-rate, or look at an earlier place with --after",
        )
    return replace(
        start,
        model=end.state.model,
        optimizer=end.state.optimizer,
        words=f"after {after} at batch size {start.batch_size} and learning rate "
        f"{start.learning_rate:g}",
        examples=end.state.examples,
    )


class _KeepEnd(Hook):
    def __init__(self) -> None:
        self.state: RunState | None = None

    def on_end(self, state: RunState) -> None:
        self.state = state


def _load(model: nn.Module, weights: Weights, device: torch.device) -> None:
    try:
        if not isinstance(weights, Mapping):
            found: object = torch.load(weights, map_location=device, weights_only=True)
            weights = cast(Mapping[str, torch.Tensor], found)
        model.load_state_dict(weights)
    except Exception as error:  # whatever a file that holds something else leads to
        first_line = f"{error}".strip().partition("\n")[0]
        raise InvalidInput(
            f"cannot load the weights: {first_line}",
            where="weights" if isinstance(weights, Mapping) else str(weights),
            expected="a state_dict of this task's model, or a file that torch.save wrote it to",
            do="check the path, and that the weights are of this task's model",
        ) from error


def configure_alone(
    task: Task,
    *,
    batch_size: int,
    learning_rate: float,
    seed: int,
    budget: Budget,
    precision: Precision,
    device: torch.device,
) -> Configuration:
    """A run that belongs to no study and is not kept."""
    spec = task.optimizer_spec
    return Configuration(
        fingerprint="",
        batch_size=batch_size,
        micro_batch=batch_size,
        optimizer=spec.name,
        hyper_parameters=spec.hyper_parameters(batch_size=batch_size, lr=learning_rate),
        seed=seed,
        budget=budget,
        precision=precision,
        device_kind=device.type,
        torch_version=torch.__version__,
    )
