"""A run whose batch doubles where validation stalls."""

from collections.abc import Callable, Mapping

import torch

from batchscope.budget import epochs
from batchscope.errors import CannotTell
from batchscope.instruments.checkpoint import reach_checkpoint
from batchscope.task import Task
from batchscope.training.hooks import Hook, RunState


class GrowOnStall(Hook):
    """Doubles the batch where the lowest validation loss, or the last growth, is an epoch old.

    Args:
        epoch: examples of one.
        largest: batch size that is not passed.

    Attributes:
        steps: at the last evaluation.
        batch_size: of the steps before it.
        row: of the trajectory there.
    """

    def __init__(self, *, epoch: int, largest: int) -> None:
        self._epoch, self._largest = epoch, largest
        self._lowest, self._since = float("inf"), 0
        self.steps, self.batch_size = 0, 0
        self.row: Mapping[str, float] = {}

    def on_evaluation(self, state: RunState, row: Mapping[str, float]) -> None:
        self.steps, self.batch_size, self.row = state.step, state.batch_size, row
        if row["val_loss"] < self._lowest:
            self._lowest, self._since = row["val_loss"], state.examples
        elif state.examples - self._since >= self._epoch and 2 * state.batch_size <= self._largest:
            state.batch_size = state.micro_batch = 2 * state.batch_size
            self._since = state.examples


def grow_at_seed(
    task: Task,
    size: int,
    rate: float,
    seed: int,
    length: int,
    largest: int,
    *,
    report: Callable[[object], None],
) -> list[float] | None:
    """Train with a batch that grows: updates, batch size and test error at the end.

    Args:
        task: with a metric "error" and data to test by.
        size: of the batch to begin with; its rate is kept.
        length: in epochs.
        largest: batch size that is not passed.

    Returns:
        None where the training diverged.
    """
    del report
    growth = GrowOnStall(epoch=task.train_size, largest=largest)
    try:
        reach_checkpoint(
            task,
            after=epochs(length),
            device=torch.device("cpu"),
            precision="float32",
            batch_size=size,
            learning_rate=rate,
            seed=seed,
            hooks=[growth],
        )
    except CannotTell:
        return None
    return [growth.steps, growth.batch_size, growth.row["test_error"]]
