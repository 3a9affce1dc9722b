"""When a run reached its target, interpolated between evaluations."""

import math

import numpy as np

from batchscope.budget import Target
from batchscope.findings.curves import Curve


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
    sign = 1.0 if target.direction == ">=" else -1.0
    values, places = curve.columns[target.metric], curve.columns[axis]
    reached = np.flatnonzero(sign * values >= sign * target.value)
    if len(reached) == 0:
        return math.inf
    at = int(reached[0])
    if at == 0:
        return float(places[0])
    share = _share(float(values[at - 1]), float(values[at]), target.value)
    return float(places[at - 1] + share * (places[at] - places[at - 1]))


def _share(before: float, after: float, level: float) -> float:
    if before == after or not math.isfinite(before):
        return 1.0
    if min(before, after, level) > 0:
        before, after, level = math.log(before), math.log(after), math.log(level)
    return min(1.0, max(0.0, (level - before) / (after - before)))
