"""The law that seconds per step follow: flat, then affine, with jumps."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from batchscope.estimate import Estimate, Interval, NotIdentified
from batchscope.records import StepTime

Floats = NDArray[np.float64]

_RESAMPLES = 200
_LEAST_SIZES = 4
# Of the log of seconds: misses much beyond it count in proportion, not squared.
_NOISE = 0.05
# Of a step, that a part of it takes where a fit begins.
_LEAST = 1e-3
# A size that takes a fifth more than the law says is a jump, not noise.
_JUMP = 1.2
_UNIT = "s/step"


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump:
    """A step that takes longer from one batch size to the next than any smooth law says."""

    after: int
    before: int
    factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimeLaw:
    """seconds(B) = max(floor, fixed + each B).

    Attributes:
        floor: seconds that even the smallest step takes.
        fixed: seconds of a step whatever its batch.
        each: seconds per further example.
        knee: the batch size fixed / each, where half of a step is the examples' own.
        jumps: that were left out of the fit.
        worst: the largest relative miss at a measured size, jumps apart.
    """

    floor: float
    fixed: Estimate
    each: Estimate
    knee: Estimate
    jumps: tuple[Jump, ...]
    worst: float

    def to_dict(self) -> dict[str, object]:
        """The law as JSON."""
        return {
            "floor": self.floor,
            "fixed": self.fixed.to_dict(),
            "each": self.each.to_dict(),
            "knee": self.knee.to_dict(),
            "jumps": [
                {"after": jump.after, "before": jump.before, "factor": jump.factor}
                for jump in self.jumps
            ],
            "worst": self.worst,
        }


def fit_step_times(times: Sequence[StepTime], *, unit: str, seed: int = 0) -> StepTimeLaw:
    """Fit the law to measured steps, and resample the steps for its intervals.

    Relative misses are minimised, robustly. A size above which everything takes longer by a fifth
    or more is a jump; the law is that of the sizes below the first one.

    Args:
        times: of one task, in any order; sizes without seconds are left out.
        unit: what an example is called.

    Source: Pollux's model of one device (Qiao et al. 2021), with the floor of a device that is
    not full.
    """
    known = sorted((t for t in times if t.seconds), key=lambda t: t.batch_size)
    sizes = np.array([t.batch_size for t in known], dtype=np.float64)
    medians = np.array([statistics.median(t.seconds) for t in known])
    jumps = find_jumps(sizes, medians)
    smooth = sizes < (jumps[0].before if jumps else math.inf)
    if smooth.sum() < _LEAST_SIZES:
        few = NotIdentified(
            reason=f"{int(smooth.sum())} batch sizes below the first jump are too few for a law",
            remedy="profile at least four batch sizes",
        )
        return StepTimeLaw(
            floor=float(medians.min()), fixed=few, each=few, knee=few, jumps=jumps, worst=0.0
        )
    law = fit_law(sizes[smooth], medians[smooth])
    rng = np.random.default_rng(seed)
    draws = np.array(
        [fit_law(sizes[smooth], _resample(known, rng)[smooth]) for _ in range(_RESAMPLES)]
    )
    floor, fixed, each = (float(value) for value in law)
    misses = np.abs(law_at(law, sizes[smooth]) / medians[smooth] - 1)
    # Medians of fast steps agree with one another more closely than the law agrees with them.
    blur = 1 + float(misses.max())
    return StepTimeLaw(
        floor=floor,
        fixed=_interval(fixed, draws[:, 1], blur, _UNIT),
        each=_interval(each, draws[:, 2], blur, f"s/{unit}"),
        knee=_knee(fixed, each, draws, blur, unit),
        jumps=jumps,
        worst=float(misses.max()),
    )


def find_jumps(sizes: Floats, medians: Floats) -> tuple[Jump, ...]:
    """Where seconds per step rise by more than examples can explain, and stay there.

    From one size to the next a smooth step grows at most in proportion to the batch. A jump grows
    more than that by a fifth.
    """
    found: list[Jump] = []
    for place in range(1, len(sizes)):
        growth = medians[place] / medians[place - 1]
        most = sizes[place] / sizes[place - 1]
        if growth > _JUMP * most:
            found.append(
                Jump(
                    after=int(sizes[place - 1]),
                    before=int(sizes[place]),
                    factor=float(growth / most),
                )
            )
    return tuple(found)


def fit_law(sizes: Floats, medians: Floats) -> Floats:
    """floor, fixed and each, all above 0, of sizes in increasing order.

    Where the smallest step is above the floor, what that takes stands for it.

    Args:
        medians: seconds per step.
    """

    def miss(law: Floats) -> Floats:
        return np.log(law_at(law, sizes) / medians)

    def cost(law: Floats) -> float:
        return float((np.sqrt(1 + (miss(law) / _NOISE) ** 2) - 1).sum())

    # From a start with too few or too many sizes at the floor a fit ends as a poor one.
    start = min((_start(sizes, medians, flat) for flat in range(len(sizes) - 1)), key=cost)
    has_floor = start[0] > start[1] + start[2] * sizes[0]

    def law_of(logs: Floats) -> Floats:
        return np.exp(logs) if has_floor else np.concatenate([[0.0], np.exp(logs)])

    def misses(logs: Floats) -> Floats:
        return miss(law_of(logs))

    def slopes(logs: Floats) -> Floats:
        floor, fixed, each = law_of(logs)
        above = fixed + each * sizes
        columns = np.stack([np.zeros_like(above), fixed / above, each * sizes / above], axis=1)
        columns[above <= floor] = (1.0, 0.0, 0.0)
        return columns[:, -len(logs) :]

    begin = np.log(start if has_floor else start[1:])
    found: Any = cast(Any, optimize).least_squares(
        misses, begin, slopes, loss="soft_l1", f_scale=_NOISE
    )
    law = law_of(found.x)
    return np.array([max(law[0], law[1] + law[2] * sizes[0]), law[1], law[2]])


def _start(sizes: Floats, medians: Floats, flat: int) -> Floats:
    """A law by so many sizes at the floor, and least squares of relative misses at the others."""
    above, seconds = sizes[flat:], medians[flat:]
    design = np.stack([1 / seconds, above / seconds], axis=1)
    fixed, each = np.linalg.lstsq(design, np.ones(len(above)))[0]
    floor = math.exp(float(np.log(medians[:flat]).mean())) if flat else 0.0
    least = _LEAST * medians[0], _LEAST * medians[-1] / sizes[-1]
    return np.array([floor, max(fixed, least[0]), max(each, least[1])])


def law_at(law: Floats, sizes: Floats) -> Floats:
    """Seconds per step that a law says."""
    return np.maximum(law[0], law[1] + law[2] * sizes)


def _resample(known: Sequence[StepTime], rng: np.random.Generator) -> Floats:
    return np.array(
        [float(np.median(rng.choice(t.seconds, len(t.seconds)))) for t in known], dtype=np.float64
    )


def _interval(value: float, draws: Floats, blur: float, unit: str) -> Interval:
    low, high = (float(q) for q in np.quantile(draws, [0.025, 0.975]))
    return Interval(
        value=value, low=min(low / blur, value), high=max(high * blur, value), unit=unit
    )


def _knee(fixed: float, each: float, draws: Floats, blur: float, unit: str) -> Estimate:
    return _interval(fixed / each, draws[:, 1] / draws[:, 2], blur, unit)
