"""How the critical batch size grows with the size of the data, of the model, or the like."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from batchscope.estimate import Estimate, Interval, NotIdentified
from batchscope.findings.critical import CriticalBatchSize

_LEAST_JOBS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """The exponents of the critical batch sizes in what tells the jobs apart.

    Attributes:
        column: whose values are numbers above 0.
        b_2x, b_20: exponents; 0 where the critical batch size does not move.
    """

    column: str
    b_2x: Estimate
    b_20: Estimate

    def to_dict(self) -> dict[str, object]:
        """The exponents as JSON."""
        return {"column": self.column, "b_2x": self.b_2x.to_dict(), "b_20": self.b_20.to_dict()}

    def __str__(self) -> str:
        return (
            f"B_2x grows as {self.column} to the power {self.b_2x}, B_20 to the power {self.b_20}."
        )


def find_growth(column: str, jobs: Mapping[str, CriticalBatchSize]) -> Growth | None:
    """Fit log B_2x and log B_20 against the log of a column (Zhang et al. 2024 for data size).

    Each job counts by the width of its own interval; where the jobs scatter about the line by
    more, that scatter counts.

    Args:
        jobs: value of the column -> the critical batch sizes of that job.

    Returns:
        None where the column's values are no numbers above 0, or fewer than two.
    """
    values: dict[str, float] = {}
    for name in jobs:
        try:
            values[name] = float(name)
        except ValueError:
            return None
    if len(values) < 2 or not all(0 < value < math.inf for value in values.values()):
        return None
    return Growth(
        column=column,
        b_2x=_fit([(math.log(values[name]), job.b_2x) for name, job in jobs.items()]),
        b_20=_fit([(math.log(values[name]), job.b_20) for name, job in jobs.items()]),
    )


def _fit(points: list[tuple[float, Estimate]]) -> Estimate:
    known = [
        (x, math.log(b.value), math.log(b.high / b.low) / 3.92)
        for x, b in points
        if isinstance(b, Interval) and 0 < b.low < b.high < math.inf
    ]
    if len(known) < _LEAST_JOBS:
        return NotIdentified(
            reason=f"{len(known)} job{'s' if len(known) != 1 else ''} bound it on both sides",
            remedy="three jobs with batch sizes on both sides of it",
        )
    x, y, errors = map(np.array, zip(*known, strict=True))
    (slope, level), covariance = np.polyfit(x, y, 1, w=1 / errors, cov="unscaled")
    freedom = len(known) - 2
    scatter = float(np.sum(((y - slope * x - level) / errors) ** 2)) / freedom
    error = math.sqrt(float(covariance[0, 0]) * max(1.0, scatter))
    # Where each job's own interval says the error, it is known; else the jobs' scatter is.
    half = error * float(stats.t.ppf(0.975, freedom) if scatter > 1 else stats.norm.ppf(0.975))
    value = float(slope)
    return Interval(value=value, low=value - half, high=value + half, unit="")
