"""Noisy least squares, whose expected loss is known exactly after every step."""

import math
from collections.abc import Callable
from typing import Any, TypedDict, cast

import numpy as np
import torch
from scipy import optimize
from torch import nn

from batchscope.findings.scaling import ScalingFit, fit_scaling
from batchscope.findings.scaling_posterior import Array
from batchscope.findings.to_target import StepsToTarget
from batchscope.optimizers import SGD
from batchscope.task import Task

DIMENSIONS = (50, 200, 1000)
# Where schedules are compared: one size, a batch at which noise counts, one target.
MIDDLE, NOISY, LEVEL = 200, 16, 0.06
HALF_LIVES: Array = np.array([2.0**power for power in range(12)])

_TARGETS = (0.12, 0.06, 0.03, 0.015)
_SIZES = tuple(2**power for power in range(0, 13, 2))
_MOST_STEPS = 1_000_000_000
_MOST_AVERAGED = 20_000
# Of the stable rate, the same for both schedules.
_RATES = np.geomspace(1e-3, 0.99, 16)
_EXAMPLES = 256


class AtDraw(TypedDict):
    """What one draw of the initial weights gives.

    Attributes:
        points: for each of the dimensions, at each target the logs of the data (examples at a batch
            of one) and of B_2x; None where the steps do not tell it.
        schedules: the log of steps with averaged weights over those of a cosine; None where one of
            the two does not get there.
    """

    points: list[list[list[float]] | None]
    schedules: float | None


class _Bowl(nn.Module):
    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(dimension))

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        return noise @ self.weights


