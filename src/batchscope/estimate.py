"""What a measurement can answer, how it is written, and its products and sums."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from batchscope.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A number with the range that covers its true value.

    Attributes:
        value, low, high: in `unit`, with low <= value <= high; an open end is infinite.
        unit: for example "s/step".
        confidence: nominal coverage, in (0, 1).

    Raises:
        InvalidInput: the three are out of order, or the value is not finite.

    Example:
        >>> str(Interval(value=1243.1, low=1051.0, high=1463.0, unit="images"))
        '1,240 (1,050 to 1,460) images'
    """

    value: float
    low: float
    high: float
    unit: str
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not math.isfinite(self.value) or not self.low <= self.value <= self.high:
            raise InvalidInput(
                f"{self.low} <= {self.value} <= {self.high} is not an interval",
                where="Interval",
                expected="a finite value between its bounds",
                do="check the estimator that gave them",
            )

    def __str__(self) -> str:
        decimals: int | None = _decimals(self)
        if any(end and not round(end, decimals) for end in (self.low, self.value)):
            # What is not nothing must not read 0: each by itself.
            decimals = None
        low, value, high = (
            write_number(x, decimals=decimals) for x in (self.low, self.value, self.high)
        )
        unit = f" {self.unit}" if self.unit else ""
        return f"{value} ({low} to {high}){unit}"

    def to_dict(self) -> dict[str, object]:
        """The estimate as JSON; an open end is null."""
        return {
            "value": self.value,
            "low": finite_or_none(self.low),
            "high": finite_or_none(self.high),
            "unit": self.unit,
            "confidence": self.confidence,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class NotIdentified:
    """The data cannot tell: why, the cheapest experiment that would, and the bound they do give.

    Attributes:
        reason, remedy: a sentence without its full stop each.
        unit: of what was asked for.
        low, high: bounds, in `unit`; None where the data give none.
    """

    reason: str
    remedy: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    confidence: float = 0.95

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        if self.low is not None and self.high is not None:
            ends = f"{write_number(self.low)} and {write_number(self.high)}"
            return f"between {ends}{unit} ({self.reason})"
        if self.low is not None:
            return f"more than {write_number(self.low)}{unit} ({self.reason})"
        if self.high is not None:
            return f"at most {write_number(self.high)}{unit} ({self.reason})"
        return f"not identified ({self.reason})"

    def to_dict(self) -> dict[str, object]:
        """The answer as JSON; `value` is null and `reason` says why."""
        return {
            "value": None,
            "low": self.low,
            "high": self.high,
            "unit": self.unit,
            "confidence": self.confidence,
            "reason": self.reason,
            "remedy": self.remedy,
        }


Estimate = Interval | NotIdentified


def multiply(estimates: Sequence[Estimate], *, unit: str) -> Estimate:
    """The product of independent estimates, whose logs' half-widths add as squares do.

    Its interval is as sure as the least sure of theirs.
    """
    value, low, high = 1.0, 0.0, 0.0
    confidence = min((e.confidence for e in estimates if isinstance(e, Interval)), default=0.95)
    for estimate in estimates:
        if isinstance(estimate, NotIdentified):
            return NotIdentified(reason=estimate.reason, remedy=estimate.remedy, unit=unit)
        if estimate.value <= 0:
            return Interval(value=0.0, low=0.0, high=0.0, unit=unit)
        value *= estimate.value
        below = math.inf if estimate.low <= 0 else math.log(estimate.value / estimate.low)
        low = math.hypot(low, below)
        high = math.hypot(high, math.log(estimate.high / estimate.value))
    return Interval(
        value=value,
        low=value * math.exp(-low),
        high=value * math.exp(high),
        unit=unit,
        confidence=confidence,
    )


def scale(estimate: Estimate, factor: float, *, unit: str) -> Estimate:
    """An estimate times a number from 0 on that is known."""
    if isinstance(estimate, NotIdentified):
        low, high = (None if end is None else factor * end for end in (estimate.low, estimate.high))
        return replace(estimate, low=low, high=high, unit=unit)
    # Nothing of what may be without end is nothing.
    low, value, high = (
        factor * end if factor else 0.0 for end in (estimate.low, estimate.value, estimate.high)
    )
    return Interval(value=value, low=low, high=high, unit=unit, confidence=estimate.confidence)


def shift(estimate: Estimate, by: float) -> Estimate:
    """An estimate and a number that is known."""
    if isinstance(estimate, NotIdentified):
        return estimate
    return Interval(
        value=estimate.value + by,
        low=estimate.low + by,
        high=estimate.high + by,
        unit=estimate.unit,
        confidence=estimate.confidence,
    )


def write_number(value: float, *, decimals: int | None = None) -> str:
    """Write a number for a reader: digit groups, never an exponent that could be avoided.

    Args:
        value: any number, infinite for an open end.
        decimals: digits after the point, negative to round to tens; None for three
            significant digits.

    Example:
        >>> write_number(0.012345), write_number(54321.0), write_number(3e-7)
        ('0.0123', '54,300', '3e-07')
    """
    if math.isnan(value):
        return "unknown"
    if not math.isfinite(value):
        return "unbounded" if value > 0 else "no lower bound"
    if decimals is None:
        decimals = 2 - _magnitude(value)
    if decimals > 7:
        return f"{value:.3g}"
    return f"{round(value, decimals) + 0.0:,.{max(decimals, 0)}f}"


def _decimals(interval: Interval) -> int:
    sides = (interval.high - interval.value, interval.value - interval.low)
    finite = [side for side in sides if math.isfinite(side) and side > 0]
    if not finite:
        return 1 - _magnitude(abs(interval.value) / 10)
    # The shorter side of a lopsided interval must not be rounded away, but a sliver may be.
    return 1 - _magnitude(max(min(finite), sum(finite) / 200))


def _magnitude(value: float) -> int:
    return math.floor(math.log10(abs(value))) if value else 0


def finite_or_none(value: float) -> float | None:
    """A number for JSON, which has no infinity and no NaN."""
    return value if math.isfinite(value) else None
