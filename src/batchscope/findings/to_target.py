"""When a run reached its target, interpolated between evaluations."""

import math
from dataclasses import dataclass

import numpy as np

from batchscope.budget import Target
from batchscope.findings.curves import Curve, Values

# Where nobody counted steps.
_NEXT_TO_NOTHING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsToTarget:
    """What one run needed.

    Attributes:
        steps: above 0; where censored, those that it took without getting there.
        gap: the log of the ratio of the two evaluations between which it got there; 0 if exact.
    """

    batch_size: int
    seed: int
    steps: float
    is_censored: bool = False
    gap: float = 0.0


def reach_target(curve: Curve, target: Target, axis: str) -> float:
    """How many steps, examples or seconds a run needed; infinite where it never got there.

    Between the last evaluation short of the target and the first that has it, the metric is
    interpolated in its log (linearly where it is not positive).

    Args:
        target: with its direction.
        axis: "step", "examples" or "seconds".

    Returns:
        A number of `axis`, or inf: the observation is censored at the run's end.
    """
    values, places = curve.columns[target.metric], curve.columns[axis]
    at = _first_reached(values, target)
    if at is None:
        return math.inf
    if at == 0:
        return float(places[0])
    share = _share(float(values[at - 1]), float(values[at]), target.value)
    return float(places[at - 1] + share * (places[at] - places[at - 1]))


def need_to_target(curve: Curve, target: Target, axis: str) -> float:
    """What `reach_target` says, above 0: a run that was there untrained needed something between
    nothing and one step, and counts as half of that.
    """
    needed = reach_target(curve, target, axis)
    if needed > 0 or math.isnan(needed):
        return needed
    if not math.isfinite(curve.columns["step"][-1]):
        return _NEXT_TO_NOTHING
    a_step = {"step": 1.0, "examples": float(curve.batch_size), "seconds": curve.step_seconds}
    return a_step[axis] / 2 if a_step[axis] > 0 else _NEXT_TO_NOTHING


def relative_steps(curve: Curve, target: Target) -> float:
    """Steps to a target, or examples over the batch size where nobody counted steps.

    Of epochs alone that is steps up to a factor that all batch sizes share.
    """
    if np.isfinite(curve.columns["step"]).all():
        return reach_target(curve, target, "step")
    return reach_target(curve, target, "examples") / curve.batch_size


def is_reached_before(curve: Curve, target: Target) -> bool:
    """Whether a run was at its target when it was first looked at, after it had begun."""
    at = _first_reached(curve.columns[target.metric], target)
    return at == 0 and float(curve.columns["examples"][0]) > 0


def is_met_untrained(curve: Curve, target: Target) -> bool:
    """Whether a run was at its target before its first step."""
    at = _first_reached(curve.columns[target.metric], target)
    return at == 0 and float(curve.columns["examples"][0]) == 0


def bracket_target(curve: Curve, target: Target, axis: str) -> tuple[float, float]:
    """The evaluations between which a run got to its target; both infinite where it never did."""
    places = curve.columns[axis]
    at = _first_reached(curve.columns[target.metric], target)
    if at is None:
        return math.inf, math.inf
    return float(places[max(0, at - 1)]), float(places[at])


def _first_reached(values: Values, target: Target) -> int | None:
    is_there = values >= target.value if target.direction == ">=" else values <= target.value
    at = int(is_there.argmax()) if len(is_there) else 0
    return at if len(is_there) and is_there[at] else None


def _share(before: float, after: float, level: float) -> float:
    if before == after or not math.isfinite(before):
        return 1.0
    if min(before, after, level) > 0:
        before, after, level = math.log(before), math.log(after), math.log(level)
    return min(1.0, max(0.0, (level - before) / (after - before)))
