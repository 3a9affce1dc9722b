"""How many seeds it takes to see a difference."""

import math
from bisect import bisect_left

from scipy import special

from batchscope.errors import check_above_zero

POWER = 0.8
LEVEL = 0.05
MOST_SEEDS = 1000


def find_power(
    difference: float, deviation: float, seeds: int, *, paired: bool = True, level: float = LEVEL
) -> float:
    """The chance that a two-sided t test sees a difference of two batch sizes.

    Args:
        difference: of their means, above 0.
        deviation: of one run about the means of its batch size and its seed, above 0.
        seeds: of each, at least 2; the same ones where `paired`.
        level: of the test.

    Source: the noncentral t distribution with noncentrality difference / deviation sqrt(seeds / 2).
    """
    freedom = seeds - 1 if paired else 2 * (seeds - 1)
    shift = difference / deviation * math.sqrt(seeds / 2)
    # The functions of scipy.stats are the same ones, and take fifty times as long.
    critical = float(special.stdtrit(freedom, 1 - level / 2))
    below = float(special.nctdtr(freedom, shift, critical))
    beyond = float(special.nctdtr(freedom, shift, -critical))
    # Not a number where the other tail is too thin to be computed.
    return 1.0 - below + (0.0 if math.isnan(beyond) else beyond)


def count_seeds(
    difference: float, deviation: float, *, paired: bool = True, level: float = LEVEL
) -> int | None:
    """The fewest seeds with which a difference is seen four times in five; None beyond 1,000.

    Raises:
        InvalidInput: the difference is not above 0.

    Example:
        >>> count_seeds(0.02, 0.01)
        7
    """
    check_difference(difference, where="difference")
    if deviation == 0:
        return 2
    counts = range(2, MOST_SEEDS + 1)
    at = bisect_left(
        counts,
        POWER,
        key=lambda seeds: find_power(difference, deviation, seeds, paired=paired, level=level),
    )
    return counts[at] if at < len(counts) else None


def check_difference(difference: float, *, where: str) -> None:
    """See that a difference is one that can be looked for.

    Args:
        where: it was said, for the error.

    Raises:
        InvalidInput: it is not above 0.
    """
    check_above_zero(
        difference,
        f"a difference of {difference}",
        where=where,
        expected="a number above 0, in the units of the metric",
        do="give the smallest difference that would change what you do, such as 0.01",
    )
