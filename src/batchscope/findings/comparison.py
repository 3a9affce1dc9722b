"""Two settings over paired seeds: the difference, what it excludes, and what could be seen."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from batchscope.estimate import Estimate, Interval, NotIdentified, write_number
from batchscope.findings.power import find_power
from batchscope.findings.seeds import estimate_median

LEVEL = 0.05
# Of the largest value: what rounding leaves between runs that are the same.
ROUNDING = 1e-9
_HUGE = 1e300


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How much worse one setting is than another; values are such that lower is better.

    Attributes:
        difference: of the second from the first, above 0 where the second is worse.
        p_worse, p_better: of the one-sided tests that the second is worse, and better.
        p_below, p_above: of the one-sided tests that the difference is below `margin`, and above
            -`margin`; both below 5% show that the two are equivalent.
        seeds: pairs.
        censored: pairs of which a run has no finite value.
        deviation: of one run about the means of its setting and seed; NaN where unknown.
    """

    difference: Estimate
    p_worse: float
    p_better: float
    p_below: float
    p_above: float
    margin: float
    seeds: int
    censored: int
    deviation: float = math.nan

    @property
    def is_equivalent(self) -> bool:
        """Whether the difference is shown to be within the margin on both sides."""
        return max(self.p_below, self.p_above) < LEVEL

    @property
    def is_worse(self) -> bool:
        """Whether the second is shown to be worse."""
        return self.p_worse < LEVEL / 2

    @property
    def is_better(self) -> bool:
        """Whether the second is shown to be better."""
        return self.p_better < LEVEL / 2

    @property
    def power(self) -> float | None:
        """The chance that a difference of `margin` is seen; None where no spread is known."""
        if not 0 < self.deviation < math.inf:
            return None
        return find_power(self.margin, self.deviation, self.seeds)

    @property
    def p_different(self) -> float:
        """Two-sided."""
        return min(1.0, 2 * min(self.p_worse, self.p_better))


def compare_settings(
    first: Mapping[int, float],
    second: Mapping[int, float],
    *,
    margin: float,
    unit: str = "",
    spread: tuple[float, int] | None = None,
) -> Comparison:
    """Compare two settings over the seeds that both have.

    Without a seed in common it is Welch's t of all of them.

    Where all values are finite: Student's t of the paired differences. Where a run is censored
    (infinite: it diverged, or never got there): the median difference between order statistics and
    sign tests, in which a pair whose two runs are both censored counts against whatever is to
    be shown.

    Args:
        first, second: seed -> value, lower is better.
        margin: above 0, in the units of the values.
        spread: the deviation of one run about the means of its setting and seed, and its degrees of
            freedom, pooled over more settings than these two; None for that of these pairs.
    """
    seeds = sorted(set(first) & set(second))
    pairs = [(first[seed], second[seed]) for seed in seeds]
    if spread is None and len(pairs) < 2 and min(len(first), len(second)) > 1:
        return _compare_unpaired(first, second, margin=margin, unit=unit)
    differences = np.array([_subtract(b, a) for a, b in pairs])
    censored = int(sum(not (math.isfinite(a) and math.isfinite(b)) for a, b in pairs))
    if censored:
        return _compare_censored(differences, margin=margin, unit=unit, censored=censored)
    count = len(differences)
    if spread is not None:
        return _compare_by_pooled(differences, spread, margin=margin, unit=unit)
    deviation = float(np.std(differences, ddof=1)) if count > 1 else 0.0
    largest = max((abs(x) for pair in pairs for x in pair), default=0.0)
    if count < 2 or deviation <= ROUNDING * largest:
        reason = f"{count} paired seed{'s' if count != 1 else ''}"
        if count > 1:
            reason = f"{count} pairs of seeds all differ by {write_number(differences[0])}"
        return _nothing(reason, margin=margin, unit=unit, seeds=count)
    return _compare_by_t(
        float(np.mean(differences)),
        deviation / math.sqrt(count),
        count - 1,
        margin=margin,
        unit=unit,
        seeds=count,
        deviation=deviation / math.sqrt(2),
    )


def _subtract(value: float, other: float) -> float:
    return math.nan if value == other == math.inf else value - other


def _nothing(reason: str, *, margin: float, unit: str, seeds: int) -> Comparison:
    return Comparison(
        difference=NotIdentified(reason=reason, remedy="more seeds", unit=unit),
        p_worse=1.0,
        p_better=1.0,
        p_below=1.0,
        p_above=1.0,
        margin=margin,
        seeds=seeds,
        censored=0,
    )


