"""How the best learning rate moves with the batch size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from batchscope.estimate import Estimate, Interval, NotIdentified
from batchscope.findings.curves import Curve
from batchscope.findings.tuning import TunedSize

_RULES = {"constant": 0.0, "square root": 0.5, "linear": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class RateExponent:
    """The exponent p of rate ~ B^p through the best rates.

    Attributes:
        exponent: over the batch sizes whose best rate lies between others that were tried.
        agrees_with: published rules whose exponent lies in the interval.
        saturates_at: the batch size from which the best rate rises no more; None where it does
            to the end.
    """

    exponent: Estimate
    agrees_with: tuple[str, ...]
    saturates_at: int | None

    def to_dict(self) -> dict[str, object]:
        """The exponent as JSON."""
        return {
            **self.exponent.to_dict(),
            "agrees_with": list(self.agrees_with),
            "saturates_at": self.saturates_at,
        }


def find_rate_exponent(tuned: Sequence[TunedSize], curves: Sequence[Curve]) -> RateExponent:
    """Fit a power law to the best rates, each uncertain by the grid that it was chosen from.

    A rate that was the best of a grid of spacing h in its log is uncertain by h / sqrt(12); where
    the rates scatter about the line by more, that scatter counts.
    """
    points: list[tuple[float, float, float]] = []
    for size in tuned:
        tried = sorted({c.learning_rate for c in curves if c.batch_size == size.batch_size})
        if len(tried) < 3 or size.at_edge or not all(rate > 0 for rate in tried):
            continue
        at = tried.index(size.learning_rate)
        span = math.log(tried[at + 1] / tried[at - 1]) / 2
        points.append(
            (math.log(size.batch_size), math.log(size.learning_rate), span / math.sqrt(12))
        )
    exponent = _fit(points)
    inside = (
        tuple(name for name, p in _RULES.items() if exponent.low <= p <= exponent.high)
        if isinstance(exponent, Interval)
        else ()
    )
    return RateExponent(exponent=exponent, agrees_with=inside, saturates_at=_find_saturation(tuned))


def _fit(points: Sequence[tuple[float, float, float]]) -> Estimate:
    if len(points) < 3:
        return NotIdentified(
            reason=f"at {len(points)} batch size{'' if len(points) == 1 else 's'} the best rate "
            "lies between two others",
            remedy="three rates or more at three batch sizes, the best not at the edge",
            unit="",
        )
    sizes, rates, errors = map(np.array, zip(*points, strict=True))
    line, covariance = np.polyfit(sizes, rates, 1, cov="unscaled")
    rest = rates - np.polyval(line, sizes)
    variance = max(float(rest @ rest) / (len(points) - 2), float(np.mean(errors**2)))
    error = math.sqrt(variance * float(covariance[0, 0]))
    half = float(stats.t.ppf(0.975, len(points) - 2)) * error
    value = float(line[0])
    return Interval(value=value, low=value - half, high=value + half, unit="")


def _find_saturation(tuned: Sequence[TunedSize]) -> int | None:
    """The smallest size that no larger one's best rate exceeds, of at least two larger ones.

    Sizes whose best rate was the highest or the lowest tried say nothing of it.
    """
    inside = [size for size in tuned if not size.at_edge and size.learning_rate > 0]
    for place, size in enumerate(inside[:-2]):
        if all(other.learning_rate <= size.learning_rate for other in inside[place + 1 :]):
            return size.batch_size
    return None
