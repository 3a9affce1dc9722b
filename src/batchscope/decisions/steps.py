"""Examples to a target at batch sizes that were never run, checked by leaving each one out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from batchscope.budget import Target
from batchscope.decisions.other_tasks import History
from batchscope.estimate import Estimate, Interval, NotIdentified, scale
from batchscope.findings.critical import observe
from batchscope.findings.scaling import LEAST_SIZES, ScalingFit, fit_scaling
from batchscope.findings.to_target import StepsToTarget, bracket_target
from batchscope.findings.tuning import TunedSize

_CONFIDENCE = 0.9
# Evaluations closer than this are fine enough to tell batch sizes apart, as a log ratio.
_FINE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """What the other batch sizes predict of one that was run, beside what it needed.

    Attributes:
        measured: examples, geometric mean over seeds.
        predicted: from the others alone.
    """

    batch_size: int
    measured: float
    predicted: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamplesForecast:
    """Examples to a target.

    Attributes:
        examples: batch size -> examples.
        left_out: of each batch size that was run.
        error: the median of what leaving one out is off by, as a share; None where nothing was.
        history: of other tasks, where there were too few batch sizes and it stood in.
    """

    target: Target
    examples: Mapping[int, Estimate]
    left_out: tuple[LeftOut, ...]
    error: float | None
    history: History | None = None

    def to_dict(self) -> dict[str, object]:
        """The forecast as JSON."""
        return {
            "target": str(self.target),
            "examples": {str(size): found.to_dict() for size, found in self.examples.items()},
            "left_out": [
                {
                    "batch_size": one.batch_size,
                    "measured": one.measured,
                    "predicted": one.predicted.to_dict(),
                }
                for one in self.left_out
            ],
            "error": self.error,
            "history": None if self.history is None else self.history.to_dict(),
        }


def observe_sizes(sizes: Sequence[TunedSize], target: Target) -> dict[int, list[StepsToTarget]]:
    """Batch size -> what its runs needed to a target."""
    # What the curve leaves already holds the error of interpolating between evaluations.
    return {
        size.batch_size: [
            replace(run, gap=0.0) for c in size.curves if (run := observe(c, target)) is not None
        ]
        for size in sizes
    }


def is_too_few(runs: Mapping[int, Sequence[StepsToTarget]]) -> bool:
    """Whether some batch sizes got to the target, and fewer than a curve takes."""
    reached = [size for size, some in runs.items() if not all(run.is_censored for run in some)]
    return 0 < len(reached) < LEAST_SIZES


def forecast_examples(
    sizes: Sequence[TunedSize],
    target: Target,
    batch_sizes: Sequence[int],
    *,
    history: History | None = None,
) -> ExamplesForecast:
    """Predict what batch sizes need that were never run, by the fitted curve of steps.

    Args:
        sizes: that were run, at their best rates.
        batch_sizes: to predict.
        history: of other tasks, which stands in where the runs are too few for a curve.
    """
    runs = observe_sizes(sizes, target)
    coarse = _find_coarse(sizes, target)
    everything = [run for some in runs.values() for run in some]
    used = history if coarse is None and is_too_few(runs) else None
    predict = _predict if used is None else used.predict
    left_out: list[LeftOut] = []
    for size, own in runs.items():
        if not own or any(run.is_censored for run in own):
            continue
        others = [run for run in everything if run.batch_size != size]
        measured = size * math.exp(float(np.mean([math.log(run.steps) for run in own])))
        predicted = coarse or predict(others, size)
        left_out.append(LeftOut(batch_size=size, measured=measured, predicted=predicted))
    errors = [
        abs(one.predicted.value / one.measured - 1)
        for one in left_out
        if isinstance(one.predicted, Interval)
    ]
    return ExamplesForecast(
        target=target,
        examples={size: coarse or predict(everything, size) for size in batch_sizes},
        left_out=tuple(left_out),
        error=float(np.median(errors)) if errors else None,
        history=used,
    )


def _predict(runs: Sequence[StepsToTarget], batch_size: int) -> Estimate:
    fit = fit_scaling(runs)
    if isinstance(fit, ScalingFit) and fit.misses is not None:
        return NotIdentified(
            reason=f"the curve misses batch size {fit.misses}",
            remedy="run the batch size itself",
            unit="examples",
        )
    if not isinstance(fit, ScalingFit):
        return NotIdentified(reason=fit.reason, remedy=fit.remedy, unit="examples")
    return scale(fit.predict(batch_size, confidence=_CONFIDENCE), batch_size, unit="examples")


def _find_coarse(sizes: Sequence[TunedSize], target: Target) -> NotIdentified | None:
    """Where all runs may have got to the target at the same place, between two evaluations."""
    ends = [bracket_target(c, target, "examples") for size in sizes for c in size.curves]
    ends = [(before, after) for before, after in ends if math.isfinite(after)]
    if not ends:
        return None
    before, after = max(low for low, _ in ends), min(high for _, high in ends)
    if before >= after or (before > 0 and math.log(after / before) < _FINE):
        return None
    return NotIdentified(
        reason="the batch sizes are at most one evaluation apart: cannot tell",
        remedy="evaluations several times an epoch",
        unit="examples",
    )
