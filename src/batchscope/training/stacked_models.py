"""The weights of several models in one table, and all their gradients at once."""

import copy
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, cast

import cloudpickle
import torch
from torch import fx, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from batchscope.metrics import BatchFunction

# Steps of one shape before they are written down as a list of operations, which takes as long as
# it saves in about as many.
STEPS_BEFORE_TRACING = 1000
# Compiling more operations would take minutes: it goes with the square of how many there are.
_MOST_COMPILED = 10_000
# Of a gradient, by which a list of operations and the model itself may differ.
_TOLERANCE = 1e-4

_Weights = dict[str, torch.Tensor]
_Batch = tuple[torch.Tensor, ...]
_Gradients = tuple[torch.Tensor, torch.Tensor]
_Operations = Callable[[_Weights, _Batch], _Gradients]


class StackedModels:
    """Models that are alike in all but their numbers, as one program.

    A model is asked anew what it does at each step. After many steps of one shape what it did is
    written down, the same operations on the same numbers without the asking, which takes much of
    the time of small models. `still_holds` says whether the model would still do that.

    Attributes:
        weights: of all members, shape (members, p); whoever trains them changes it in place.
    """

    def __init__(
        self,
        loss: BatchFunction,
        models: Sequence[nn.Module],
        *,
        trace_after: int | None = STEPS_BEFORE_TRACING,
    ) -> None:
        stacks, buffers = stack_module_state(list(models))
        self._shapes = {name: stack.shape[1:] for name, stack in stacks.items()}
        self._buffers = {name: stack.detach() for name, stack in buffers.items()}
        # Buffers change as the model is asked.
        self._trace_after = None if self._buffers else trace_after
        self._steps: Counter[tuple[torch.Size, ...]] = Counter()
        self._written: dict[tuple[torch.Size, ...], _Operations | None] = {}
        # The last batch of each program, as it was when its operations were done.
        self._done: dict[tuple[torch.Size, ...], _Batch] = {}
        self._shell = shell = _LossOf(copy.deepcopy(models[0]), loss)

        def loss_of_one(weights: _Weights, buffers: _Weights, batch: Any) -> torch.Tensor:
            state = {f"model.{name}": value for name, value in (weights | buffers).items()}
            return cast(torch.Tensor, functional_call(shell, state, (batch,))).reshape(())

        self._losses = vmap(loss_of_one, randomness="error")
        self._use(torch.cat([stack.detach().flatten(1) for stack in stacks.values()], dim=1))

    def gradients(self, batch: _Batch) -> _Gradients:
        """The gradients of the members' losses, shape (members, p), and the losses (members,).

        Args:
            batch: tensors of shape (members, B, ...).
        """
        shapes = tuple(tensor.shape for tensor in batch)
        written = self._written.get(shapes)
        if written is not None:
            self._done[shapes] = batch
            with torch.no_grad():
                return written(self._parts, batch)
        self._steps[shapes] += 1
        if self._steps[shapes] != self._trace_after:
            return self._ask(batch)
        before = self._remember()
        asked = self._ask(batch)
        if before is not None and self._remember() == before:
            self._written[shapes] = self._write_down(batch)
        return asked

    def still_holds(self) -> bool:
        """Whether what was done without asking is what the model itself would do.

        Of the last batch of each shape since this was last asked.
        """
        done, self._done = self._done, {}
        return all(
            self._agrees(written, batch)
            for shapes, batch in done.items()
            if (written := self._written[shapes]) is not None
        )

    @property
    def is_written(self) -> bool:
        """Whether steps of any shape are a list of operations."""
        return any(written is not None for written in self._written.values())

    def keep(self, places: torch.Tensor) -> None:
        """Go on with these members only."""
        self._done = {}
        self._buffers = {name: stack[places] for name, stack in self._buffers.items()}
        self._use(self.weights[places])

    def copy_into(self, model: nn.Module, place: int) -> None:
        """Give one member's numbers to a model."""
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(self._parts[name][place])
            for name, buffer in model.named_buffers():
                buffer.copy_(self._buffers[name][place])

    def _ask(self, batch: _Batch) -> _Gradients:
        losses = self._losses(self._parts, self._buffers, batch)
        # Members share no weight, so that the gradient of the sum is each one's own.
        found = torch.autograd.grad(
            losses.sum(), list(self._parts.values()), materialize_grads=True
        )
        return torch.cat([part.flatten(1) for part in found], dim=1), losses.detach()

    def _write_down(self, batch: _Batch) -> _Operations | None:
        """The operations of a step; None where a model's cannot be told beforehand."""
        # It takes a second or two to load.
        from torch.fx.experimental.proxy_tensor import make_fx

        def differentiate(*numbers: torch.Tensor) -> _Gradients:
            weights = dict(zip(self._shapes, numbers, strict=False))
            batch = numbers[len(weights) :]

            def add_losses(weights: _Weights) -> _Gradients:
                losses = self._losses(weights, {}, batch)
                return losses.sum(), losses

            found, losses = cast(
                tuple[_Weights, torch.Tensor], grad(add_losses, has_aux=True)(weights)
            )
            return torch.cat([found[name].flatten(1) for name in self._shapes], dim=1), losses

        numbers = [part.detach() for part in self._parts.values()] + list(batch)
        try:
            graph = make_fx(differentiate)(*numbers)
        except Exception:  # whatever a model does that is no list of operations
            return None
        for operations in (_compile(graph, numbers), _interpret(graph)):
            if operations is not None and self._agrees(operations, batch):
                return operations
        return None

    def _remember(self) -> bytes | None:
        """All that the model and its loss keep of what they were asked; None where nobody knows."""
        try:
            return cloudpickle.dumps(self._shell)
        except Exception:  # whatever cannot be pickled
            return None

    def _agrees(self, operations: _Operations, batch: _Batch) -> bool:
        asked, asked_losses = self._ask(batch)
        with torch.no_grad():
            found, losses = operations(self._parts, batch)
        off, norm = (found - asked).square().sum(1).sqrt(), asked.square().sum(1).sqrt()
        # A member that diverges is told apart by what comes next.
        alike = bool((off <= _TOLERANCE * norm)[norm.isfinite()].all())
        return alike and torch.allclose(losses, asked_losses, rtol=_TOLERANCE, equal_nan=True)

    def _use(self, weights: torch.Tensor) -> None:
        """Make every parameter a view of the table."""
        self.weights = weights
        sizes = [shape.numel() for shape in self._shapes.values()]
        columns: Sequence[torch.Tensor] = cast(Any, weights).split(sizes, dim=1)
        self._parts = {
            name: column.view(-1, *shape).requires_grad_()
            for (name, shape), column in zip(self._shapes.items(), columns, strict=True)
        }


