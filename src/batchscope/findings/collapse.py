"""What counts: steps, examples, or something between? The axis on which the curves coincide."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from batchscope.budget import Target
from batchscope.estimate import Estimate, Interval, NotIdentified
from batchscope.findings.curves import Curve
from batchscope.findings.to_target import is_reached_before, relative_steps
from batchscope.findings.tuning import TunedSize

_LEAST_SEEDS = 3
# Robust deviations beyond which a run is off the curve: one in 16,000 by chance.
_OFF = 4.0
# Of gamma: what rounding leaves where runs repeat each other.
_NO_WIDTH = 1e-6
# Of a normal distribution's standard deviation to its median absolute deviation.
_TO_DEVIATION = 1.4826


@dataclass(frozen=True, slots=True, kw_only=True)
class Collapse:
    """The axis steps x B^gamma on which the curves of different batch sizes lie closest.

    Attributes:
        gamma: 0 where steps count, 1 where examples do.
        axis: "steps" or "examples" where the interval holds that and not the other, "between"
            where it lies between them, "neither" elsewhere, or "cannot tell".
        scatter: what is left between the curves on that axis, as a deviation in the log; beside
            it the same on the axes of steps and of examples.
        off_curve: runs that lie far from the common curve.
        levels: at which the curves were read.
    """

    gamma: Estimate
    axis: str
    scatter: tuple[float, float, float]
    off_curve: tuple[str, ...]
    levels: tuple[float, ...]

    def to_dict(self) -> dict[str, object]:
        """The collapse as JSON."""
        on_axis, on_steps, on_examples = (None if math.isnan(x) else x for x in self.scatter)
        return {
            "gamma": self.gamma.to_dict(),
            "axis": self.axis,
            "scatter": {"axis": on_axis, "steps": on_steps, "examples": on_examples},
            "off_curve": list(self.off_curve),
            "levels": list(self.levels),
        }


def find_collapse(sizes: Sequence[TunedSize], levels: Sequence[Target]) -> Collapse | None:
    """Fit gamma to the steps at which each batch size passes common levels.

    log steps = c(level) - gamma log B + noise, by least squares; the interval is Student's t over
    the gammas of the seeds where at least three ran at every batch size, else over what is left
    between the batch sizes' means.

    Args:
        levels: of one metric.

    Returns:
        None with fewer than two batch sizes or no level that all of them pass.
    """
    levels = [level for level in levels if all(_is_passed(size, level) for size in sizes)]
    rows = [
        (size.batch_size, curve, place, math.log(needed))
        for size in sizes
        for curve in size.curves
        for place, level in enumerate(levels)
        if math.isfinite(needed := relative_steps(curve, level)) and needed > 0
    ]
    if len({row[0] for row in rows}) < 2:
        return None
    batch = np.log([float(row[0]) for row in rows])
    level = np.array([row[2] for row in rows])
    steps = np.array([row[3] for row in rows])
    inside = _within(batch, level)
    if float((inside**2).sum()) < 1e-12:
        return None
    value = -float(inside @ steps / (inside @ inside))
    gamma = _interval(value, rows, batch, level, steps)
    rest = _within(steps + value * batch, level)
    scatter = tuple(float(np.std(_within(steps + g * batch, level))) for g in (value, 0.0, 1.0))
    return Collapse(
        gamma=gamma,
        axis=_name_axis(gamma),
        scatter=(scatter[0], scatter[1], scatter[2]),
        off_curve=_find_off([row[1] for row in rows], rest),
        levels=tuple(target.value for target in levels),
    )


def _is_passed(size: TunedSize, level: Target) -> bool:
    """Whether every finished run of a size got there, between two evaluations."""
    finished = [curve for curve in size.curves if curve.finished]
    return bool(finished) and all(
        math.isfinite(relative_steps(curve, level)) and not is_reached_before(curve, level)
        for curve in finished
    )


def _within(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Values less the mean of their group."""
    counts = np.bincount(groups)
    means = np.bincount(groups, weights=values) / np.maximum(counts, 1)
    return values - means[groups]


def _interval(
    value: float,
    rows: Sequence[tuple[int, Curve, int, float]],
    batch: np.ndarray,
    level: np.ndarray,
    steps: np.ndarray,
) -> Estimate:
    seeds = np.array([row[1].seed for row in rows])
    every = {row[0] for row in rows}
    whole = [s for s in set(seeds.tolist()) if {r[0] for r in rows if r[1].seed == s} == every]
    over_seeds = _half_over_seeds(whole, seeds, batch, level, steps)
    sizes = sorted(every)
    if len(sizes) < 3:
        if over_seeds:
            return Interval(value=value, low=value - over_seeds, high=value + over_seeds, unit="")
        return NotIdentified(
            reason="two batch sizes without repeated seeds", remedy="--seeds 3", unit=""
        )
    rest = _within(steps + value * batch, level)
    means = [float(np.mean(rest[batch == math.log(size)])) for size in sizes]
    logs = np.log(sizes) - np.mean(np.log(sizes))
    error = math.sqrt(float(np.sum(np.square(means))) / (len(sizes) - 2) / float(logs @ logs))
    between = float(stats.t.ppf(0.975, len(sizes) - 2)) * error
    widest = max(over_seeds, between)
    if widest < _NO_WIDTH:
        return NotIdentified(
            reason="the runs have no spread to measure it by", remedy="--seeds 3", unit=""
        )
    return Interval(value=value, low=value - widest, high=value + widest, unit="")


def _half_over_seeds(
    whole: Sequence[int],
    seeds: np.ndarray,
    batch: np.ndarray,
    level: np.ndarray,
    steps: np.ndarray,
) -> float:
    """Half of Student's t interval over the seeds' own gammas; 0 with fewer than three seeds."""
    if len(whole) < _LEAST_SEEDS:
        return 0.0
    each: list[float] = []
    for seed in whole:
        here = seeds == seed
        inside = _within(batch[here], level[here])
        each.append(-float(inside @ steps[here] / max(float(inside @ inside), 1e-12)))
    error = float(np.std(each, ddof=1)) / math.sqrt(len(each))
    return float(stats.t.ppf(0.975, len(each) - 1)) * error


def _name_axis(gamma: Estimate) -> str:
    if not isinstance(gamma, Interval):
        return "cannot tell"
    holds = [
        name for name, at in (("steps", 0.0), ("examples", 1.0)) if gamma.low <= at <= gamma.high
    ]
    if len(holds) == 2:
        return "cannot tell"
    if holds:
        return holds[0]
    return "between" if gamma.low > 0 and gamma.high < 1 else "neither"


def _find_off(curves: Sequence[Curve], rest: np.ndarray) -> tuple[str, ...]:
    """Runs whose mean distance is more than four robust deviations from the others'."""
    by_run: dict[str, list[float]] = {}
    for curve, value in zip(curves, rest, strict=True):
        by_run.setdefault(curve.run, []).append(float(value))
    means = {run: float(np.mean(values)) for run, values in by_run.items()}
    centre = float(np.median(list(means.values())))
    spread = _TO_DEVIATION * float(stats.median_abs_deviation(list(means.values())))
    return tuple(
        run for run, value in means.items() if spread > 0 and abs(value - centre) > _OFF * spread
    )
