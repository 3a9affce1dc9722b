"""The gradient of a task's loss at fixed weights, on the examples one asks for."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from batchscope.records import Precision
from batchscope.task import Task
from batchscope.training.batches import Batches
from batchscope.training.devices import autocast
from batchscope.training.stepper import compute_loss

_PIECE = 256


class LossGradients:
    """The gradient of a task's mean loss at the weights of a model, on examples it is given.

    Whatever the model has in `.grad` is left alone.
    """

    def __init__(
        self, task: Task, model: nn.Module, *, precision: Precision, device: torch.device
    ) -> None:
        self.model = model
        self.named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        self.device = device
        self._task = task
        self._precision: Precision = precision
        self._batches = Batches(task, task.datasets["train"], device)

    def __len__(self) -> int:
        return len(self._batches)

    def at(self, indices: torch.Tensor) -> list[torch.Tensor]:
        """The gradient on these training examples, a flat tensor per parameter.

        Many examples are taken in pieces, so that the largest batch needs no more memory than
        a piece.
        """
        parameters = [p for _, p in self.named]
        mean = [torch.zeros(p.numel(), device=p.device) for p in parameters]
        with _keep_buffers(self.model):
            self._add_gradients(indices, parameters, mean)
        return mean

    def _add_gradients(
        self, indices: torch.Tensor, parameters: list[nn.Parameter], mean: list[torch.Tensor]
    ) -> None:
        for loss, share in self._losses(indices):
            found = torch.autograd.grad(loss, parameters, materialize_grads=True)
            for part, gradient in zip(mean, found, strict=True):
                part.add_(gradient.flatten(), alpha=share)

    def loss(self, indices: torch.Tensor) -> torch.Tensor:
        """The mean loss on these training examples."""
        return torch.stack([loss * share for loss, share in self._losses(indices)]).sum()

    def _losses(self, indices: torch.Tensor) -> Iterator[tuple[torch.Tensor, float]]:
        """The mean loss of each piece, and the piece's share of the whole."""
        pieces = list(self._batches.chunks(indices, size=_PIECE))
        total = sum(piece.weight for piece in pieces)
        for piece in pieces:
            with autocast(self.device, self._precision):
                yield compute_loss(self._task.loss, self.model, piece.batch), piece.weight / total


@contextmanager
def _keep_buffers(model: nn.Module) -> Generator[None]:
    """Leave running statistics as they were, which a look in training mode would move."""
    kept = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in kept:
                buffer.copy_(before)
