"""The loss surface over a fixed part of the training set, in evaluation mode."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from itertools import compress
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from batchscope.instruments.loss_gradients import LossGradients
from batchscope.records import Precision
from batchscope.task import Task

Floats = NDArray[np.float64]


def even_subset(size: int, count: int) -> torch.Tensor:
    """At most `count` indices, evenly spread over `size` examples."""
    count = min(size, count)
    return torch.arange(count) * size // count


class SubsetLoss:
    """The mean loss at and around the weights of a model, on the same examples every time.

    The model is in evaluation mode for each look and as it was afterwards, weights included.
    """

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        indices: torch.Tensor,
        *,
        precision: Precision,
        device: torch.device,
    ) -> None:
        self._model = model
        self._gradients = LossGradients(task, model, precision=precision, device=device)
        self._indices = indices
        self.parameters = [p for _, p in self._gradients.named]

    def value(self) -> float:
        """The loss here."""
        with _evaluating(self._model), torch.no_grad():
            return float(self._gradients.loss(self._indices))

    def gradient(self) -> list[torch.Tensor]:
        """Its gradient here, a flat tensor per parameter."""
        with _evaluating(self._model):
            return self._gradients.at(self._indices)

    def hessian(self) -> Callable[[Floats], Floats]:
        """The Hessian here as a function that multiplies it by a vector, shape (p,).

        All products share one look at the examples: the function holds until the weights move.
        """
        with _evaluating(self._model):
            loss = self._gradients.loss(self._indices)
            first = torch.autograd.grad(
                loss, self.parameters, create_graph=True, materialize_grads=True
            )
        # The slope along a parameter that the loss is linear in is a constant.
        bent = [slope.requires_grad for slope in first]

        def multiply(vector: Floats) -> Floats:
            second = torch.autograd.grad(
                list(compress(first, bent)),
                self.parameters,
                list(compress(self._split(vector), bent)),
                retain_graph=True,
                materialize_grads=True,
            )
            return _join(second)

        return multiply if any(bent) else np.zeros_like

    def place(self) -> Floats:
        """The weights, all parameters in a row, shape (p,)."""
        return _join(self.parameters)

    def move(self, place: Floats) -> None:
        """Set the weights."""
        with torch.no_grad():
            for parameter, part in zip(self.parameters, self._split(place), strict=True):
                parameter.copy_(part)

    def look(self, place: Floats) -> tuple[float, Floats]:
        """The loss and its gradient at other weights, where the model then stays."""
        self.move(place)
        return self.value(), _join(self.gradient())

    def value_at(self, direction: Sequence[torch.Tensor], step: float) -> float:
        """The loss at the weights moved by step * direction."""
        kept = [p.detach().clone() for p in self.parameters]
        try:
            with torch.no_grad():
                for parameter, part in zip(self.parameters, direction, strict=True):
                    parameter.add_(part.view_as(parameter), alpha=step)
            return self.value()
        finally:
            with torch.no_grad():
                for parameter, before in zip(self.parameters, kept, strict=True):
                    parameter.copy_(before)

    def _split(self, vector: Floats) -> list[torch.Tensor]:
        device = self.parameters[0].device
        whole = torch.from_numpy(vector.ravel()).to(device)
        pieces = cast(Any, whole).split([p.numel() for p in self.parameters])
        return [
            piece.view_as(p).to(p.dtype) for piece, p in zip(pieces, self.parameters, strict=True)
        ]


def _join(tensors: Sequence[torch.Tensor]) -> Floats:
    flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
    return flat.double().cpu().numpy()


@contextmanager
def _evaluating(model: nn.Module) -> Generator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
