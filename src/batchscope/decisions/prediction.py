"""What a fresh training at a setting that was run will need to reach its target."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from batchscope.budget import Target
from batchscope.estimate import Estimate, Interval, NotIdentified
from batchscope.findings.analysis import log_to_target
from batchscope.findings.curves import Curve
from batchscope.findings.tuning import TunedSize

# Of the log of what a training needs, over seeds: times to accuracy of published benchmark entries
# vary by up to 14% (Coleman et al. 2019). It counts as much as one pair of seeds.
_USUAL_DEVIATION, _USUAL_FREEDOM = 0.14, 1
# Settings differ in it: what it usually is counts as much as two further seeds.
_ALIKE_FREEDOM = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Prediction intervals for one fresh training, up to its target."""

    seconds: Estimate
    steps: Estimate
    examples: Estimate


def predict_training(
    chosen: TunedSize,
    groups: Sequence[Sequence[Curve]],
    target: Target | None,
    *,
    step_spread: float,
    unit: str,
) -> Prediction:
    """Predict from the seeds that reached the target.

    The log of what a training needs is taken to be normal, with a variance over seeds that is the
    setting's own, moderated by those of the other settings whose every seed got there (a scaled
    inverse chi-square about what they show, Smyth 2004).

    Args:
        groups: the runs of each setting.
        step_spread: standard deviation of the log of seconds per step.
    """

    def predict(axis: str, unit: str, spread: float) -> Estimate:
        if target is None:
            return NotIdentified(reason="there is no target", remedy="--target", unit=unit)
        return _predict(chosen, groups, target, axis, unit=unit, extra=spread)

    return Prediction(
        seconds=predict("seconds", "s", step_spread),
        steps=predict("step", "steps", 0.0),
        examples=predict("examples", unit, 0.0),
    )


def _predict(
    chosen: TunedSize,
    groups: Sequence[Sequence[Curve]],
    target: Target,
    axis: str,
    *,
    unit: str,
    extra: float,
    confidence: float = 0.95,
) -> Estimate:
    own = [x for x in _logs(chosen.curves, target, axis) if math.isfinite(x)]
    if len(own) < 2:
        return NotIdentified(
            reason=f"{len(own)} of {len(chosen.curves)} seeds reached {target}",
            remedy="an easier --target, a larger --budget or more --seeds",
            unit=unit,
        )
    setting = (chosen.batch_size, chosen.curves[0].setting)
    others = [
        _logs(curves, target, axis)
        for curves in groups
        if (curves[0].batch_size, curves[0].setting) != setting
    ]
    spread, freedom = moderate_spread(own, others)
    width = float(stats.t.ppf((1 + confidence) / 2, freedom))
    half = width * math.sqrt(spread**2 * (1 + 1 / len(own)) + extra**2)
    centre = float(np.mean(own))
    return Interval(
        value=math.exp(centre),
        low=math.exp(centre - half),
        high=math.exp(centre + half),
        unit=unit,
        confidence=confidence,
    )


def moderate_spread(own: Sequence[float], others: Sequence[Sequence[float]]) -> tuple[float, int]:
    """The deviation over seeds of a setting with few of them, and its degrees of freedom.

    Args:
        own: the logs of seeds, all finite.
        others: those of other settings; of one seed, or with one that is not finite, they say
            nothing.

    Source: the moderated variance of Smyth 2004 (Stat. Appl. Genet. Mol. Biol. 3).

    Example:
        >>> deviation, freedom = moderate_spread([0.0, 0.2], [])
        >>> round(deviation, 2), freedom
        (0.14, 3)
    """
    shown = [(_USUAL_FREEDOM, _USUAL_DEVIATION**2)]
    shown += [
        (len(logs) - 1, float(np.var(logs, ddof=1)))
        for logs in others
        if len(logs) > 1 and all(map(math.isfinite, logs))
    ]
    usual = sum(freedom * variance for freedom, variance in shown) / sum(f for f, _ in shown)
    freedom = len(own) - 1
    shown_by_own = freedom * float(np.var(own, ddof=1)) if freedom else 0.0
    total = _ALIKE_FREEDOM * usual + shown_by_own
    return math.sqrt(total / (_ALIKE_FREEDOM + freedom)), _ALIKE_FREEDOM + freedom


def _logs(curves: Sequence[Curve], target: Target, axis: str) -> list[float]:
    return [log_to_target(curve, target, axis) for curve in curves]
