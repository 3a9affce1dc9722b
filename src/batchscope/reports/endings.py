"""What runs ended at, in words, where their seeds give no interval."""

import math
import statistics
from collections.abc import Sequence

from batchscope.estimate import Estimate, Interval
from batchscope.findings.curves import Curve


def write_median(curves: Sequence[Curve], column: str) -> str:
    """The median of a column at the end of each run.

    Example:
        >>> write_median([], "val_loss")
        'unknown'
    """
    values = [float(curve.columns[column][-1]) for curve in curves]
    if not values or any(map(math.isnan, values)):
        return "unknown"
    return f"{statistics.median(values):.3g}"


def write_ending(estimate: Estimate, curves: Sequence[Curve], column: str) -> str:
    """An estimate of it, or the median and that there is no interval."""
    if isinstance(estimate, Interval):
        return str(estimate)
    return f"{write_median(curves, column)} (no interval)"
