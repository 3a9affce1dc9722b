"""Whether the newest of a row of values are other than the earlier ones predict."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

# The two newest lie on one side of what the earlier ones predict: by chance once in 1,000.
NEWEST, BY_CHANCE = 2, 0.001
# Of the earlier ones, where each is the end of a run.
_LEAST_BEFORE = 3
# Of runs that a spread known from elsewhere is worth.
PRIOR_RUNS = 4


def is_drifting(logs: Sequence[float], spread: float) -> bool:
    """Whether the newest values lie outside what the earlier ones predict, all on one side.

    And beyond every earlier one: epochs are whole numbers with long tails.

    Args:
        spread: as for `find_side`.
    """
    before, newest = logs[:-NEWEST], logs[-NEWEST:]
    if len(before) < _LEAST_BEFORE:
        return False
    is_above, is_below = min(newest) > max(before), max(newest) < min(before)
    if not (is_above or is_below):
        return False
    return find_side(before, min(newest) if is_above else max(newest), spread) != 0


def find_side(before: Sequence[float], value: float, spread: float) -> int:
    """Whether a value lies above (1), below (-1) or within (0) what normal ones before it predict.

    Args:
        before: at least one.
        spread: standard deviation of such values, worth as much as the prior runs' evidence.
    """
    freedom = len(before) - 1 + PRIOR_RUNS
    total = PRIOR_RUNS * spread**2 + float(np.var(before)) * len(before)
    error = math.sqrt(total / freedom * (1 + 1 / len(before)))
    # The chances of the newest values multiply, once for either side.
    each = (BY_CHANCE / 2) ** (1 / NEWEST)
    away = value - float(np.mean(before))
    if abs(away) <= float(stats.t.isf(each, freedom)) * error:
        return 0
    return 1 if away > 0 else -1
