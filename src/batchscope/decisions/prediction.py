"""What a fresh training at a setting that was run will need to reach its target."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from batchscope.budget import Target
from batchscope.decisions.timings import median_thirds
from batchscope.estimate import Estimate, Interval, NotIdentified
from batchscope.findings.analysis import log_to_target
from batchscope.findings.beliefs import moderate_spread
from batchscope.findings.curves import Curve
from batchscope.findings.tuning import TunedSize

# Of the log of a machine's speed, from one time to another; it counts as much as one pair of times.
# Of rented machines it was below 0.04 in one long study (Henning et al. 2025), and several times
# that in others (Schad et al. 2010).
_USUAL_DRIFT, _USUAL_FREEDOM = 0.1, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Prediction intervals for one fresh training, up to its target or through its budget.

    Where a seed missed the target they have no upper end.

    Attributes:
        reach: how likely it gets there: by Laplace's rule of succession where a seed missed it, 1
            where none did.
    """

    seconds: Estimate
    steps: Estimate
    examples: Estimate
    reach: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds per step of a training at another time, in the log.

    Attributes:
        mean: of the times at which steps were timed.
        deviation, freedom: of the next such time about it.
    """

    mean: float
    deviation: float
    freedom: int


def judge_pace(timings: Sequence[Sequence[float]]) -> Pace | None:
    """How fast a machine will be, whose speed drifts.

    A training averages over its steps, so that single slow ones hardly matter to it. What matters
    is by how much the median differs from one time to another, taken as at least what it does
    within one, between three thirds that were timed in rounds.

    Args:
        timings: the steps timed at each time, in seconds.

    Returns:
        None where nothing was timed.
    """
    timings = [times for times in timings if len(times)]
    if not timings:
        return None
    medians = [math.log(float(np.median(times))) for times in timings]
    count = len(medians)
    freedom = _USUAL_FREEDOM + count - 1
    between = _USUAL_FREEDOM * _USUAL_DRIFT**2 + count * float(np.var(medians))
    variance = max(between / freedom, *(_variance_within(times) for times in timings))
    return Pace(
        mean=float(np.mean(medians)),
        deviation=math.sqrt(variance * (1 + 1 / count)),
        freedom=freedom,
    )


def _variance_within(times: Sequence[float]) -> float:
    thirds = median_thirds(times)
    return float(np.var(np.log(thirds), ddof=1)) if len(thirds) > 1 else 0.0


def predict_training(
    chosen: TunedSize,
    groups: Sequence[Sequence[Curve]],
    target: Target | None,
    *,
    timings: Sequence[Sequence[float]],
    unit: str,
) -> Prediction:
    """Predict from the seeds that reached the target, or from those that finished.

    The log of what a training needs is taken to be normal, with a variance over seeds that is the
    setting's own, moderated by those of the other settings whose every seed got there.

    Args:
        groups: the runs of each setting.
        target: None for the whole budget.
        timings: steps of the chosen size, as timed at each time.
    """
    pace = judge_pace(timings)
    steps = _logs(chosen.curves, target, "step")
    hits = sum(map(math.isfinite, steps))
    return Prediction(
        reach=1.0 if hits == len(steps) else (hits + 1) / (len(steps) + 2),
        seconds=_predict(chosen, groups, target, "seconds", unit="s", pace=pace),
        steps=_predict(chosen, groups, target, "step", unit="steps"),
        examples=_predict(chosen, groups, target, "examples", unit=unit),
    )


def _predict(
    chosen: TunedSize,
    groups: Sequence[Sequence[Curve]],
    target: Target | None,
    axis: str,
    *,
    unit: str,
    pace: Pace | None = None,
    confidence: float = 0.95,
) -> Estimate:
    # What was timed says more of seconds than the runs' own, which ran beside others.
    axis = axis if pace is None else "step"
    logs = _logs(chosen.curves, target, axis)
    own = [x for x in logs if math.isfinite(x)]
    setting = (chosen.batch_size, chosen.curves[0].setting)
    others = [
        _logs(curves, target, axis)
        for curves in groups
        if (curves[0].batch_size, curves[0].setting) != setting
    ]
    # Of one seed the spread is that of other settings.
    repeated = [own, *(x for x in others if all(map(math.isfinite, x)))]
    if not own or max(map(len, repeated)) < 2:
        return NotIdentified(
            reason=f"{len(own)} of {len(chosen.curves)} seeds "
            + ("finished" if target is None else f"reached {target}"),
            remedy="an easier --target, a larger --budget or more --seeds",
            unit=unit,
        )
    spread, freedom = moderate_spread(own, others)
    centre, parts = float(np.mean(own)), [(spread**2 * (1 + 1 / len(own)), freedom)]
    if pace is not None:
        centre += pace.mean
        parts.append((pace.deviation**2, pace.freedom))
    half = _half_width(parts, confidence)
    return Interval(
        value=math.exp(centre),
        low=math.exp(centre - half),
        high=math.exp(centre + half) if len(own) == len(logs) else math.inf,
        unit=unit,
        confidence=confidence,
    )


def _half_width(parts: Sequence[tuple[float, int]], confidence: float) -> float:
    """Of a sum of parts, by their variances and degrees of freedom (Welch and Satterthwaite)."""
    total = sum(variance for variance, _ in parts)
    if total == 0:
        return 0.0
    freedom = total**2 / sum(variance**2 / freedom for variance, freedom in parts)
    return float(stats.t.ppf((1 + confidence) / 2, freedom)) * math.sqrt(total)


def _logs(curves: Sequence[Curve], target: Target | None, axis: str) -> list[float]:
    if target is not None:
        return [log_to_target(curve, target, axis) for curve in curves]
    ends = [float(curve.columns[axis][-1]) if curve.finished else math.inf for curve in curves]
    return [math.log(end) if 0 < end < math.inf else math.inf for end in ends]
