"""What is known of one batch size at its best learning rate."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from batchscope.budget import Target
from batchscope.estimate import Estimate, NotIdentified, finite_or_none
from batchscope.findings.curves import Curve, test_column
from batchscope.findings.seeds import estimate_over_seeds
from batchscope.findings.to_target import (
    is_met_untrained,
    is_reached_before,
    need_to_target,
    reach_target,
)
from batchscope.findings.tuning import TunedSize

_NAMED = {"step": "steps", "seconds": "seconds per step"}
_REMEDIES = {
    "step": "--examples-per-epoch N",
    "examples": "a column of examples",
    "seconds": "batchscope profile",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeFindings:
    """What is known of one batch size at its best learning rate.

    Attributes:
        seeds, reached: how many runs, and how many of them got to the target.
        constants: others that were tuned, in words; empty for none.
        at_edge: the best rate was the highest or the lowest tried.
        quality, test_quality, train_loss: at the end of the budget; `test_quality` is None
            without a test set.
        steps, examples, seconds: to the target.
    """

    batch_size: int
    learning_rate: float
    constants: str
    at_edge: bool
    seeds: int
    reached: int
    quality: Estimate
    test_quality: Estimate | None
    train_loss: Estimate
    steps: Estimate
    examples: Estimate
    seconds: Estimate

    def to_dict(self) -> dict[str, object]:
        """The findings as JSON."""
        estimates = ("quality", "train_loss", "steps", "examples", "seconds")
        test = self.test_quality
        return {
            "batch_size": self.batch_size,
            "learning_rate": finite_or_none(self.learning_rate),
            "constants": self.constants,
            "at_edge": self.at_edge,
            "seeds": self.seeds,
            "reached": self.reached,
            **{name: getattr(self, name).to_dict() for name in estimates},
            "test_quality": None if test is None else test.to_dict(),
        }


def describe_size(size: TunedSize, quality: str, target: Target | None, unit: str) -> SizeFindings:
    """What the seeds of a size say together."""
    curves = size.curves
    reached = [] if target is None else [reach_target(c, target, "examples") for c in curves]
    test = test_column(quality)
    return SizeFindings(
        batch_size=size.batch_size,
        learning_rate=size.learning_rate,
        constants=size.constants,
        at_edge=size.at_edge,
        seeds=len(curves),
        reached=sum(map(math.isfinite, reached)),
        quality=_final(curves, quality),
        test_quality=_final(curves, test) if all(test in c.columns for c in curves) else None,
        train_loss=_final(curves, "train_loss"),
        steps=_to_target(curves, target, "step", "steps"),
        examples=_to_target(curves, target, "examples", unit),
        seconds=_to_target(curves, target, "seconds", "s"),
    )


def _final(curves: Sequence[Curve], column: str) -> Estimate:
    values = [float(c.columns[column][-1]) if c.finished else math.inf for c in curves]
    return estimate_over_seeds(values, unit="", bounds=_natural_bounds(column, curves))


def _natural_bounds(column: str, curves: Sequence[Curve]) -> tuple[float, float]:
    """0 for what was never below it, and 1 for a metric that was never above it."""
    seen = np.concatenate([curve.columns[column] for curve in curves])
    seen = seen[np.isfinite(seen)]
    low = 0.0 if len(seen) and seen.min() >= 0 else -math.inf
    is_share = low == 0.0 and seen.max() <= 1 and not column.endswith("loss")
    return low, 1.0 if is_share else math.inf


def _to_target(curves: Sequence[Curve], target: Target | None, axis: str, unit: str) -> Estimate:
    if target is None:
        return NotIdentified(
            reason="no target, and no seed repeats to derive one from",
            remedy="--seeds 3, or --target",
            unit=unit,
        )
    needed = [need_to_target(curve, target, axis) for curve in curves]
    if any(math.isnan(c.columns[axis][-1]) for c in curves if len(c.columns[axis])):
        return NotIdentified(
            reason=f"{_NAMED.get(axis, axis)} were not measured", remedy=_REMEDIES[axis], unit=unit
        )
    early = [c for c in curves if is_reached_before(c, target)]
    if early:
        return NotIdentified(
            reason=f"{len(early)} of {len(curves)} seeds were there when first looked at",
            remedy="an evaluation before it, or a harder --target",
            unit=unit,
            high=max(needed) if math.isfinite(max(needed)) else None,
        )
    untrained = sum(is_met_untrained(curve, target) for curve in curves)
    if 2 * untrained > len(curves):
        return NotIdentified(
            reason=f"{untrained} of {len(curves)} seeds were there untrained",
            remedy="a harder --target",
            unit=unit,
        )
    estimate = estimate_over_seeds(needed, unit=unit, log=True)
    if isinstance(estimate, NotIdentified) and not math.isfinite(max(needed)):
        horizon = min(float(c.columns[axis][-1]) for c in curves)
        return NotIdentified(reason=estimate.reason, remedy=estimate.remedy, unit=unit, low=horizon)
    return estimate
