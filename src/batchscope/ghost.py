"""Batch normalisation over a fixed number of examples while the batch size moves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

# So many parts, of so few numbers, take less time in one call, for all that it copies.
_MANY, _SMALL = 16, 2**14


class _InParts(nn.Module):
    """Normalises parts of a batch by their own moments."""

    ghost_size: int
    eps: float
    momentum: float | None
    weight: torch.Tensor | None
    bias: torch.Tensor | None
    running_mean: torch.Tensor | None
    running_var: torch.Tensor | None
    num_batches_tracked: torch.Tensor | None
    _check_input_dim: Callable[[torch.Tensor], None]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        parts = len(input) // self.ghost_size
        if not self.training or parts < 2:
            return super().forward(input)
        self._check_input_dim(input)
        # What is left over joins the other parts: a part of one example has no variance.
        size, longer = divmod(len(input), parts)
        is_small = parts >= _MANY and input.numel() <= parts * _SMALL
        if is_small and not longer and self.momentum is not None:
            return self._normalise_at_once(input, parts, self.momentum)
        # The gradient of a split is joined at once; of slices each would be as long as the batch.
        sizes = [size + 1] * longer + [size] * (parts - longer)
        pieces = cast(Sequence[torch.Tensor], cast(Any, input).split(sizes))
        return torch.cat([super(_InParts, self).forward(piece) for piece in pieces])

    def _normalise_at_once(self, input: torch.Tensor, parts: int, momentum: float) -> torch.Tensor:
        """Parts of one size, side by side as if each had channels of its own."""
        split = input.reshape(parts, -1, *input.shape[1:])
        # Under autocast the input is narrower than the moments.
        wide = next((x for x in (self.running_mean, self.weight) if x is not None), input)
        means, variances = (wide.new_zeros(parts * input.shape[1]) for _ in range(2))
        normed = F.batch_norm(
            split.transpose(0, 1).flatten(1, 2),
            means,
            variances,
            None if self.weight is None else self.weight.repeat(parts),
            None if self.bias is None else self.bias.repeat(parts),
            training=True,
            # It leaves the moments of each part in the two.
            momentum=1.0,
            eps=self.eps,
        )
        if self.running_mean is not None and self.running_var is not None:
            # As if one part had come after the other.
            ages = torch.arange(parts - 1, -1, -1, dtype=means.dtype, device=means.device)
            shares = momentum * (1 - momentum) ** ages
            self.running_mean.mul_((1 - momentum) ** parts).add_(shares @ means.view(parts, -1))
            self.running_var.mul_((1 - momentum) ** parts).add_(shares @ variances.view(parts, -1))
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(parts)
        normed = normed.reshape(-1, parts, *input.shape[1:])
        return normed.transpose(0, 1).flatten(0, 1)


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
