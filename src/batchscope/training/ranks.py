"""The processes that train one run together: usually one, or one per device."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar, cast

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


class Ranks:
    """One process that trains by itself.

    Attributes:
        size: how many there are.
        rank: which this is, from 0.
    """

    size: int = 1
    rank: int = 0

    def spread(self, model: nn.Module) -> nn.Module:
        """The model whose backward pass leaves the same gradients in every process."""
        return model

    def without_sharing(self, model: nn.Module) -> AbstractContextManager[object]:
        """Where a pass accumulates, its gradients not yet shared."""
        del model
        return nullcontext()

    def share(self, step: torch.Tensor) -> tuple[torch.Tensor, bool]:
        """This process's examples of a step, and whether they count: none may be left for it."""
        return step, True

    def total(self, weight: float) -> float:
        """A weight over all processes."""
        return weight

    def sum(self, loss: torch.Tensor) -> torch.Tensor:
        """A share of a loss over all processes."""
        return loss

    def on_first(self, compute: Callable[[], T]) -> T:
        """What the first process computes, in all of them."""
        return compute()

    def seed(self, seed: int) -> int:
        """The seed of dropout in this process."""
        return seed


class DataParallelRanks(Ranks):
    """Processes of one group, each with its part of every step's examples.

    Batch norm sees each process's part, as it does with DistributedDataParallel everywhere.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.size = distributed.get_world_size()
        self.rank = distributed.get_rank()

    def spread(self, model: nn.Module) -> nn.Module:
        """The model in DistributedDataParallel."""
        ids = [self._device.index] if self._device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids, find_unused_parameters=True)

    def without_sharing(self, model: nn.Module) -> AbstractContextManager[object]:
        """DistributedDataParallel's `no_sync`."""
        assert isinstance(model, DistributedDataParallel)
        return model.no_sync()

    def share(self, step: torch.Tensor) -> tuple[torch.Tensor, bool]:
        """Every `size`-th example; one that does not count where there are too few for all."""
        mine = step[self.rank :: self.size]
        return (mine, True) if len(mine) else (step[:1], False)

    def total(self, weight: float) -> float:
        """A weight over all processes."""
        return float(self.sum(torch.tensor(weight, device=self._device)))

    def sum(self, loss: torch.Tensor) -> torch.Tensor:
        """A share of a loss over all processes."""
        whole = loss.detach().clone()
        distributed.all_reduce(whole)
        return whole

    def on_first(self, compute: Callable[[], T]) -> T:
        """What the first process computes, in all of them."""
        box: list[object] = [compute() if self.rank == 0 else None]
        distributed.broadcast_object_list(box, device=self._device)
        return cast(T, box[0])

    def seed(self, seed: int) -> int:
        """Another one in each process, so that dropout differs between examples."""
        return seed + self.rank * 1_000_003


ALONE = Ranks()
