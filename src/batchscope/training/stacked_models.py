"""The weights of several models in one table, and all their gradients at once."""

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from batchscope.metrics import BatchFunction


class StackedModels:
    """Models that are alike in all but their numbers, as one program.

    Attributes:
        weights: of all members, shape (members, p); whoever trains them changes it in place.
    """

    def __init__(self, loss: BatchFunction, models: Sequence[nn.Module]) -> None:
        stacks, buffers = stack_module_state(list(models))
        self._shapes = {name: stack.shape[1:] for name, stack in stacks.items()}
        self._buffers = {name: stack.detach() for name, stack in buffers.items()}
        shell = _LossOf(copy.deepcopy(models[0]), loss)

        def loss_of_one(
            weights: dict[str, torch.Tensor], buffers: dict[str, torch.Tensor], batch: Any
        ) -> torch.Tensor:
            state = {f"model.{name}": value for name, value in (weights | buffers).items()}
            return cast(torch.Tensor, functional_call(shell, state, (batch,))).reshape(())

        self._losses = vmap(loss_of_one, randomness="error")
        self._use(torch.cat([stack.detach().flatten(1) for stack in stacks.values()], dim=1))

    def gradients(self, batch: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradients of the members' losses, shape (members, p), and the losses (members,).

        Args:
            batch: tensors of shape (members, B, ...).
        """
        losses = self._losses(self._parts, self._buffers, batch)
        # Members share no weight, so that the gradient of the sum is each one's own.
        found = torch.autograd.grad(
            losses.sum(), list(self._parts.values()), materialize_grads=True
        )
        return torch.cat([part.flatten(1) for part in found], dim=1), losses.detach()

    def keep(self, places: torch.Tensor) -> None:
        """Go on with these members only."""
        self._buffers = {name: stack[places] for name, stack in self._buffers.items()}
        self._use(self.weights[places])

    def copy_into(self, model: nn.Module, place: int) -> None:
        """Give one member's numbers to a model."""
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(self._parts[name][place])
            for name, buffer in model.named_buffers():
                buffer.copy_(self._buffers[name][place])

    def _use(self, weights: torch.Tensor) -> None:
        """Make every parameter a view of the table."""
        self.weights = weights
        sizes = [shape.numel() for shape in self._shapes.values()]
        columns: Sequence[torch.Tensor] = cast(Any, weights).split(sizes, dim=1)
        self._parts = {
            name: column.view(-1, *shape).requires_grad_()
            for (name, shape), column in zip(self._shapes.items(), columns, strict=True)
        }


class _LossOf(nn.Module):
    """A loss as a module, so that whatever it asks its model for is the member's own."""

    def __init__(self, model: nn.Module, loss: BatchFunction) -> None:
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, batch: Any) -> torch.Tensor:
        return self._loss(self.model, batch)
