"""Where meters and controllers attach to a run without the loop knowing them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(slots=True, kw_only=True)
class RunState:
    """What a hook may look at while a run goes on.

    Attributes:
        step, examples, epoch: done so far.
        seconds: of training so far, evaluation not counted.
        batch_size: of the next step; a hook that sets it changes the steps that follow.
        horizon: share of the budget that is spent, in [0, 1].
        step_size: examples of the step that goes on; the last of an epoch may be short.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    batch_size: int
    micro_batch: int
    step: int = 0
    examples: int = 0
    epoch: int = 0
    seconds: float = 0.0
    horizon: float = 0.0
    step_size: int = 0


class Hook:
    """The moments of a run; a hook overrides those that it needs."""

    def on_start(self, state: RunState) -> None:
        """Before the first step."""

    def on_micro_batch(self, state: RunState, share: float) -> None:
        """After a backward pass; `share` is the micro-batch's weight in the step, in (0, 1]."""

    def on_gradient(self, state: RunState) -> None:
        """The step's gradient is whole and unscaled, and not yet clipped."""

    def on_step(self, state: RunState) -> None:
        """After the optimizer's step."""

    def on_evaluation(self, state: RunState, row: Mapping[str, float]) -> None:
        """After an evaluation; `row` is what the trajectory gained."""

    def on_end(self, state: RunState) -> None:
        """After the last step."""


def find_listeners(hooks: Sequence[Hook]) -> Mapping[str, list[Callable[..., None]]]:
    """Moment -> the methods of hooks that override it: a step asks nothing of the others."""
    moments = [name for name in vars(Hook) if name.startswith("on_")]
    return {
        moment: [
            getattr(hook, moment)
            for hook in hooks
            if getattr(type(hook), moment) is not getattr(Hook, moment)
        ]
        for moment in moments
    }
