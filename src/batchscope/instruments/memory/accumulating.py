"""A step that accumulates instead of running out of memory."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from batchscope.errors import InvalidInput
from batchscope.training.devices import is_out_of_memory

_log = logging.getLogger("batchscope")


class FittedStep:
    """Forward and backward of an effective batch, in micro-batches that fit.

    Where memory runs out, however late, the same batch is taken again in smaller pieces. Gradients
    reach `.grad` only when the whole batch went through; random numbers begin again where they
    were, and so do the model's buffers if it is given. The gradient is that of the mean loss over
    the whole batch, whatever the pieces.

    Attributes:
        effective: rows of a whole batch on all ranks.
        micro_batch: rows of a piece on one rank.
    """

    def __init__(
        self,
        step: Callable[[Any], torch.Tensor],
        *,
        effective: int,
        weigh: Callable[[Any], float] | None,
        micro_batch: int | None,
        model: nn.Module | None,
    ) -> None:
        self._step = step
        self._model = model
        self._leaves: list[torch.Tensor] = []
        self._weigh: Callable[[Any], float] = weigh or count_rows
        self._ranks = distributed.get_world_size() if distributed.is_initialized() else 1
        self.effective = effective
        self.micro_batch = micro_batch or -(-effective // self._ranks)

    @property
    def accumulation(self) -> int:
        """Pieces that make a whole batch on one rank."""
        return -(-self.effective // (self._ranks * self.micro_batch))

    def __call__(self, batch: Any) -> torch.Tensor:
        """Leave the gradient of the mean loss over this batch in `.grad`, and return that loss.

        Args:
            batch: this rank's part, whose tensors have one row per example.

        Raises:
            RuntimeError, MemoryError: not even one row fits.
        """
        before = _Before(self._model)
        while True:
            failure: BaseException | None = None
            try:
                loss, gradients = self._accumulate(batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                # Its traceback holds on to the activations of the pass that failed.
                failure = error.with_traceback(None)
                loss, gradients = torch.zeros(()), []
            if self._sum_over_ranks(float(failure is not None)) == 0:
                return self._hand_over(loss, gradients)
            before.restore()
            if self.micro_batch == 1:
                raise failure or MemoryError("another rank ran out of memory at one row")
            self.micro_batch = -(-min(self.micro_batch, -(-self.effective // self._ranks)) // 2)
            _log.info(
                "out of memory: %d micro-batches of %d from here on, the effective batch stays %d",
                self.accumulation,
                self.micro_batch,
                self.effective,
            )

    def state_dict(self) -> dict[str, int]:
        """What a checkpoint keeps, so that a training that goes on need not find out again."""
        return {"effective": self.effective, "micro_batch": self.micro_batch}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Take the size that an earlier training found."""
        if state["effective"] != self.effective:
            raise InvalidInput(
                f"the checkpoint has an effective batch of {state['effective']}",
                where="fit_batch",
                expected=f"{self.effective}, as given",
                do="give the same `effective`, or leave the state out",
            )
        self.micro_batch = state["micro_batch"]

    def _accumulate(self, batch: Any) -> tuple[torch.Tensor, list[torch.Tensor]]:
        pieces = split_rows(batch, self.micro_batch)
        weights = [self._weigh(piece) for piece in pieces]
        total = self._sum_over_ranks(sum(weights))
        losses: list[torch.Tensor] = []
        sums: list[torch.Tensor] = []
        # Ranks may differ in how many pieces they need: they meet once, at the end.
        is_parallel = isinstance(self._model, DistributedDataParallel)
        with cast(Any, self._model).no_sync() if is_parallel else nullcontext():
            for piece, weight in zip(pieces, weights, strict=True):
                loss = self._step(piece) * (weight / total)
                self._leaves = self._leaves or find_leaves(loss)
                found = torch.autograd.grad(loss, self._leaves, materialize_grads=True)
                # Two parameters may share one gradient tensor, so that the first is copied.
                sums = (
                    [a.add_(b) for a, b in zip(sums, found, strict=True)]
                    if sums
                    else [gradient.clone() for gradient in found]
                )
                losses.append(loss.detach())
        return torch.stack(losses).sum(), sums

    def _hand_over(self, loss: torch.Tensor, gradients: list[torch.Tensor]) -> torch.Tensor:
        for leaf, gradient in zip(self._leaves, gradients, strict=True):
            if self._ranks > 1:
                distributed.all_reduce(gradient)
            leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient
        if self._ranks > 1:
            distributed.all_reduce(loss)
        return loss

    def _sum_over_ranks(self, value: float) -> float:
        if self._ranks == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float32)
        if distributed.get_backend() == "nccl":
            shared = shared.cuda()
        distributed.all_reduce(shared)
        return float(shared)


