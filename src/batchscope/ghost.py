"""Batch normalisation over a fixed number of examples while the batch size moves."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn


class _InParts(nn.Module):
    """Normalises parts of a batch by their own moments."""

    ghost_size: int

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        parts = len(input) // self.ghost_size
        if not self.training or parts < 2:
            return super().forward(input)
        # What is left over joins the other parts: a part of one example has no variance.
        return torch.cat([super(_InParts, self).forward(x) for x in input.tensor_split(parts)])


class GhostBatchNorm1d(_InParts, nn.BatchNorm1d):
    """Over vectors or sequences."""


class GhostBatchNorm2d(_InParts, nn.BatchNorm2d):
    """Over images."""


class GhostBatchNorm3d(_InParts, nn.BatchNorm3d):
    """Over volumes."""


_KINDS: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: GhostBatchNorm1d,
    nn.BatchNorm2d: GhostBatchNorm2d,
    nn.BatchNorm3d: GhostBatchNorm3d,
}


@dataclass(frozen=True, slots=True)
class WithGhostBatches:
    """Makes models whose batch norms see about `size` examples at a time, at every batch size.

    Source: Hoffer et al. 2017 (arXiv 1705.08741), ghost batch normalisation.
    """

    model: Callable[[], nn.Module]
    size: int

    def __call__(self) -> nn.Module:
        model = self.model()
        for module in model.modules():
            if type(module) in _KINDS:
                module.__class__ = _KINDS[type(module)]
                vars(module)["ghost_size"] = self.size
        return model