def make_task(h: Array) -> Task:
    """Loss 1/2 sum h w^2, each example's gradient with noise of variance h.

    It names the answers, which are computed without training it.

    Args:
        h: curvatures, shape (dimensions,).
    """
    bends = torch.from_numpy(h).float()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(_EXAMPLES, len(h), generator=generator) * bends.sqrt()

    def loss(model: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        weights = cast(_Bowl, model).weights
        return 0.5 * (bends * weights.square()).sum() + model(batch[0]).mean()

    return Task(
        name="least-squares",
        model=lambda: _Bowl(len(h)),
        loss=loss,
        train=(noise,),
        val=(torch.zeros(1, len(h)),),
        optimizer=SGD(lr=float(1 / h.max())),
    )


def curvatures(dimension: int, *, is_flat: bool) -> Array:
    """i^-2, or where every further dimension matters 1/i."""
    i = np.arange(1, dimension + 1, dtype=float)
    return 1 / i if is_flat else i**-2


def read_draw(
    task: Task,
    seed: int,
    is_flat: bool,
    half_life: float,
    *,
    report: Callable[[object], None],
) -> AtDraw:
    """Critical batch sizes of every size at every target, and the two schedules."""
    del task, report
    draw = _draw(seed)
    points: list[list[list[float]] | None] = []
    schedules = None
    for dimension in DIMENSIONS:
        h, start = curvatures(dimension, is_flat=is_flat), draw[:dimension]
        whole = _losses(1e-9, 1, h, start, 0)
        read = [_critical(h, start, share * whole) for share in _TARGETS]
        told = [list(point) for point in read if point is not None]
        points.append(told if len(told) == len(read) else None)
        if dimension == MIDDLE:
            schedules = _compare_schedules(h, start, half_life)
    return AtDraw(points=points, schedules=schedules)


def read_half_lives(
    task: Task, seed: int, is_flat: bool, *, report: Callable[[object], None]
) -> list[float | None]:
    """At each half-life the log of the steps with averaged weights; None: too many."""
    del task, report
    h, start = curvatures(MIDDLE, is_flat=is_flat), _draw(seed)[:MIDDLE]
    steps = steps_averaged(NOISY, h, start, _find_level(h, start), HALF_LIVES)
    return [math.log(count) if math.isfinite(count) else None for count in steps]


def _draw(seed: int) -> Array:
    """Squares of initial weights."""
    return np.square(np.random.default_rng(seed).standard_normal(max(DIMENSIONS)))


def _losses(rate: float, batch: int, h: Array, start: Array, steps: float) -> float:
    """Expected loss of the noisy quadratic after so many steps at a constant rate (exact)."""
    kept = np.square(1 - rate * h)
    end = rate / (batch * (2 - rate * h))
    s = end + np.exp(steps * np.log(np.maximum(kept, 1e-300))) * (start - end)
    return float(0.5 * np.sum(h * s))


def _steps_at(rate: float, batch: int, h: Array, start: Array, level: float) -> float:
    """Steps to a level at one rate; infinite where it is not reached."""
    if _losses(rate, batch, h, start, _MOST_STEPS) > level:
        return math.inf
    low, high = 0.0, 1.0
    while _losses(rate, batch, h, start, high) > level:
        low, high = high, 2 * high

    def above(steps: float) -> float:
        return _losses(rate, batch, h, start, steps) - level

    return float(cast(Any, optimize.brentq(above, low, high, xtol=1e-3)))


def least_steps(batch: int, h: Array, start: Array, level: float) -> float:
    """Steps at the best rate up to the stable one: of 16 over the range, then 12 about the best."""
    highest = float(h.max())

    def steps(rate: float) -> float:
        return _steps_at(rate / highest, batch, h, start, level)

    rates = [float(rate) for rate in np.geomspace(1e-4, 1.98, 16)]
    at = min(range(len(rates)), key=lambda i: steps(rates[i]))
    near = np.geomspace(rates[max(at - 1, 0)], rates[min(at + 1, len(rates) - 1)], 12)
    return min(steps(float(rate)) for rate in near)


def _critical(h: Array, start: Array, level: float) -> tuple[float, float] | None:
    """The logs of the data (examples at a batch of one) and of B_2x."""
    steps = [least_steps(size, h, start, level) for size in _SIZES]
    fit = fit_scaling(
        [
            StepsToTarget(batch_size=size, seed=0, steps=count)
            for size, count in zip(_SIZES, steps, strict=True)
            if math.isfinite(count)
        ]
    )
    if not isinstance(fit, ScalingFit) or not math.isfinite(steps[0]):
        return None
    return math.log(steps[0]), float(np.median(fit.draws[:, 1]))


def steps_averaged(
    batch: int, h: Array, start: Array, level: float, half_lives: Array
) -> list[float]:
    """Steps at the best constant rate until the average of the weights is at a level.

    Expected squares of the weights, of their average, and the products of the two, exactly.

    Args:
        start: squares of the initial weights, shape (dimensions,), as are the curvatures h.
        half_lives: steps after which a weight counts half in the average.

    Returns:
        For each half-life; infinite where it takes over four times what the first takes.
    """
    rates = (2 * _RATES / h.max())[:, None, None]
    kept, noise = 1 - rates * h, rates**2 * h / batch
    forgets = 2.0 ** (-1 / half_lives)[:, None]
    squares = np.broadcast_to(start, kept.shape)
    product = averaged = np.broadcast_to(start, (len(_RATES), len(half_lives), len(h)))
    found = np.full(len(half_lives), math.inf)
    for step in range(1, _MOST_AVERAGED + 1):
        squares = kept**2 * squares + noise
        moved = kept * product
        product = forgets * moved + (1 - forgets) * squares
        averaged = (
            forgets**2 * averaged
            + 2 * forgets * (1 - forgets) * moved
            + (1 - forgets) ** 2 * squares
        )
        is_there = (0.5 * (h * averaged).sum(-1)).min(axis=0) <= level
        found = np.where(is_there, np.minimum(found, step), found)
        if np.isfinite(found).all() or step >= 4 * found.min():
            break
    return found.tolist()


def _find_level(h: Array, start: Array) -> float:
    """The loss at which schedules are compared."""
    return LEVEL * _losses(1e-9, 1, h, start, 0)


def steps_cosine(batch: int, h: Array, start: Array, level: float) -> float:
    """The shortest horizon at whose end a cosine from the best rate is at a level."""

    def at_end(horizon: int) -> float:
        squares = np.broadcast_to(start, (len(_RATES), len(h)))
        for step in range(horizon):
            share = 0.5 * (1 + math.cos(math.pi * step / horizon))
            rates = (2 * _RATES / h.max() * share)[:, None]
            squares = (1 - rates * h) ** 2 * squares + rates**2 * h / batch
        return float((0.5 * (h * squares).sum(-1)).min())

    low, high = 0, 1
    while at_end(high) > level:
        if high > _MOST_AVERAGED:
            return math.inf
        low, high = high, 2 * high
    while high - low > max(1, high // 200):
        middle = (low + high) // 2
        low, high = (low, middle) if at_end(middle) <= level else (middle, high)
    return float(high)


def _compare_schedules(h: Array, start: Array, half_life: float) -> float | None:
    """The log of steps with averaged weights over those of a cosine."""
    level = _find_level(h, start)
    (averaged,) = steps_averaged(NOISY, h, start, level, np.full(1, half_life))
    cosine = steps_cosine(NOISY, h, start, level)
    if not math.isfinite(averaged) or not math.isfinite(cosine):
        return None
    return math.log(averaged / cosine)
