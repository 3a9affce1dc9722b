"""The same comparison at one learning rate, as most people make it."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from batchscope.estimate import NotIdentified, finite_or_none, write_number
from batchscope.findings.comparison import Comparison, compare_settings
from batchscope.findings.curves import Curve, test_column
from batchscope.findings.tuning import Ranking, score_runs


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedRatePoint:
    """One run at the fixed rate, at the end of its budget.

    Attributes:
        quality: on test data where there are any, else on validation data.
    """

    batch_size: int
    seed: int
    quality: float
    train_loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedRate:
    """Every batch size at one learning rate.

    Attributes:
        points: in the order of batch size and seed.
        difference: of the largest size from the smallest, above 0 where the largest is worse.
    """

    learning_rate: float
    points: tuple[FixedRatePoint, ...]
    difference: Comparison

    def to_dict(self) -> dict[str, object]:
        """The comparison as JSON; a training loss that nobody measured is null."""
        points = [
            asdict(point) | {"train_loss": finite_or_none(point.train_loss)}
            for point in self.points
        ]
        return {
            "learning_rate": self.learning_rate,
            "points": points,
            "difference": self.difference.difference.to_dict(),
        }

    @property
    def ends(self) -> tuple[FixedRatePoint, FixedRatePoint]:
        """The smallest and the largest size, with the same seed where there is one."""
        first, largest = self.points[0], self.points[-1].batch_size
        at_largest = [point for point in self.points if point.batch_size == largest]
        paired = [point for point in at_largest if point.seed == first.seed]
        return first, (paired or at_largest)[0]

    def describe(self, name: str) -> str:
        """The smallest and the largest size in words."""
        first, last = self.ends
        found = self.difference.difference
        seeds = (
            f"single runs, seed {first.seed}"
            if isinstance(found, NotIdentified)
            else f"seed {first.seed}; over {self.difference.seeds} seeds worse by {found}"
        )
        return (
            f"{name} {write_number(first.quality)} at batch size {first.batch_size} and "
            f"{write_number(last.quality)} at {last.batch_size}; training loss "
            f"{write_number(first.train_loss)} and {write_number(last.train_loss)} ({seeds})"
        )


def find_fixed_rate(
    curves: Sequence[Curve], ranking: Ranking, *, margin: float
) -> FixedRate | None:
    """The rate that was run at every batch size and is the best at the smallest.

    Args:
        margin: what counts as no difference in quality.

    Returns:
        None where no rate was run at every one of at least two sizes.
    """
    test = test_column(ranking.quality)
    finished = [
        curve
        for curve in curves
        if curve.finished
        and math.isfinite(curve.learning_rate)
        and math.isfinite(curve.columns[ranking.quality][-1])
        and math.isfinite(curve.columns.get(test, curve.columns[ranking.quality])[-1])
    ]
    sizes = sorted({curve.batch_size for curve in curves})
    rates = [{c.learning_rate for c in finished if c.batch_size == size} for size in sizes]
    common = set[float].intersection(*rates) if len(sizes) > 1 else set[float]()
    if not common:
        return None
    smallest = [curve for curve in finished if curve.batch_size == sizes[0]]
    best = min(
        common,
        key=lambda rate: score_runs([c for c in smallest if c.learning_rate == rate], ranking),
    )
    chosen = [curve for curve in finished if curve.learning_rate == best]
    points = (
        FixedRatePoint(
            batch_size=curve.batch_size,
            seed=curve.seed,
            quality=float(curve.columns.get(test, curve.columns[ranking.quality])[-1]),
            train_loss=float(curve.columns["train_loss"][-1]),
        )
        for curve in chosen
    )
    ordered = tuple(sorted(points, key=lambda p: (p.batch_size, p.seed)))
    sign = -1.0 if ranking.higher else 1.0
    ends = (
        {point.seed: sign * point.quality for point in ordered if point.batch_size == size}
        for size in (ordered[0].batch_size, ordered[-1].batch_size)
    )
    return FixedRate(
        learning_rate=best, points=ordered, difference=compare_settings(*ends, margin=margin)
    )
