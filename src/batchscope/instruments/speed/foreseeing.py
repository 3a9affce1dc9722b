"""Seconds per step at batch sizes that were not timed, checked by leaving each timed one out."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from scipy import stats

from batchscope.estimate import Estimate, Interval, NotIdentified, multiply, scale
from batchscope.findings.seeds import estimate_median
from batchscope.instruments.speed.law import Floats, find_jumps, fit_law, law_at
from batchscope.records import StepTime

# The law has three parameters, and must be fitted with each batch size left out.
_PARAMETERS = 3
_LEAST_SIZES = _PARAMETERS + 2
_CONFIDENCE = 0.9
# Of the log of seconds per step: what counts as a rise, and in deviations of a timing.
_RISE, _CLEARLY = 0.2, 3.0
_UNIT = "s/step"


@dataclass(frozen=True, slots=True, kw_only=True)
class MissedStep:
    """What the law of the other batch sizes says of one that was timed, in seconds per step."""

    batch_size: int
    measured: float
    predicted: float

    @property
    def log_error(self) -> float:
        """Of the prediction."""
        return math.log(self.predicted / self.measured)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepForecast:
    """Seconds per step.

    Attributes:
        by_size: batch size -> seconds per step.
        left_out: of each batch size that was timed; empty where they are too few.
    """

    by_size: Mapping[int, Estimate]
    left_out: tuple[MissedStep, ...] = ()

    @property
    def error(self) -> float | None:
        """The median of what leaving one out is off by, as a share; None where nothing was."""
        errors = [abs(one.predicted / one.measured - 1) for one in self.left_out]
        return statistics.median(errors) if errors else None

    def to_dict(self) -> dict[str, object]:
        """The forecast as JSON."""
        return {
            "step_seconds": {str(size): found.to_dict() for size, found in self.by_size.items()},
            "left_out": [
                {
                    "batch_size": one.batch_size,
                    "measured": one.measured,
                    "predicted": one.predicted,
                }
                for one in self.left_out
            ],
            "error": self.error,
        }


def foresee_step_seconds(times: Sequence[StepTime], batch_sizes: Sequence[int]) -> StepForecast:
    """Predict the median step at batch sizes that were not timed, by the law of those that were.

    The law is fitted without each timed size in turn. What it then misses those between others by
    is the deviation of a prediction. Outside the timed sizes there is more: how far these fits are
    apart there (Tukey's jackknife), or, where that is larger, what leaving out the outermost size
    missed it by, in proportion to the doublings. Logs are taken as normal, with a Student's t.
    Beyond the largest size nothing is said where steps do not take longer there yet: when they
    begin to is not known.

    Args:
        times: of one task on one device; sizes that ran out of memory are left out.
    """
    known = sorted((t for t in times if t.seconds), key=lambda t: t.batch_size)
    sizes = np.array([t.batch_size for t in known], dtype=np.float64)
    medians = np.array([statistics.median(t.seconds) for t in known])
    jumps = find_jumps(sizes, medians)
    below = sizes < (jumps[0].before if jumps else math.inf)
    if below.sum() < _LEAST_SIZES:
        few = NotIdentified(
            reason=f"only {below.sum()} batch sizes below any jump of seconds per step were timed",
            remedy=f"the batch size itself timed by batchscope profile, or {_LEAST_SIZES} in all",
            unit=_UNIT,
        )
        return StepForecast(by_size=dict.fromkeys(batch_sizes, few))
    laws = _Laws(sizes[below], medians[below])
    beyond = NotIdentified(
        reason=f"steps jump from batch size {jumps[0].after} to {jumps[0].before}" if jumps else "",
        remedy="batchscope profile at the batch size itself",
        unit=_UNIT,
    )
    return StepForecast(
        by_size={
            size: beyond if jumps and size > jumps[0].after else laws.predict(size)
            for size in batch_sizes
        },
        left_out=laws.left_out,
    )


def read_or_foresee(times: Sequence[StepTime], batch_sizes: Sequence[int]) -> StepForecast:
    """The median step as it was timed, or where it was not as the law says."""
    foreseen = foresee_step_seconds(times, batch_sizes)
    timed = {
        time.batch_size: seconds
        for time in times
        if isinstance(seconds := estimate_median(time.seconds, unit=_UNIT), Interval)
    }
    by_size = {size: timed.get(size, foreseen.by_size[size]) for size in batch_sizes}
    return replace(foreseen, by_size=by_size)


def foresee_slowdown(
    times: Sequence[StepTime], batch_size: int, *, part: int, parts: int
) -> Estimate:
    """The time of a step that is accumulated over parts, over that of the whole batch at once.

    Each part is taken as a step of its own, which updates the weights as well: it is rather less.
    The two times are taken as independent, which those of one law are not: the interval is rather
    wide. Where it is not identified, it lies between one and the number of parts.

    Args:
        times: of one task on one device.
        part: examples of each part, of all devices.
    """
    found = read_or_foresee(times, [part, batch_size]).by_size
    each, whole = found[part], found[batch_size]
    if isinstance(whole, Interval):
        whole = Interval(
            value=1 / whole.value,
            low=1 / whole.high,
            high=1 / whole.low,
            unit="",
            confidence=whole.confidence,
        )
    ratio = multiply([scale(each, parts, unit=""), whole], unit="")
    return replace(ratio, low=1.0, high=float(parts)) if isinstance(ratio, NotIdentified) else ratio


class _Laws:
    """One fitted to all timed sizes, and one without each of them.

    Args:
        sizes, medians: in increasing order of the sizes.
    """

    def __init__(self, sizes: Floats, medians: Floats) -> None:
        self._doublings: Floats = np.log2(sizes)
        self._medians = medians
        self._whole = fit_law(sizes, medians)
        kept = [np.arange(len(sizes)) != at for at in range(len(sizes))]
        self._others = [fit_law(sizes[k], medians[k]) for k in kept]
        self.left_out = tuple(
            MissedStep(batch_size=int(size), measured=float(median), predicted=_at(law, size))
            for size, median, law in zip(sizes, medians, self._others, strict=True)
        )

    def predict(self, batch_size: int) -> Estimate:
        """The median step at a batch size."""
        missed = float(np.mean([one.log_error**2 for one in self.left_out[1:-1]]))
        if math.log2(batch_size) > self._doublings[-1] and not self._rises(math.sqrt(missed)):
            return NotIdentified(
                reason="steps do not take longer yet at the largest batch size that was timed",
                remedy="batchscope profile at larger batch sizes",
                unit=_UNIT,
            )
        deviation = math.sqrt(missed + self._outside(batch_size))
        freedom = len(self._others) - _PARAMETERS
        quantile = cast(float, stats.t.isf((1 - _CONFIDENCE) / 2, freedom))
        value, half = _at(self._whole, batch_size), math.exp(quantile * deviation)
        return Interval(
            value=value, low=value / half, high=value * half, unit=_UNIT, confidence=_CONFIDENCE
        )

    def _rises(self, deviation: float) -> bool:
        """Whether the largest size takes longer than the least step, beyond what timings miss."""
        return math.log(self._medians[-1] / self._medians.min()) > max(_RISE, _CLEARLY * deviation)

    def _outside(self, batch_size: int) -> float:
        """The variance of the log that is added beyond the timed sizes."""
        known, at = self._doublings, math.log2(batch_size)
        if known[0] <= at <= known[-1]:
            return 0.0
        edge, inner = (0, 1) if at < known[0] else (-1, -2)
        share = abs(at - known[edge]) / abs(known[edge] - known[inner])
        logs = np.log([_at(law, batch_size) for law in self._others])
        fits = (len(logs) - 1) * float(np.var(logs))
        return float(max(fits, (self.left_out[edge].log_error * share) ** 2))


def _at(law: Floats, batch_size: float) -> float:
    return float(law_at(law, np.array([batch_size]))[0])
