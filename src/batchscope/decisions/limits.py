"""What a training must keep to: a deadline."""

import math
from collections.abc import Mapping
from statistics import NormalDist

from batchscope.errors import CannotTell, check_above_zero
from batchscope.estimate import Estimate, Interval, write_number

_NORMAL = NormalDist()


def check_deadline(seconds: float) -> None:
    """See that a deadline leaves time to train.

    Raises:
        InvalidInput: it is not above 0.
    """
    check_above_zero(
        seconds,
        f"a deadline of {seconds:g} s leaves no time to train",
        where="--deadline",
        expected="a time above 0",
        do="write for example 90s, 20min or 2h",
    )


def keep_in_time(
    seconds: Mapping[int, Estimate], deadline: float, *, task: str, target: str
) -> set[int]:
    """The batch sizes whose predicted training ends before a deadline.

    Args:
        seconds: batch size -> prediction of one fresh training.

    Raises:
        CannotTell: there is none; the nearest is named.
    """
    known = {b: took for b, took in seconds.items() if isinstance(took, Interval)}
    found = {b for b, took in known.items() if took.value <= deadline}
    if found:
        return found
    nearest = min(known, key=lambda b: known[b].value, default=None)
    near = "no batch size reached the target with all of at least two seeds"
    if nearest is not None:
        near = f"the nearest is batch size {nearest} with {known[nearest]}"
    raise CannotTell(
        f"no training gets to {target} within the deadline of {write_number(deadline)} s: {near}",
        where=f"recommend {task}",
        expected="a deadline that a training can meet",
        do="a later --deadline, an easier --target, or more --devices",
    )


def chance_in_time(seconds: Interval, deadline: float) -> float:
    """That a training ends before a deadline, its log being normal as the prediction takes it.

    Example:
        >>> took = Interval(value=100.0, low=50.0, high=200.0, unit="s")
        >>> round(chance_in_time(took, 100.0), 2), round(chance_in_time(took, 200.0), 3)
        (0.5, 0.975)
    """
    half = (math.log(seconds.high) - math.log(seconds.low)) / 2
    z = _NORMAL.inv_cdf((1 + seconds.confidence) / 2)
    off = math.log(deadline) - math.log(seconds.value)
    if half == 0:
        return float(off >= 0)
    return _NORMAL.cdf(z * off / half)