def fit_batch(
    step: Callable[[Any], torch.Tensor],
    *,
    effective: int,
    weigh: Callable[[Any], float] | None = None,
    micro_batch: int | None = None,
    model: nn.Module | None = None,
) -> FittedStep:
    """Wrap the loss of a micro-batch so that an effective batch always fits.

    Args:
        step: micro-batch -> its mean loss; it does no backward pass and no optimizer step.
        effective: rows of a whole batch on all ranks, at least 1.
        weigh: micro-batch -> what its mean is over, such as its tokens; rows by default.
        micro_batch: rows to begin with; the whole batch by default.
        model: give it where a forward pass changes its buffers, as a batch norm does, or where it
            is a DistributedDataParallel.

    Raises:
        InvalidInput: a size below 1.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> step = fit_batch(lambda x: model(x).square().mean(), effective=8)
        >>> loss = step(torch.ones(8, 2))
        >>> optimizer.step()
        >>> step.micro_batch, step.accumulation
        (8, 1)
    """
    if effective < 1 or (micro_batch is not None and micro_batch < 1):
        raise InvalidInput(
            f"an effective batch of {effective} in micro-batches of {micro_batch}",
            where="fit_batch",
            expected="at least 1 row each",
            do="give the batch size that the training is to have",
        )
    return FittedStep(step, effective=effective, weigh=weigh, micro_batch=micro_batch, model=model)


def split_rows(batch: Any, size: int) -> list[Any]:
    """A batch in pieces of at most so many rows, whatever containers it is made of."""
    rows = count_rows(batch)
    return [_slice(batch, low, min(low + size, rows)) for low in range(0, rows, size)]


def count_rows(batch: Any) -> int:
    """The first dimension of the batch's tensors.

    Raises:
        InvalidInput: it holds no tensor.
    """
    if isinstance(batch, torch.Tensor):
        return len(batch)
    if isinstance(batch, Mapping):
        return count_rows(next(iter(cast(Mapping[Any, Any], batch).values())))
    if isinstance(batch, (tuple, list)) and batch:
        return count_rows(cast(Sequence[Any], batch)[0])
    raise InvalidInput(
        f"a batch that begins with a {type(cast(object, batch)).__name__} has no rows",
        where="fit_batch",
        expected="a tensor, or tuples, lists or dictionaries of tensors",
        do="put what belongs to the rows first",
    )


def _slice(batch: Any, low: int, high: int) -> Any:
    if isinstance(batch, torch.Tensor):
        return batch[low:high] if batch.ndim else batch
    if isinstance(batch, Mapping):
        pairs = cast(Mapping[Any, Any], batch).items()
        return {name: _slice(value, low, high) for name, value in pairs}
    if isinstance(batch, (tuple, list)):
        parts = [_slice(value, low, high) for value in cast(Sequence[Any], batch)]
        return parts if isinstance(batch, list) else tuple(parts)
    return batch


def find_leaves(loss: torch.Tensor) -> list[torch.Tensor]:
    """The parameters that a loss was computed from, in the order of a walk through its graph."""
    leaves: dict[int, torch.Tensor] = {}
    seen: set[Any] = set()
    waiting: list[Any] = [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves[id(node.variable)] = node.variable
        waiting.extend(following for following, _ in node.next_functions)
    return list(leaves.values())


class _Before:
    """What a forward pass may change, as it was: buffers and random numbers."""

    def __init__(self, model: nn.Module | None) -> None:
        buffers = [] if model is None else list(model.buffers())
        self._buffers = [(buffer, buffer.clone()) for buffer in buffers]
        self._cpu = torch.get_rng_state()
        self._devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    def restore(self) -> None:
        with torch.no_grad():
            for buffer, before in self._buffers:
                buffer.copy_(before)
        torch.set_rng_state(self._cpu)
        if self._devices:
            torch.cuda.set_rng_state_all(self._devices)
            torch.cuda.empty_cache()
