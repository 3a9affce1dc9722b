"""How the learning rate moves during a run, and which weights are looked at."""

import math
import re
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from torch import nn
from torch.optim import swa_utils

from batchscope.errors import InvalidInput

ScheduleKind = Literal["constant", "cosine", "step", "wsd", "averaged"]
# He et al. 2016: a tenth at half, a hundredth at three quarters.
_STEPS = ((0.5, 0.1), (0.75, 0.01))
# Hu et al. 2024 and Hagele et al. 2024 decay over the last tenth to fifth.
_DECAY_FROM = 0.8
_HALF_LIFE_EPOCHS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A learning rate as a share of its highest, over a run.

    Attributes:
        kind: "constant"; "cosine" to 0; "step" to a tenth at half and to a hundredth at three
            quarters; "wsd", constant and then linear to 0 over the last fifth; or "averaged",
            constant with the run judged by an exponential average of its weights (Zhang et al.
            2024), whose half-life is a quarter of an epoch in examples at every batch size.
        warmup: examples over which the rate rises from 0, the same at every batch size.
    """

    kind: ScheduleKind = "constant"
    warmup: float = 0.0

    def __str__(self) -> str:
        return self.kind + (f"+warmup={self.warmup:.15g}" if self.warmup else "")

    @property
    def moves(self) -> bool:
        """Whether the rate is not the same at every step."""
        return self.kind not in ("constant", "averaged") or self.warmup > 0

    @property
    def needs_horizon(self) -> bool:
        """Whether the rate depends on how long the run will be."""
        return self.kind in ("cosine", "step", "wsd")

    def factor(self, share: float, examples: float) -> float:
        """Of the highest rate, for the step that begins here.

        Args:
            share: of the budget that is spent, in [0, 1].
            examples: seen when the step is done.

        Example:
            >>> Schedule(kind="cosine").factor(0.5, 100.0)
            0.5
        """
        warm = 1.0
        if self.warmup:
            warm = min(1.0, examples / self.warmup)
        return warm * self._decay(min(1.0, share))

    def factor_of_step(self, step: int, *, batch_size: int, steps: int | None) -> float:
        """Of the highest rate, for the step with this number, counted from 0.

        Args:
            steps: of the whole budget; None where only the clock tells.
        """
        return self.factor(step / (steps or math.inf), (step + 1) * batch_size)

    def _decay(self, share: float) -> float:
        match self.kind:
            case "cosine":
                return round(0.5 * (1 + math.cos(math.pi * share)), 12)
            case "step":
                return min((factor for at, factor in _STEPS if share >= at), default=1.0)
            case "wsd":
                return min(1.0, (1 - share) / (1 - _DECAY_FROM))
            case _:
                return 1.0


def parse_schedule(text: str) -> Schedule:
    """Read what a schedule is written as.

    Raises:
        InvalidInput: there is no such schedule.

    Example:
        >>> str(parse_schedule("cosine+warmup=500"))
        'cosine+warmup=500'
    """
    match = re.fullmatch(r"([a-z]+)(?:\+warmup=([0-9.e+]+))?", text)
    if match is None or match[1] not in get_args(ScheduleKind):
        raise InvalidInput(
            f"there is no schedule {text!r}",
            where="--schedule",
            expected=f"one of {', '.join(get_args(ScheduleKind))}",
            do="choose one of these, with --warmup 1000 for the examples that it warms up over",
        )
    return Schedule(kind=cast(ScheduleKind, match[1]), warmup=float(match[2] or 0))


def make_average(model: nn.Module, *, batch_size: int, train_size: int) -> swa_utils.AveragedModel:
    """An exponential average of a model's weights, its half-life kept in examples."""
    decay = 0.5 ** (batch_size / (_HALF_LIFE_EPOCHS * train_size))
    average = cast(object, swa_utils.get_ema_multi_avg_fn(decay))
    return swa_utils.AveragedModel(model, multi_avg_fn=average, use_buffers=True)  # pyright: ignore


def make_scheduler(
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    *,
    batch_size: int,
    steps: int | None,
) -> torch.optim.lr_scheduler.LambdaLR | None:
    """What moves the rate after each step; None where it stays.

    Args:
        steps: of the whole budget; None where only the clock tells.

    Raises:
        InvalidInput: the schedule needs an end, and only the clock knows it.
    """
    if not schedule.moves:
        return None
    if schedule.needs_horizon and steps is None:
        raise InvalidInput(
            f"the schedule {schedule.kind} needs to know where a run ends",
            where="--schedule",
            expected="a budget in epochs, steps or examples",
            do='give for example --budget 25ep, or take the schedule "averaged"',
        )
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: schedule.factor_of_step(step, batch_size=batch_size, steps=steps),
    )
