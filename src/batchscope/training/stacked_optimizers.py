"""SGD, Adam and AdamW on stacked weights, each member with its own rate and decay."""

from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch

from batchscope.records import HyperParameters

STACKED = ("SGD", "Adam", "AdamW")
# What may differ between members; all else is one number for the program.
PER_MEMBER = ("lr", "weight_decay")
# These two of one member.
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
        rates, decays = torch.tensor(paces, device=weights.device).T[..., None]
        return _StackedSGD(
            rates, decays, momentum=float(first["momentum"]), nesterov=bool(first["nesterov"])
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
    """By the kernel that updates a run alone, once for neighbours of one rate and decay."""

    def __init__(
        self,
        paces: Sequence[Pace],
        weights: torch.Tensor,
        *,
        betas: tuple[float, float],
        eps: float,
        is_decoupled: bool,
    ) -> None:
        operations = torch.ops.aten
        self._update = operations._fused_adamw_ if is_decoupled else operations._fused_adam_
        self._constants = {"beta1": betas[0], "beta2": betas[1], "eps": eps}
        self._paces = list(paces)
        self._blocks = find_blocks(self._paces)
        self._first = torch.zeros_like(weights)
        self._second = torch.zeros_like(weights)
        self._steps = torch.zeros((), device=weights.device)

    def step(self, weights: torch.Tensor, gradients: torch.Tensor, *, factor: float) -> None:
        self._steps += 1
        for rows, (rate, decay) in self._blocks:
            self._update(
                [weights[rows]],
                [gradients[rows]],
                [self._first[rows]],
                [self._second[rows]],
                [],
                [self._steps],
                lr=rate * factor,
                weight_decay=decay,
                amsgrad=False,
                maximize=False,
                **self._constants,
            )

    def keep(self, places: torch.Tensor) -> None:
        kept = cast(list[int], cast(Any, places).tolist())
        self._paces = [self._paces[place] for place in kept]
        self._blocks = find_blocks(self._paces)
        self._first, self._second = self._first[places], self._second[places]


def find_blocks(paces: Sequence[Pace]) -> list[tuple[slice, Pace]]:
    """Neighbours of one rate and decay, with both.

    Example:
        >>> find_blocks([(0.5, 0.0), (0.5, 0.0), (1.0, 0.0)])
        [(slice(0, 2, None), (0.5, 0.0)), (slice(2, 3, None), (1.0, 0.0))]
    """
    starts = [i for i, pace in enumerate(paces) if i == 0 or pace != paces[i - 1]]
    ends = [*starts[1:], len(paces)]
    return [(slice(a, b), paces[a]) for a, b in zip(starts, ends, strict=True)]