def _compile(graph: fx.GraphModule, numbers: Sequence[torch.Tensor]) -> _Operations | None:
    """The operations without Python between them; None where that cannot be.

    On other devices than a CPU TorchScript would put several into one, which changes sums.
    """
    if any(tensor.device.type != "cpu" for tensor in numbers):
        return None
    if len(graph.graph.nodes) > _MOST_COMPILED:
        return None
    # It takes a second or two to load.
    import functorch.compile

    try:
        with warnings.catch_warnings():
            # TorchScript is deprecated; what is to come after it takes a minute and a C++ compiler.
            warnings.simplefilter("ignore")
            # It writes into what it is given.
            compiled = cast(Any, functorch.compile).ts_compile(copy.deepcopy(graph), numbers)
    except Exception:  # whatever TorchScript has against an operation
        return None
    return lambda weights, batch: tuple(compiled([*weights.values(), *batch]))


def _interpret(graph: fx.GraphModule) -> _Operations:
    return lambda weights, batch: graph(*weights.values(), *batch)


class _LossOf(nn.Module):
    """A loss as a module, so that whatever it asks its model for is the member's own."""

    def __init__(self, model: nn.Module, loss: BatchFunction) -> None:
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, batch: Any) -> torch.Tensor:
        return self._loss(self.model, batch)
