"""Learning rates that a replication tries, and the best between them."""

import math
from collections.abc import Sequence

import numpy as np

from batchscope.replications.lab import Ends
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


def find_best(tried: Sequence[float], losses: Sequence[float], *, dead: float) -> Ends:
    """The log of the number with the lowest loss, by a parabola in the logs through its neighbours.

    Of one at the edge of those tried only that it lies beyond the next of them is known; of one
    beside a number at which nothing was learned, which no parabola passes through, that it lies
    between its neighbours.

    Args:
        tried: in increasing order.
        losses: at each of them, above 0.
        dead: the loss from which on nothing was learned.
    """
    at = int(np.argmin(losses))
    if at == 0:
        return Ends(-math.inf, math.log(tried[1]))
    if at == len(tried) - 1:
        return Ends(math.log(tried[-2]), math.inf)
    near = slice(at - 1, at + 2)
    lowest = find_lowest(tried[near], np.log(losses[near]).tolist())
    if lowest is None or max(losses[near]) >= dead:
        return Ends(math.log(tried[at - 1]), math.log(tried[at + 1]))
    return Ends(math.log(lowest), math.log(lowest))
