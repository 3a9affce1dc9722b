"""Batches on the device: sliced by index where the data fit there, loaded where they do not."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.utils import data as torch_data

from batchscope.task import Examples, Task, tensors_of
from batchscope.training.ranks import ALONE, Ranks

_SHARE_OF_DEVICE = 0.25


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """What one forward and backward takes.

    Attributes:
        batch: on the device.
        weight: examples in it, or the sum of their lengths.
    """

    batch: Any
    weight: float
    size: int


class Batches:
    """The batches of one data set.

    Args:
        data: of the task.
        device: where the batches are needed.
    """

    def __init__(self, task: Task, data: Examples, device: torch.device) -> None:
        self._data = data
        self._device = device
        self._collate: Callable[[list[Any]], Any] = task.collate or torch_data.default_collate
        tensors = tensors_of(data) if task.collate is None else None
        self._tensors = None if tensors is None else _place(tensors, device)
        self._lengths = None
        if task.length is not None:
            self._lengths = torch.tensor([task.length(data[i]) for i in range(len(data))])

    def __len__(self) -> int:
        return len(self._data)

    def stream(
        self, order: torch.Tensor, *, batch_size: int, micro_batch: int, ranks: Ranks = ALONE
    ) -> Iterator[list[MicroBatch]]:
        """The steps of an epoch, each as its micro-batches; the last step may be short.

        Args:
            order: indices of examples, shape (n,).
            ranks: that share each step; a step and its micro-batches are all of theirs.
        """
        shares = [ranks.share(step) for step in split_indices(order, batch_size)]
        piece = math.ceil(micro_batch / ranks.size)
        steps = [(split_indices(mine, piece), counts) for mine, counts in shares]
        loaded = self._load([chunk for chunks, _ in steps for chunk in chunks])
        for chunks, counts in steps:
            yield [
                MicroBatch(next(loaded), self._weigh(chunk) if counts else 0.0, len(chunk))
                for chunk in chunks
            ]

    def chunks(self, indices: torch.Tensor, *, size: int) -> Iterator[MicroBatch]:
        """The examples at these indices in pieces of `size`."""
        for (piece,) in self.stream(indices, batch_size=size, micro_batch=size):
            yield piece

    def _weigh(self, chunk: torch.Tensor) -> float:
        return float(len(chunk) if self._lengths is None else self._lengths[chunk].sum())

    def _load(self, chunks: Sequence[torch.Tensor]) -> Iterator[Any]:
        if self._tensors is not None:
            home = self._tensors[0].device
            for chunk in chunks:
                index = chunk.to(home)
                rows = tuple(x.index_select(0, index) for x in self._tensors)
                yield rows if home == self._device else move(rows, self._device)
            return
        loader = cast(Any, torch_data.DataLoader)(
            self._data,
            batch_sampler=[chunk.tolist() for chunk in chunks],
            collate_fn=self._collate,
            generator=torch.Generator().manual_seed(0),
        )
        for batch in loader:
            yield move(batch, self._device)


def split_indices(indices: torch.Tensor, size: int) -> Sequence[torch.Tensor]:
    """Indices in pieces of `size`; the last may be short."""
    return cast(Any, indices).split(size)


def move(batch: Any, device: torch.device) -> Any:
    """A batch on a device, whatever containers it is made of."""
    if hasattr(batch, "to"):
        return batch.to(device)
    if isinstance(batch, dict):
        return {key: move(value, device) for key, value in cast(dict[Any, Any], batch).items()}
    if not isinstance(batch, (list, tuple)):
        return batch
    moved = [move(value, device) for value in cast(Sequence[Any], batch)]
    # A named tuple takes its values one by one, other sequences take them at once.
    make = cast(Any, type(cast(object, batch)))
    return make(*moved) if hasattr(make, "_fields") else make(moved)


def _place(tensors: tuple[torch.Tensor, ...], device: torch.device) -> tuple[torch.Tensor, ...]:
    needed = sum(x.nbytes for x in tensors)
    if device.type == "cuda" and needed > _SHARE_OF_DEVICE * torch.cuda.mem_get_info(device)[0]:
        return tensors
    return tuple(x.to(device) for x in tensors)
