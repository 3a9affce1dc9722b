"""What repeats of several settings, few and unequally many, say of each one's mean."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeVar

import numpy as np

# Of the log of what a training needs, over seeds: times to accuracy of published benchmark entries
# vary by up to 14% (Coleman et al. 2019). It counts as much as one pair of seeds.
_USUAL_DEVIATION, _USUAL_FREEDOM = 0.14, 1
# Settings differ in it: what it usually is counts as much as two further seeds.
_ALIKE_FREEDOM = 2

_STANDARD = NormalDist()
_Setting = TypeVar("_Setting", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """A mean that is not known exactly: normal, with this mean and standard deviation."""

    mean: float
    deviation: float


def believe_means(logs: Mapping[_Setting, Sequence[float]]) -> dict[_Setting, Belief]:
    """The mean log of each setting, by its own repeats and a deviation that settings share in part.

    Args:
        logs: setting -> the log of what each of its repeats took, at least one, all finite.

    Example:
        >>> found = believe_means({"once": [0.0], "often": [0.3, 0.5] * 8})
        >>> found["once"].deviation > 3 * found["often"].deviation
        True
    """
    shown = {setting: _show_variance(own) for setting, own in logs.items()}
    total = sum(squares for squares, _ in shown.values())
    freedom = sum(own_freedom for _, own_freedom in shown.values())
    variances = {
        setting: _moderate(squares, own_freedom, total - squares, freedom - own_freedom)
        for setting, (squares, own_freedom) in shown.items()
    }
    return {
        setting: Belief(
            mean=float(np.mean(own)), deviation=math.sqrt(variances[setting] / len(own))
        )
        for setting, own in logs.items()
    }


def expect_gain(best: Belief, other: Belief) -> float:
    """What the other would take less, in the log, where it is the better one after all: the mean of
    that and of nothing where it is not.

    Example:
        >>> even = Belief(mean=0.0, deviation=1.0)
        >>> round(expect_gain(even, even), 3)  # 1 / sqrt(pi)
        0.564
    """
    deviation = math.hypot(best.deviation, other.deviation)
    ahead = best.mean - other.mean
    if deviation == 0:
        return max(0.0, ahead)
    score = ahead / deviation
    return ahead * _STANDARD.cdf(score) + deviation * _STANDARD.pdf(score)


def moderate_spread(own: Sequence[float], others: Sequence[Sequence[float]]) -> tuple[float, int]:
    """The deviation over seeds of a setting with few of them, and its degrees of freedom.

    Args:
        own: the logs of seeds, all finite.
        others: those of other settings; of one seed, or with one that is not finite, they say
            nothing.

    Source: the moderated variance of Smyth 2004 (Stat. Appl. Genet. Mol. Biol. 3).

    Example:
        >>> deviation, freedom = moderate_spread([0.0, 0.2], [])
        >>> round(deviation, 2), freedom
        (0.14, 3)
    """
    known = [logs for logs in others if all(map(math.isfinite, logs))]
    elsewhere = [_show_variance(logs) for logs in known]
    squares, freedom = _show_variance(own)
    variance = _moderate(
        squares, freedom, sum(s for s, _ in elsewhere), sum(f for _, f in elsewhere)
    )
    return math.sqrt(variance), _ALIKE_FREEDOM + freedom


def _show_variance(logs: Sequence[float]) -> tuple[float, int]:
    """The squares about the mean, and their degrees of freedom."""
    return float(np.var(logs)) * len(logs), len(logs) - 1


def _moderate(squares: float, freedom: int, other_squares: float, other_freedom: int) -> float:
    """The variance of a setting, from its own squares and from those of others."""
    usual = (_USUAL_FREEDOM * _USUAL_DEVIATION**2 + other_squares) / (
        _USUAL_FREEDOM + other_freedom
    )
    return (_ALIKE_FREEDOM * usual + squares) / (_ALIKE_FREEDOM + freedom)
