"""What several seeds of one setting say together."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from batchscope.estimate import Estimate, Interval, NotIdentified

# Of which the lowest and the highest cover the median at 95%.
LEAST_REPEATS = 6


def estimate_over_seeds(
    values: Sequence[float],
    *,
    unit: str,
    log: bool = False,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    confidence: float = 0.95,
) -> Estimate:
    """The mean over seeds (with `log` the geometric one), and Student's t interval for it.

    Infinite values are censored, never reached. With any of them the value is the median, which
    they leave known, and the interval is widened to hold it.

    Args:
        values: one per seed.
        log: for values above 0 whose spread is proportional to them.
        bounds: between which the quantity lies by its nature, such as (0, 1) for a share.

    Returns:
        An open upper end where some seeds are censored; not identified with fewer than two seeds,
        with seeds that all agree to the last digit, or where most are censored.
    """
    finite = [x for x in values if math.isfinite(x)]
    refusal = _refuse(values, finite, unit)
    if refusal is not None:
        return refusal
    scale = np.log(finite) if log else np.array(finite)
    half = stats.t.ppf((1 + confidence) / 2, len(scale) - 1) * np.std(scale, ddof=1)
    half /= math.sqrt(len(scale))
    low, high = float(np.mean(scale) - half), float(np.mean(scale) + half)
    if log:
        low, high = math.exp(low), math.exp(high)
    if len(finite) < len(values):
        high = math.inf
    middle = float(np.median(values))
    if len(finite) == len(values):
        mean = float(np.mean(scale))
        middle = math.exp(mean) if log else mean
    return Interval(
        value=middle,
        low=min(max(low, bounds[0]), middle),
        high=max(min(high, bounds[1]), middle),
        unit=unit,
        confidence=confidence,
    )


def _refuse(values: Sequence[float], finite: Sequence[float], unit: str) -> NotIdentified | None:
    if len(values) == 0 or all(map(math.isnan, values)):
        return NotIdentified(reason="no run has it", remedy="train one", unit=unit)
    if not math.isfinite(float(np.median(values))):
        return NotIdentified(
            reason=f"{len(finite)} of {len(values)} seeds got there",
            remedy="a larger --budget or an easier --target",
            unit=unit,
        )
    if len(finite) < 2:
        return NotIdentified(reason="one seed has no spread", remedy="--seeds 3", unit=unit)
    if len(set(finite)) == 1:
        return NotIdentified(
            reason=f"{len(finite)} seeds all gave {finite[0]:.4g}",
            remedy=f"--seeds {2 * len(finite)}",
            unit=unit,
        )
    return None


def estimate_median(
    values: Sequence[float] | np.ndarray, *, unit: str, confidence: float = 0.95
) -> Estimate:
    """The median of many repeats, with the interval between order statistics that covers it.

    It assumes nothing of their distribution, which for times has a long tail.

    Args:
        values: at least LEAST_REPEATS, since fewer cannot cover at 95%.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    lower = int(stats.binom.ppf((1 - confidence) / 2, len(ordered), 0.5)) - 1
    if lower < 0:
        return NotIdentified(
            reason=f"{len(ordered)} repeats are too few",
            remedy=f"at least {LEAST_REPEATS}",
            unit=unit,
        )
    return Interval(
        value=float(np.median(ordered)),
        low=float(ordered[lower]),
        high=float(ordered[len(ordered) - 1 - lower]),
        unit=unit,
        confidence=confidence,
    )
