"""Which batch sizes keep to what a training may take, and how surely."""

import math
from collections.abc import Callable, Iterable, Mapping
from statistics import NormalDist

from batchscope.budget import Target
from batchscope.decisions.terms import Limit
from batchscope.errors import CannotTell
from batchscope.estimate import Estimate, Interval, scale

_NORMAL = NormalDist()


def keep_within(
    seconds: Mapping[int, Estimate],
    limits_at: Callable[[int], Iterable[Limit]],
    *,
    task: str,
    target: Target | None,
) -> set[int]:
    """The batch sizes whose predicted training keeps to every limit.

    Args:
        seconds: batch size -> prediction of one fresh training.
        limits_at: those at a batch size, at least one.
        target: of the training; None for its whole budget.

    Raises:
        CannotTell: there is none; the limit that binds and the nearest size are named.
    """
    known = {b: took for b, took in seconds.items() if isinstance(took, Interval)}
    binding = {b: min(limits_at(b), key=lambda limit: limit.seconds) for b in seconds}
    found = {b for b, took in known.items() if took.value <= binding[b].seconds}
    if found:
        return found
    nearest = min(known, key=lambda b: known[b].value / binding[b].seconds, default=None)
    limit = binding[min(seconds) if nearest is None else nearest]
    near = "no batch size got there with two seeds"
    if nearest is not None:
        took = scale(known[nearest], limit.per_second, unit=limit.unit)
        near = f"the nearest is batch size {nearest} with {took}"
    raise CannotTell(
        f"no training gets to {target or 'the end of its budget'} within {limit.words}: {near}",
        where=f"recommend {task}",
        expected="limits that a training can keep to",
        do="a later --deadline or a higher --max-cost, "
        f"{'a smaller --budget' if target is None else 'an easier --target'}, or more --devices",
    )


def chance_within(seconds: Interval, limit: Limit, *, reach: float = 1.0) -> float:
    """That a training keeps to a limit, its log being normal as the prediction takes it.

    Of an interval with an open end, as wide above its value as below.

    Args:
        reach: how likely it gets to its end at all.

    Example:
        >>> took = Interval(value=100.0, low=50.0, high=200.0, unit="s")
        >>> round(chance_within(took, Limit(seconds=100.0, words="")), 2)
        0.5
    """
    middle = math.log(seconds.value)
    sides = [middle - math.log(seconds.low)] if seconds.low > 0 else []
    sides += [math.log(seconds.high) - middle] if math.isfinite(seconds.high) else []
    half = sum(sides) / len(sides) if sides else math.inf
    z = _NORMAL.inv_cdf((1 + seconds.confidence) / 2)
    off = math.log(limit.seconds) - middle
    if half == 0:
        return reach * (off >= 0)
    return reach * _NORMAL.cdf(z * off / half)
