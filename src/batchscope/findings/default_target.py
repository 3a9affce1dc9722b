"""A target for a task that has none: what nearly every seed of the best setting reaches."""

import numpy as np

from batchscope.budget import Target
from batchscope.findings.tuning import Ranking, TunedSize

_WORSE = 0.25
_DEVIATIONS = 3.0


def derive_target(sizes: list[TunedSize], ranking: Ranking) -> Target | None:
    """The best size's final value, worsened by a quarter or three seed deviations.

    Whichever is easier: a target at the noise floor is reached by luck. Validation loss stands in
    where the metric's best is perfect on every seed, since nothing is a quarter worse than 0.

    Returns:
        None where no size has two seeds.
    """
    several = [size for size in sizes if len(size.curves) >= 2]
    if not several:
        return None
    for metric, higher in ((ranking.quality, ranking.higher), ("val_loss", False)):
        sign = -1.0 if higher else 1.0
        finals = [
            sign * np.array([curve.columns[metric][-1] for curve in size.curves if curve.finished])
            for size in several
        ]
        best = min(finals, key=lambda values: float(np.mean(values)))
        value, deviation = float(np.mean(best)), float(np.std(best, ddof=1))
        slack = max(_quarter(sign * value, higher), _DEVIATIONS * deviation)
        if slack > 0:
            break
    return Target(metric, _round(sign * (value + slack)), ">=" if higher else "<=")


def _quarter(value: float, higher: bool) -> float:
    """A quarter of what is lost: of 1 - value for a share that is better when higher."""
    if higher and 0 <= value <= 1:
        return _WORSE * (1 - value)
    return _WORSE * abs(value)


def _round(value: float) -> float:
    """Three significant digits: what is printed is what is used."""
    return float(f"{value:.3g}")