def _compare_by_pooled(
    differences: np.ndarray, spread: tuple[float, int], *, margin: float, unit: str
) -> Comparison:
    deviation, freedom = spread
    count = len(differences)
    if count == 0 or freedom == 0:
        reason = "no seed is common to both" if count == 0 else "no spread is known"
        return _nothing(reason, margin=margin, unit=unit, seeds=count)
    return _compare_by_t(
        float(np.mean(differences)),
        deviation * math.sqrt(2 / count),
        freedom,
        margin=margin,
        unit=unit,
        seeds=count,
        deviation=deviation,
    )


def _compare_unpaired(
    first: Mapping[int, float], second: Mapping[int, float], *, margin: float, unit: str
) -> Comparison:
    """Welch's t, where the two settings have no seeds in common."""
    a, b = (np.array(list(values.values())) for values in (first, second))
    fewest = min(len(a), len(b))
    parts = [float(np.var(x, ddof=1)) / len(x) for x in (a, b)]
    if not (np.isfinite(a).all() and np.isfinite(b).all()) or sum(parts) == 0:
        return _nothing("no seed is common to both", margin=margin, unit=unit, seeds=0)
    freedom = sum(parts) ** 2 / sum(p**2 / (len(x) - 1) for p, x in zip(parts, (a, b), strict=True))
    return _compare_by_t(
        float(b.mean() - a.mean()),
        math.sqrt(sum(parts)),
        freedom,
        margin=margin,
        unit=unit,
        seeds=fewest,
        deviation=math.sqrt(sum(parts) * fewest / 2),
    )


def _compare_by_t(
    mean: float,
    error: float,
    freedom: float,
    *,
    margin: float,
    unit: str,
    seeds: int,
    deviation: float,
) -> Comparison:
    # Of Student's t; the functions of scipy.stats take a hundred times as long.
    half = float(special.stdtrit(freedom, 1 - LEVEL / 2)) * error

    def chance(distance: float) -> float:
        """That t is below a distance from the mean."""
        if error == 0:
            return 0.5 + 0.5 * float(np.sign(distance))
        return float(special.stdtr(freedom, distance / error))

    return Comparison(
        difference=Interval(value=mean, low=mean - half, high=mean + half, unit=unit),
        p_worse=chance(-mean),
        p_better=chance(mean),
        p_below=chance(mean - margin),
        p_above=chance(-mean - margin),
        margin=margin,
        seeds=seeds,
        censored=0,
        deviation=deviation,
    )


def _compare_censored(
    differences: np.ndarray, *, margin: float, unit: str, censored: int
) -> Comparison:
    unknown = np.isnan(differences)
    lowest = np.where(unknown, -math.inf, differences)
    highest = np.where(unknown, math.inf, differences)
    count = len(differences)

    def shows(holds: np.ndarray) -> float:
        """A sign test's p that this holds for most seeds."""
        return float(stats.binomtest(int(holds.sum()), count, alternative="greater").pvalue)

    return Comparison(
        difference=_between(lowest, highest, unit),
        p_worse=shows(lowest > 0),
        p_better=shows(highest < 0),
        p_below=shows(highest < margin),
        p_above=shows(lowest > -margin),
        margin=margin,
        seeds=count,
        censored=censored,
    )


def _between(lowest: np.ndarray, highest: np.ndarray, unit: str) -> Estimate:
    low, high = (estimate_median(x, unit=unit) for x in (_finite(lowest), _finite(highest)))
    if isinstance(low, NotIdentified) or isinstance(high, NotIdentified):
        return NotIdentified(
            reason=f"{len(lowest)} paired seeds, some without a finite value, are too few",
            remedy="--seeds 6",
            unit=unit,
        )
    ends = (_open(low.low), _open(high.high))
    value = float(np.clip(np.median(_finite(lowest)), *ends))
    if not math.isfinite(_open(value)):
        return NotIdentified(
            reason="most runs have no finite value",
            remedy="a longer --budget",
            unit=unit,
            low=ends[0] if math.isfinite(ends[0]) else None,
        )
    return Interval(value=value, low=ends[0], high=ends[1], unit=unit)


def _finite(values: np.ndarray) -> np.ndarray:
    """Infinite values as huge ones: only their order counts."""
    return np.clip(values, -_HUGE, _HUGE)


def _open(value: float) -> float:
    return math.copysign(math.inf, value) if abs(value) >= _HUGE / 10 else value
