"""What other tasks say of a task with too few batch sizes for a curve of its own."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Self

import numpy as np

from batchscope.estimate import Estimate, Interval, NotIdentified
from batchscope.findings.beliefs import moderate_spread
from batchscope.findings.scaling import SD_PER_DOUBLING, ScalingFit, fit_scaling
from batchscope.findings.scaling_posterior import ALPHA, ALPHA_SD
from batchscope.findings.to_target import StepsToTarget

_LEAST_TASKS = 3
_CONFIDENCE = 0.9
_DRAWS = 4000

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """How the steps of other tasks fall with the batch size.

    Attributes:
        critical: task -> the batch size at which its steps are twice the least, in examples.
        unbounded: tasks that do not count, since their runs bound it on one side at most.
        error: the median of what they are off by when each task in turn is predicted from one of
            its batch sizes and the other tasks, as a share; None with too few for that.
    """

    critical: Mapping[str, Interval]
    unbounded: tuple[str, ...] = ()
    error: float | None = None

    def predict(self, runs: Sequence[StepsToTarget], batch_size: int) -> Estimate:
        """Mean examples at a batch size, from those at the one or two that were run.

        Steps are taken to fall as 1 + (B_c / B)^alpha, the log of B_c to be normal over tasks, of
        unknown mean and deviation, and alpha as the curve of a study takes it. Of two sizes that
        were run the ratio says which B_c are likely. The interval widens by a tenth per doubling
        from the nearest of them.

        Args:
            runs: of the task. Batch sizes count whose every run got to the target.
        """
        here = [run for run in runs if run.batch_size == batch_size and run.is_censored]
        reached = _reached(runs)
        if here or not reached:
            spent = max((run.steps for run in here), default=0.0) * batch_size
            return NotIdentified(
                reason=f"not every run of batch size {batch_size} got to the target"
                if here
                else "at no batch size did every run get to the target",
                remedy="an easier target, or a larger budget",
                unit="examples",
                low=spent or None,
            )
        values = [found.value for found in self.critical.values()]
        steps = _predict(values, reached, batch_size)
        return Interval(
            value=batch_size * steps.value,
            low=batch_size * steps.low,
            high=batch_size * steps.high,
            unit="examples",
            confidence=steps.confidence,
        )

    def to_dict(self) -> dict[str, object]:
        """The history as JSON."""
        return {
            "critical": {name: found.to_dict() for name, found in self.critical.items()},
            "unbounded": list(self.unbounded),
            "error": self.error,
        }


@dataclass(frozen=True, slots=True)
class OtherTask:
    """What a study showed of another task.

    Attributes:
        runs: at their batch size's best learning rate.
        critical: the critical batch size; None where the runs bound it on one side at most.
    """

    runs: Sequence[StepsToTarget]
    critical: Interval | None

    @classmethod
    def of(cls, runs: Sequence[StepsToTarget]) -> Self:
        """By the curve of its runs."""
        fit = fit_scaling(runs)
        if not isinstance(fit, ScalingFit) or fit.misses is not None:
            return cls(runs, None)
        return cls(runs, fit.critical if isinstance(fit.critical, Interval) else None)


def read_history(tasks: Mapping[str, OtherTask]) -> History | None:
    """The critical batch sizes of tasks, as far as their runs tell them.

    Returns:
        None with fewer than three: nothing is known of how far tasks are apart.
    """
    critical = {name: task.critical for name, task in tasks.items() if task.critical is not None}
    if len(critical) < _LEAST_TASKS:
        return None
    errors = [
        error
        for name in critical
        if len(critical) > _LEAST_TASKS
        for error in _leave_out(
            [size.value for other, size in critical.items() if other != name], tasks[name].runs
        )
    ]
    return History(
        critical=critical,
        unbounded=tuple(name for name in tasks if name not in critical),
        error=median(errors) if errors else None,
    )


def _leave_out(critical: Sequence[float], runs: Sequence[StepsToTarget]) -> list[float]:
    """How far a task's batch sizes are off when its middle one predicts the others."""
    reached = _reached(runs)
    if not reached:
        return []
    sizes = sorted(reached)
    middle = sizes[len(sizes) // 2]
    own = {middle: reached[middle]}
    return [
        abs(_predict(critical, own, size).value / math.exp(np.mean(reached[size])) - 1)
        for size in sizes
        if size != middle
    ]


def _reached(runs: Sequence[StepsToTarget]) -> dict[int, list[float]]:
    """Batch size -> logs of steps, of sizes whose every run got there."""
    failed = {run.batch_size for run in runs if run.is_censored}
    logs: dict[int, list[float]] = {}
    for run in runs:
        if run.batch_size not in failed:
            logs.setdefault(run.batch_size, []).append(math.log(run.steps))
    return logs


def _predict(
    critical: Sequence[float], own: Mapping[int, Sequence[float]], batch_size: int
) -> Interval:
    rng = np.random.default_rng(0)
    known = np.log(critical)
    over_tasks = float(np.std(known, ddof=1)) * math.sqrt(1 + 1 / len(known))
    drawn: Array = float(np.mean(known)) + over_tasks * rng.standard_t(len(known) - 1, _DRAWS)
    alpha: Array = ALPHA + ALPHA_SD * rng.standard_normal(_DRAWS)

    def shape(size: float) -> Array:
        return np.logaddexp(0, alpha * (drawn - math.log(size)))

    first, *others = own.values()
    deviation, freedom = moderate_spread(first, others)
    counts = np.array([len(logs) for logs in own.values()])
    levels: Array = np.stack([np.mean(logs) - shape(size) for size, logs in own.items()], axis=1)
    level: Array = levels @ counts / counts.sum()
    apart: Array = np.square(levels - level[:, None]) @ counts / deviation**2
    # Student's t of what the sizes leave, its scale known with these degrees of freedom.
    likely = (1 + apart / freedom) ** (-(freedom + len(own) - 1) / 2)
    kept = rng.choice(_DRAWS, size=_DRAWS, p=likely / likely.sum())
    away = min(abs(math.log2(batch_size / size)) for size in own)
    noise: Array = deviation / math.sqrt(counts.sum()) * rng.standard_t(freedom, _DRAWS)
    bend: Array = SD_PER_DOUBLING * away * rng.standard_normal(_DRAWS)
    logs: Array = (level + shape(batch_size))[kept] + noise + bend
    tail = (1 - _CONFIDENCE) / 2
    low, value, high = np.exp(np.quantile(logs, [tail, 0.5, 1 - tail]))
    return Interval(
        value=float(value), low=float(low), high=float(high), unit="steps", confidence=_CONFIDENCE
    )
