"""SGD, Adam and AdamW on stacked weights, each member with its own rate and decay."""

from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch

from batchscope.records import HyperParameters

STACKED = ("SGD", "Adam", "AdamW")
# What may differ between members; all else is one number for the program.
PER_MEMBER = ("lr", "weight_decay")
# More blocks than these, of fewer numbers each on average, are updated sooner as one table.
_FEW_BLOCKS, _SMALL_BLOCK = 3, 10_000
# The rate and the decay of one member.
Pace = tuple[float, float]


class StackedOptimizer(Protocol):
    """An optimizer of several members at once."""

    def step(self, weights: torch.Tensor, gradients: torch.Tensor, *, factor: float) -> None:
        """Move the weights by one step; both have the shape (members, p).

        Args:
            factor: of each member's rate at this step.
        """
        ...

    def keep(self, places: torch.Tensor) -> None:
        """Go on with these members only."""
        ...


def stack_optimizer(
    hyper_parameters: Sequence[HyperParameters], name: str, weights: torch.Tensor
) -> StackedOptimizer:
    """The optimizer of this name; the arithmetic is that of torch.optim.

    Args:
        hyper_parameters: of each member, alike but for those in PER_MEMBER.
        name: one of STACKED.
        weights: shape (members, p).
    """
    first = hyper_parameters[0]
    paces = [pace_of(given) for given in hyper_parameters]
    if name == "SGD":
        return _StackedSGD(
            *_as_columns(paces, weights.device),
            momentum=float(first["momentum"]),
            nesterov=bool(first["nesterov"]),
        )
    return _StackedAdam(
        paces,
        weights,
        betas=(float(first["beta1"]), float(first["beta2"])),
        eps=float(first["eps"]),
        is_decoupled=name == "AdamW",
    )


def pace_of(hyper_parameters: HyperParameters) -> Pace:
    """The rate and the decay of one member; neighbours that share them are updated as one."""
    rate, decay = (float(hyper_parameters[key]) for key in PER_MEMBER)
    return rate, decay


class _StackedSGD:
    def __init__(
        self, rates: torch.Tensor, decays: torch.Tensor, *, momentum: float, nesterov: bool
    ) -> None:
        self._rates, self._decays = rates, decays
        self._decays_any = bool(decays.any())
        self._momentum, self._nesterov = momentum, nesterov
        self._velocity: torch.Tensor | None = None

    def step(self, weights: torch.Tensor, gradients: torch.Tensor, *, factor: float) -> None:
        update = gradients
        if self._decays_any:
            update = update.addcmul(self._decays, weights)
        if self._momentum:
            if self._velocity is None:
                self._velocity = update.clone()
            else:
                self._velocity.mul_(self._momentum).add_(update)
            velocity = self._velocity
            update = update.add(velocity, alpha=self._momentum) if self._nesterov else velocity
        weights.addcmul_(self._rates, update, value=-factor)

    def keep(self, places: torch.Tensor) -> None:
        self._rates, self._decays = self._rates[places], self._decays[places]
        if self._velocity is not None:
            self._velocity = self._velocity[places]


class _StackedAdam:
    """By the kernel that updates a run alone, once for neighbours of one rate and decay.

    Where there are many of these of few numbers each, row by row of the table at once.
    """

    def __init__(
        self,
        paces: Sequence[Pace],
        weights: torch.Tensor,
        *,
        betas: tuple[float, float],
        eps: float,
        is_decoupled: bool,
    ) -> None:
        self._betas, self._eps, self._is_decoupled = betas, eps, is_decoupled
        operations = torch.ops.aten
        self._update = operations._fused_adamw_ if is_decoupled else operations._fused_adam_
        self._first = torch.zeros_like(weights)
        self._second = torch.zeros_like(weights)
        self._steps = 0
        # Where the weights are, so that no step waits for the device.
        self._steps_for_kernel = torch.zeros((), dtype=torch.float32, device=weights.device)
        self._take(list(paces))

    def step(self, weights: torch.Tensor, gradients: torch.Tensor, *, factor: float) -> None:
        self._steps += 1
        self._steps_for_kernel += 1
        count = len(self._blocks)
        if count > _FEW_BLOCKS and weights.numel() < _SMALL_BLOCK * count:
            self._step_by_rows(weights, gradients, factor)
            return
        beta1, beta2 = self._betas
        for rows, (rate, decay) in self._blocks:
            self._update(
                [weights[rows]],
                [gradients[rows]],
                [self._first[rows]],
                [self._second[rows]],
                [],
                [self._steps_for_kernel],
                lr=rate * factor,
                beta1=beta1,
                beta2=beta2,
                weight_decay=decay,
                eps=self._eps,
                amsgrad=False,
                maximize=False,
            )

    def _step_by_rows(self, weights: torch.Tensor, gradients: torch.Tensor, factor: float) -> None:
        beta1, beta2 = self._betas
        rates, steps = self._rates * factor, self._steps
        if self._decays_any and self._is_decoupled:
            weights.mul_(1 - rates * self._decays)
        elif self._decays_any:
            gradients = gradients.addcmul(self._decays, weights)
        self._first.lerp_(gradients, 1 - beta1)
        self._second.mul_(beta2).addcmul_(gradients, gradients, value=1 - beta2)
        scale = self._second.sqrt().div_((1 - beta2**steps) ** 0.5).add_(self._eps)
        weights.sub_(self._first.div(scale).mul_(rates / (1 - beta1**steps)))

    def keep(self, places: torch.Tensor) -> None:
        self._first, self._second = self._first[places], self._second[places]
        kept = cast(list[int], cast(Any, places).tolist())
        self._take([self._paces[place] for place in kept])

    def _take(self, paces: list[Pace]) -> None:
        self._paces = paces
        self._blocks = find_blocks(paces)
        device = self._first.device
        self._rates, self._decays = _as_columns(paces, device)
        self._decays_any = any(decay for _, decay in paces)


def _as_columns(paces: Sequence[Pace], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The rates and the decays, each of shape (members, 1)."""
    rates, decays = (
        torch.tensor([[pace[place]] for pace in paces], device=device) for place in (0, 1)
    )
    return rates, decays


def find_blocks(paces: Sequence[Pace]) -> list[tuple[slice, Pace]]:
    """Neighbours of one rate and decay, with both.

    Example:
        >>> find_blocks([(0.5, 0.0), (0.5, 0.0), (1.0, 0.0)])
        [(slice(0, 2, None), (0.5, 0.0)), (slice(2, 3, None), (1.0, 0.0))]
    """
    starts = [i for i, pace in enumerate(paces) if i == 0 or pace != paces[i - 1]]
    ends = [*starts, len(paces)][1:]
    return [(slice(a, b), paces[a]) for a, b in zip(starts, ends, strict=True)]
