"""A ladder of targets, from early in training to the one that is asked for."""

import math
from collections.abc import Sequence

import numpy as np

from batchscope.budget import Target
from batchscope.findings.tuning import TunedSize

# Of the way from the beginning to the target, in the log where that exists.
_RUNGS = (0.4, 0.55, 0.7, 0.85, 1.0)


def build_ladder(sizes: Sequence[TunedSize], target: Target) -> list[Target]:
    """Five targets of one metric, the last being `target`.

    They begin at the best of the runs' first evaluations, so that no run is past a rung at its
    first one; three digits are written, so that what is printed is what is used.
    """
    firsts = [
        float(curve.columns[target.metric][0])
        for size in sizes
        for curve in size.curves
        if len(curve.columns[target.metric])
    ]
    finite = [x for x in firsts if math.isfinite(x)]
    if not finite:
        return [target]
    # The hardest first evaluation to be better than: no rung lies before it.
    start = max(finite) if target.direction == ">=" else min(finite)
    goal = target.value
    rises = goal > start
    if rises != (target.direction == ">=") or goal == start:
        return [target]
    if min(start, goal) > 0 and not rises:
        values = np.exp(np.log(start) + np.array(_RUNGS) * (math.log(goal) - math.log(start)))
    else:
        values = start + np.array(_RUNGS) * (goal - start)
    levels = [float(f"{value:.3g}") for value in values[:-1]]
    return [*(Target(target.metric, x, target.direction) for x in dict.fromkeys(levels)), target]
