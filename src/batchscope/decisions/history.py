"""What other tasks say of a task with too few batch sizes for a curve of its own."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from batchscope.decisions.prediction import moderate_spread
from batchscope.estimate import Interval
from batchscope.findings.scaling import ScalingFit, StepsToTarget, fit_scaling

_LEAST_TASKS = 3
_CONFIDENCE = 0.9
_DRAWS = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """How the steps of other tasks fall with the batch size.

    Attributes:
        critical: task -> the batch size at which its steps are twice the least, in examples.
        error: the median of what they are off by when each task in turn is predicted from one of
            its batch sizes and the other tasks, as a share; None with too few for that.
    """

    critical: Mapping[str, float]
    error: float | None

    def predict(self, runs: Sequence[StepsToTarget], batch_size: int) -> Interval:
        """Mean examples at a batch size, from those at the nearest one that was run.

        Steps are taken to fall as 1 + B_c / B, and the log of B_c to be normal over tasks, of
        unknown mean and deviation.

        Args:
            runs: of which one at least got to the target.
        """
        reached = [run for run in runs if not run.is_censored]
        steps = _predict(list(self.critical.values()), reached, batch_size)
        return Interval(
            value=batch_size * steps.value,
            low=batch_size * steps.low,
            high=batch_size * steps.high,
            unit="examples",
            confidence=steps.confidence,
        )

    def to_dict(self) -> dict[str, object]:
        """The history as JSON."""
        return {"critical": dict(self.critical), "error": self.error}


def read_history(tasks: Mapping[str, Sequence[StepsToTarget]]) -> History | None:
    """The critical batch sizes of tasks, as far as their runs tell them.

    Args:
        tasks: name -> its runs at their batch size's best learning rate.

    Returns:
        None with fewer than three: nothing is known of how far tasks are apart.
    """
    critical: dict[str, float] = {}
    for name, runs in tasks.items():
        fit = fit_scaling(runs)
        if (
            isinstance(fit, ScalingFit)
            and isinstance(fit.critical, Interval)
            and fit.misses is None
        ):
            critical[name] = fit.critical.value
    if len(critical) < _LEAST_TASKS:
        return None
    errors = [
        error
        for name in critical
        if len(critical) > _LEAST_TASKS
        for error in _leave_out(
            [value for other, value in critical.items() if other != name], tasks[name]
        )
    ]
    return History(critical=critical, error=median(errors) if errors else None)


def _leave_out(critical: Sequence[float], runs: Sequence[StepsToTarget]) -> list[float]:
    """How far a task's batch sizes are off when its middle one predicts the others."""
    reached = [run for run in runs if not run.is_censored]
    sizes = sorted({run.batch_size for run in reached})
    middle = sizes[len(sizes) // 2]
    own = [run for run in reached if run.batch_size == middle]
    errors: list[float] = []
    for size in sizes:
        if size != middle:
            mean = math.exp(np.mean([math.log(r.steps) for r in reached if r.batch_size == size]))
            errors.append(abs(_predict(critical, own, size).value / mean - 1))
    return errors


def _predict(
    critical: Sequence[float], reached: Sequence[StepsToTarget], batch_size: int
) -> Interval:
    base = min({run.batch_size for run in reached}, key=lambda b: abs(math.log(b / batch_size)))
    logs = [math.log(run.steps) for run in reached if run.batch_size == base]
    rng = np.random.default_rng(0)
    known = np.log(critical)
    spread = float(np.std(known, ddof=1)) * math.sqrt(1 + 1 / len(known))
    drawn = float(np.mean(known)) + spread * rng.standard_t(len(known) - 1, _DRAWS)
    deviation, freedom = moderate_spread(logs, [])
    noise = deviation / math.sqrt(len(logs)) * rng.standard_t(freedom, _DRAWS)
    moved = np.logaddexp(0, drawn - math.log(batch_size)) - np.logaddexp(0, drawn - math.log(base))
    tail = (1 - _CONFIDENCE) / 2
    low, value, high = np.exp(np.quantile(np.mean(logs) + noise + moved, [tail, 0.5, 1 - tail]))
    return Interval(
        value=float(value), low=float(low), high=float(high), unit="steps", confidence=_CONFIDENCE
    )
