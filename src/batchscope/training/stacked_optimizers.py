"""SGD, Adam and AdamW on stacked weights, each member with its own rate and decay."""

from collections.abc import Sequence
from typing import Protocol

import torch

from batchscope.records import HyperParameters

STACKED = ("SGD", "Adam", "AdamW")
# What may differ between members; all else is one number for the program.
PER_MEMBER = ("lr", "weight_decay")


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
    rates, decays = (
        torch.tensor([[float(given[key])] for given in hyper_parameters], device=weights.device)
        for key in PER_MEMBER
    )
    if name == "SGD":
        return _StackedSGD(
            rates, decays, momentum=float(first["momentum"]), nesterov=bool(first["nesterov"])
        )
    return _StackedAdam(
        rates,
        decays,
        weights,
        betas=(float(first["beta1"]), float(first["beta2"])),
        eps=float(first["eps"]),
        is_decoupled=name == "AdamW",
    )


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
    def __init__(
        self,
        rates: torch.Tensor,
        decays: torch.Tensor,
        weights: torch.Tensor,
        *,
        betas: tuple[float, float],
        eps: float,
        is_decoupled: bool,
    ) -> None:
        self._rates, self._decays = rates, decays
        self._decays_any = bool(decays.any())
        self._betas, self._eps, self._is_decoupled = betas, eps, is_decoupled
        self._first = torch.zeros_like(weights)
        self._second = torch.zeros_like(weights)
        self._steps = 0

    def step(self, weights: torch.Tensor, gradients: torch.Tensor, *, factor: float) -> None:
        beta1, beta2 = self._betas
        rates = self._rates * factor
        self._steps += 1
        if self._decays_any and self._is_decoupled:
            weights.mul_(1 - rates * self._decays)
        elif self._decays_any:
            gradients = gradients.addcmul(self._decays, weights)
        self._first.lerp_(gradients, 1 - beta1)
        self._second.mul_(beta2).addcmul_(gradients, gradients, value=1 - beta2)
        scale = self._second.sqrt().div_((1 - beta2**self._steps) ** 0.5).add_(self._eps)
        weights.sub_(self._first.div(scale).mul_(rates / (1 - beta1**self._steps)))

    def keep(self, places: torch.Tensor) -> None:
        self._rates, self._decays = self._rates[places], self._decays[places]
        self._first, self._second = self._first[places], self._second[places]
