"""Learning rates that a replication tries, and the best between them."""

import math
from collections.abc import Sequence

import numpy as np

from batchscope.studies.learning_rate import on_ladder, round_rate

_RUNGS = (-1, 0, 1)
# A parabola that bends less than rounding does has no lowest point.
_FLAT = 1e-9


def rates_by_square_root(rate: float, *, known: int, size: int) -> list[float]:
    """Three rates half a decade apart, about one that is moved by the square root rule.

    Args:
        rate: at the batch size `known`.

    Example:
        >>> rates_by_square_root(0.01, known=8, size=32)
        [0.0063, 0.02, 0.063]
    """
    middle = round_rate(rate * math.sqrt(size / known))
    return [on_ladder(middle, rung) for rung in _RUNGS]


def find_lowest(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """The rate at the lowest point of a parabola in the log of the rate, inside those tried.

    Args:
        rates: three or more, in increasing order.
        losses: at each of them.

    Returns:
        None where the parabola does not bend upwards.

    Example:
        >>> lowest = find_lowest([0.01, 0.1, 1.0], [2.0, 1.0, 2.0])
        >>> round(lowest or 0.0, 6)
        0.1
    """
    bend, slope, _ = (float(x) for x in np.polyfit(np.log(rates), losses, 2))
    if bend <= _FLAT:
        return None
    return min(max(math.exp(-slope / (2 * bend)), rates[0]), rates[-1])
