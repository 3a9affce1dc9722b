"""What a fresh training at a setting that was run will need to reach its target."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from batchscope.budget import Target
from batchscope.estimate import Estimate, Interval, NotIdentified
from batchscope.findings.analysis import log_to_target
from batchscope.findings.curves import Curve
from batchscope.findings.plateau import pooled_deviation
from batchscope.findings.tuning import TunedSize


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

    The log of what a training needs is taken to be normal; its spread over seeds is pooled over
    all settings whose every seed got there, as in the plateau's test, and the setting's own spread
    is used where that is larger.

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
    own = [x for x in _logs(chosen.curves, target, axis).values() if math.isfinite(x)]
    if len(own) < 2:
        return NotIdentified(
            reason=f"{len(own)} of {len(chosen.curves)} seeds reached {target}",
            remedy="an easier --target, a larger --budget or more --seeds",
            unit=unit,
        )
    logs = {place: _logs(curves, target, axis) for place, curves in enumerate(groups)}
    spread, freedom = _spread(own, logs)
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


def _spread(own: Sequence[float], logs: Mapping[int, Mapping[int, float]]) -> tuple[float, int]:
    deviation, freedom = float(np.std(own, ddof=1)), len(own) - 1
    whole = {
        b: seeds
        for b, seeds in logs.items()
        if len(seeds) >= max(2, len(own)) and all(map(math.isfinite, seeds.values()))
    }
    if len(whole) < 2:
        return deviation, freedom
    # The seeds' own effect is part of a fresh training's luck, so the pooled rest is a floor.
    pooled, more = pooled_deviation(whole)
    if more == 0:
        return deviation, freedom
    return (deviation, freedom) if deviation > 2 * pooled else (max(deviation, pooled), more)


def _logs(curves: Sequence[Curve], target: Target, axis: str) -> dict[int, float]:
    return {curve.seed: log_to_target(curve, target, axis) for curve in curves}
