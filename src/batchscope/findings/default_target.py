"""A target for a task that has none: what nearly every seed of the best setting reaches."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from batchscope.budget import Target
from batchscope.findings.tuning import Ranking, TunedSize

_WORSE = 0.25
_DEVIATIONS = 3.0


def derive_target(
    sizes: Sequence[TunedSize], ranking: Ranking, *, least_seeds: int = 2
) -> Target | None:
    """The best size's final value, worsened by a quarter or three seed deviations.

    Whichever is easier, but at most half-way to what an untrained model has: a target at the noise
    floor is reached by luck. A few seeds say little of their own spread, and the best size's is low
    by luck as well; so the deviation is pooled over the better half of the sizes. Validation loss
    stands in where the metric's best is perfect on every seed, since nothing is a quarter worse
    than 0, and where an untrained model is as good by luck.

    Args:
        least_seeds: of a size that counts; one says nothing of the deviation, and a quarter is all
            that is given.

    Returns:
        None where no size has as many seeds that finished, or none got further than an untrained
        model.
    """
    for metric, higher in ((ranking.quality, ranking.higher), ("val_loss", False)):
        sign = -1.0 if higher else 1.0
        finals = [
            sign
            * np.array(
                [
                    c.columns[metric][-1]
                    for c in size.curves
                    if c.finished and math.isfinite(c.columns[metric][-1])
                ]
            )
            for size in sizes
        ]
        several = sorted(
            (x for x in finals if len(x) >= least_seeds), key=lambda x: float(np.mean(x))
        )
        if not several:
            return None
        better_half = several[: math.ceil(len(several) / 2)]
        spreads = [float(np.var(x, ddof=1)) for x in better_half if len(x) > 1]
        deviation = math.sqrt(float(np.mean(spreads))) if spreads else 0.0
        value = float(np.mean(several[0]))
        slack = max(_quarter(sign * value, higher), _DEVIATIONS * deviation)
        room = min(_untrained(sizes, metric, sign), default=math.inf) - value
        slack = min(slack, room / 2)
        if slack > 0:
            target = sign * round_up(value + slack)
            return Target(metric, target, ">=" if higher else "<=")
    return None


def _untrained(sizes: Sequence[TunedSize], metric: str, sign: float) -> Iterator[float]:
    """What runs began with, where they were looked at before their first step."""
    for size in sizes:
        for curve in size.curves:
            start = sign * float(curve.columns[metric][0])
            if curve.columns["step"][0] == 0 and math.isfinite(start):
                yield start


def _quarter(value: float, higher: bool) -> float:
    """A quarter of what is lost: of 1 - value for a share that is better when higher."""
    if higher and 0 <= value <= 1:
        return _WORSE * (1 - value)
    return _WORSE * abs(value)


def round_up(value: float) -> float:
    """Three significant digits, the easier way where less is better: what is printed is used.

    Example:
        >>> round_up(0.12341), round_up(-0.98765)
        (0.124, -0.987)
    """
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 2) if value else 1.0
    return float(f"{math.ceil(value / unit - 1e-9) * unit:.3g}")
