"""How sure it is which of several choices is the best: draws of all of them, side by side."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from batchscope.budget import Target
from batchscope.estimate import Interval
from batchscope.findings.analysis import log_to_target
from batchscope.findings.plateau import pooled_deviation
from batchscope.findings.seeds import estimate_median
from batchscope.findings.tuning import TunedSize

DRAWS = 4000
# What counts as near the least, and what expected excess is good enough.
NEAR, TOLERANCE = 0.1, 0.05
_MOST_EXCESS = 10.0
_Z = NormalDist().inv_cdf(0.975)
# In the log, of a median of so few steps that no interval covers it.
_FEW_STEPS_SD = 0.1

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Odds:
    """Of one choice among several.

    Attributes:
        best: the probability that no other takes less.
        near: the probability that it takes less than a tenth more than the least.
        regret: the expected excess over the least, as a share of it; what takes eleven times as
            much or more counts as that, since it would be noticed.
    """

    best: float
    near: float
    regret: float

    def to_dict(self) -> dict[str, object]:
        """The odds as JSON."""
        return {"best": self.best, "near": self.near, "regret": self.regret}


def weigh(logs: Array) -> list[Odds]:
    """The odds of each choice.

    Args:
        logs: draws of the log of what each takes, shape (draws, choices); a row is one state of
            the world.

    Example:
        >>> weigh(np.log([[1.0, 2.0], [1.0, 1.05]]))[0]
        Odds(best=1.0, near=1.0, regret=0.0)
    """
    above = logs - logs.min(axis=1, keepdims=True)
    first, excess = above == 0, np.expm1(np.minimum(above, math.log1p(_MOST_EXCESS)))
    best = (first / first.sum(axis=1, keepdims=True)).mean(axis=0)
    near, regret = (excess < NEAR).mean(axis=0), excess.mean(axis=0)
    return [
        Odds(best=float(b), near=float(n), regret=float(r))
        for b, n, r in zip(best, near, regret, strict=True)
    ]


def read_logs(sizes: Sequence[TunedSize], target: Target) -> dict[int, dict[int, float]]:
    """Batch size -> seed -> log of the steps to a target, of sizes where at least two seeds ran and
    all of them got there.
    """
    logs = {
        size.batch_size: {c.seed: log_to_target(c, target, "step") for c in size.curves}
        for size in sizes
        if len(size.curves) > 1
    }
    return {b: seeds for b, seeds in logs.items() if all(map(math.isfinite, seeds.values()))}


def weigh_sizes(
    sizes: Sequence[TunedSize],
    target: Target,
    step_costs: Mapping[int, Sequence[float]] | None,
) -> dict[int, Odds]:
    """The odds of each repeated batch size in what it takes to a target.

    Args:
        step_costs: batch size -> what each timed step took, without which a size is left out; None
            where examples count.

    Returns:
        Nothing where fewer than two sizes can be weighed.
    """
    logs = read_logs(sizes, target)
    rng = np.random.default_rng(0)
    each: dict[int, Array | float] = {size: math.log(size) for size in logs}
    if step_costs is not None:
        each = {size: _draw_step(step_costs[size], rng) for size in logs if size in step_costs}
    logs = {size: logs[size] for size in each}
    if len(logs) < 2:
        return {}
    steps = draw_means(logs, rng)
    if steps is None:
        return {}
    totals = np.stack([steps[size] + each[size] for size in logs], axis=1)
    return dict(zip(logs, weigh(totals), strict=True))


def _draw_step(seconds: Sequence[float], rng: np.random.Generator) -> Array:
    """Draws of the log of the seconds per step; of hardly any steps a tenth is not known."""
    found = estimate_median(seconds, unit="s/step")
    if isinstance(found, Interval):
        return draw_log(found, rng)
    return math.log(float(np.median(seconds))) + _FEW_STEPS_SD * rng.standard_normal(DRAWS)


def draw_means(
    logs: Mapping[int, Mapping[int, float]], rng: np.random.Generator
) -> dict[int, Array] | None:
    """Draws of the mean log of each batch size, a vague prior's posterior over paired seeds.

    The seeds' own effects, which all sizes share, are taken out: they move no comparison. So only
    seeds that ran at every size count. What is left of them is pooled over the sizes: a state of
    the world has one deviation, and each mean is normal about what was seen.

    Args:
        logs: batch size -> seed -> a log, all finite.

    Returns:
        None where fewer than two seeds ran at every size, or there is one size: there is no spread
        to draw from.
    """
    deviation, freedom = pooled_deviation(logs)
    if freedom == 0:
        return None
    common = set[int].intersection(*(set(seeds) for seeds in logs.values()))
    errors = deviation * np.sqrt(freedom / rng.chisquare(freedom, DRAWS) / len(common))
    return {
        size: float(np.mean([seeds[seed] for seed in common])) + errors * rng.standard_normal(DRAWS)
        for size, seeds in logs.items()
    }


def draw_log(estimate: Interval, rng: np.random.Generator) -> Array:
    """Draws of the log of an estimate, normal with its interval."""
    half = math.log(estimate.high / estimate.low) / 2
    return math.log(estimate.value) + half / _Z * rng.standard_normal(DRAWS)
