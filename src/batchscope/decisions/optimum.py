"""The batch size at which steps times seconds per step is lowest, by the two fitted curves."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from scipy import special, stats
from scipy.optimize import elementwise

from batchscope.estimate import Estimate, Interval, NotIdentified
from batchscope.findings.scaling import ScalingFit
from batchscope.findings.scaling_posterior import Array

_OCTAVES_BEYOND = 2.0
_LEAST_SIZES = 3
_OPEN = 0.025


def find_optimum(fit: ScalingFit, step_seconds: Mapping[int, Sequence[float]]) -> Estimate:
    """The minimum of S(B) t(B) with t = alpha + beta B, over draws of both curves.

    With S = S_min (1 + B_c / B) that is sqrt(alpha B_c / beta), the geometric mean of the batch
    size at which the hardware fills and the critical one. Steps are drawn from their posterior,
    alpha and beta from Student's t about their weighted least squares (relative errors).

    Args:
        step_seconds: batch size -> timed steps.

    Returns:
        An interval with open ends where the minimum may lie two doublings outside the sizes
        measured or beyond; not identified with fewer than three timed sizes, or where it is as
        likely as not to lie beyond, with the bound that there is.
    """
    timed = {size: float(np.median(times)) for size, times in step_seconds.items() if len(times)}
    if len(timed) < _LEAST_SIZES:
        return NotIdentified(
            reason=f"steps were timed at {len(timed)} batch sizes",
            remedy="batchscope profile",
            unit="examples",
        )
    fixed, each = _draw_step_times(timed, count=len(fit.draws))
    low = math.log(min(fit.smallest, min(timed))) - _OCTAVES_BEYOND * math.log(2)
    high = math.log(max(fit.largest, max(timed))) + _OCTAVES_BEYOND * math.log(2)
    best = _find_minima(fit.draws, fixed, each, low, high)
    ends = np.quantile(best, [_OPEN, 0.5, 1 - _OPEN])
    bottom, value, top = (float(math.exp(x)) for x in ends)
    is_below, is_above = ends[0] <= low, ends[2] >= high
    if not low < ends[1] < high:
        side = "smaller" if ends[1] <= low else "larger"
        return NotIdentified(
            reason=f"it lies at {side} batch sizes than the curves tell",
            remedy=f"{side} batch sizes",
            unit="examples",
            low=None if is_below else bottom,
            high=None if is_above else top,
        )
    return Interval(
        value=value,
        low=0.0 if is_below else bottom,
        high=math.inf if is_above else top,
        unit="examples",
    )


def _find_minima(curves: Array, fixed: Array, each: Array, low: float, high: float) -> Array:
    """Of each draw the log batch size of the least steps times seconds between two ends.

    The logs of both curves are convex in that of the batch size, so that their sum has one minimum:
    where it begins to rise.
    """
    _, critical, alpha = curves.T
    # Where steps cost the same at every size they never take longer.
    knee = np.full(len(fixed), math.inf)
    np.divide(fixed, each, out=knee, where=each > 0)
    with np.errstate(divide="ignore"):
        knee = np.log(knee)

    def rise(logs: Array, knee: Array, critical: Array, alpha: Array) -> Array:
        falls = alpha * special.expit(alpha * (critical - logs))
        return cast(Array, special.expit(logs - knee) - falls)

    best = np.full(len(fixed), high)
    best[rise(np.array(low), knee, critical, alpha) >= 0] = low
    inside = (best == high) & (rise(np.array(high), knee, critical, alpha) > 0)
    of_inside = (knee[inside], critical[inside], alpha[inside])
    found = cast(Any, elementwise.find_root)(rise, (low, high), args=of_inside)
    best[inside] = found.x
    return best


def _draw_step_times(timed: Mapping[int, float], *, count: int) -> tuple[Array, Array]:
    """Draws of alpha and beta of t = alpha + beta B, neither below 0."""
    sizes: Array = np.array(list(timed), dtype=float)
    seconds: Array = np.array(list(timed.values()), dtype=float)
    design: Array = np.stack([1 / seconds, sizes / seconds], axis=1)
    scale: Array = np.abs(design).max(0)
    scaled: Array = design / scale
    inverse = cast(Array, np.linalg.inv(scaled.T @ scaled))
    solution: Array = inverse @ scaled.sum(0)
    rest: Array = 1 - scaled @ solution
    freedom = len(sizes) - 2
    variance = max(float(rest @ rest) / freedom, 1e-12)
    shape = cast(Any, variance * inverse)
    about = cast(Any, stats.multivariate_t)(solution, shape, df=freedom, seed=0)
    drawn: Array = about.rvs(count) / scale
    return np.maximum(drawn[:, 0], 0.0), np.maximum(drawn[:, 1], 0.0)
