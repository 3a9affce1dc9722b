"""The critical batch sizes of a target: where steps stop falling, and where examples rise."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from batchscope.budget import Target
from batchscope.estimate import Estimate, Interval, NotIdentified, finite_or_none
from batchscope.findings.curves import Curve
from batchscope.findings.plateau import pooled_deviation
from batchscope.findings.scaling import ScalingFit, fit_scaling
from batchscope.findings.to_target import (
    StepsToTarget,
    bracket_target,
    is_met_untrained,
    is_reached_before,
    relative_steps,
)
from batchscope.findings.tuning import TunedSize

Regime = Literal["perfect scaling", "diminishing returns", "maximal data parallelism"]

_MORE_EXAMPLES = math.log(1.2)
# Shallue et al. 2019 name the regimes; the borders are examples 1.2 times the least, and steps
# 1.2 times the least.
_BORDER = 5.0
_FALLS_BY = 0.05
# Of a log: what rounding leaves between runs that are the same.
_NO_SPREAD = 1e-9
_DRAWS = 4000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CriticalBatchSize:
    """The critical batch sizes at one target.

    Attributes:
        b_2x: where steps are twice the least that any batch size would need.
        b_2x_hyperbola: the same by the form S_min (1 + B_c / B).
        b_20: where examples are 1.2 times those of `smallest`.
        smallest: the smallest batch size measured.
        least_steps, alpha: of the fit.
        regimes: batch size -> its regime; empty where B_2x is not identified.
        falling: batch sizes that need fewer examples than a smaller one does, which no property
            of the batch explains: a learning rate or batch norm does.
        warnings: sentences on what the fit cannot say.
        fit: the curve with its posterior; None where it is not used.
    """

    target: Target
    b_2x: Estimate
    b_2x_hyperbola: Estimate
    b_20: Estimate
    smallest: int
    least_steps: Estimate
    alpha: Estimate
    regimes: Mapping[int, Regime]
    falling: tuple[int, ...]
    warnings: tuple[str, ...]
    fit: ScalingFit | None = None

    def to_dict(self) -> dict[str, object]:
        """The critical batch sizes as JSON."""
        return {
            "target": str(self.target),
            "b_2x": self.b_2x.to_dict(),
            "b_2x_hyperbola": self.b_2x_hyperbola.to_dict(),
            "b_20": self.b_20.to_dict(),
            "smallest": self.smallest,
            "least_steps": self.least_steps.to_dict(),
            "alpha": self.alpha.to_dict(),
            "regimes": {str(size): regime for size, regime in self.regimes.items()},
            "falling": list(self.falling),
            "warnings": list(self.warnings),
        }


def find_critical(sizes: Sequence[TunedSize], target: Target) -> CriticalBatchSize | None:
    """Fit what each batch size's best rate needs to a target.

    Returns:
        None with fewer than two batch sizes.
    """
    if len(sizes) < 2:
        return None
    observed = [observe(curve, target) for size in sizes for curve in size.curves]
    observed = [run for run in observed if run is not None]
    if not observed:
        return None
    fit = fit_scaling(observed)
    nothing = fit if isinstance(fit, NotIdentified) else None
    warnings: list[str] = []
    if isinstance(fit, ScalingFit):
        if fit.misses is not None:
            reason = f"the curve misses batch size {fit.misses} by more than a quarter"
            nothing = NotIdentified(
                reason=reason, remedy="tune the rate there, or leave that size out", unit="examples"
            )
            warnings.append(f"The fit is not used: {reason}.")
        if fit.single_seed:
            warnings.append("With one run at each batch size what the curve leaves is the noise.")
    good = fit if isinstance(fit, ScalingFit) and nothing is None else None
    critical = good.critical if good else _as_nothing(nothing)
    examples = _log_examples(observed)
    noise = fit.deviation if isinstance(fit, ScalingFit) else math.nan
    means, errors = _means(examples, noise)
    return CriticalBatchSize(
        target=target,
        b_2x=critical,
        b_2x_hyperbola=good.hyperbola if good else _as_nothing(nothing),
        b_20=_find_b_20(means, errors, _bound_missed(observed)),
        smallest=min(run.batch_size for run in observed),
        least_steps=_least_steps(good, nothing, sizes),
        alpha=good.alpha if good else _as_nothing(nothing, unit=""),
        regimes=_find_regimes(sizes, critical),
        falling=_find_falling(means, errors),
        warnings=tuple(warnings),
        fit=good,
    )


def _least_steps(
    good: ScalingFit | None, nothing: NotIdentified | None, sizes: Sequence[TunedSize]
) -> Estimate:
    if good is None:
        return _as_nothing(nothing, unit="steps")
    if not all(np.isfinite(c.columns["step"]).all() for s in sizes for c in s.curves):
        return NotIdentified(
            reason="nobody counted steps", remedy="--examples-per-epoch N", unit="steps"
        )
    return good.least_steps


def observe(curve: Curve, target: Target) -> StepsToTarget | None:
    """What a run needed to a target; None of one that diverged or was past it at its first look."""
    # What diverged or was stopped says nothing of how long the others take.
    if not curve.finished or is_reached_before(curve, target) or is_met_untrained(curve, target):
        return None
    if not len(curve.columns["examples"]):
        return None
    needed = relative_steps(curve, target)
    last = float(curve.columns["examples"][-1]) / curve.batch_size
    if not math.isfinite(needed):
        return StepsToTarget(
            batch_size=curve.batch_size, seed=curve.seed, steps=max(last, 1e-9), is_censored=True
        )
    before, after = bracket_target(curve, target, "examples")
    gap = math.log(after / before) if 0 < before < after else 0.0
    return StepsToTarget(
        batch_size=curve.batch_size, seed=curve.seed, steps=max(needed, 1e-9), gap=min(gap, 2.0)
    )


def _as_nothing(reason: NotIdentified | None, *, unit: str = "examples") -> NotIdentified:
    assert reason is not None
    return NotIdentified(reason=reason.reason, remedy=reason.remedy, unit=unit)


def _log_examples(observed: Sequence[StepsToTarget]) -> dict[int, dict[int, float]]:
    """Batch size -> seed -> log examples, of sizes at which every run got there."""
    table: dict[int, dict[int, float]] = {}
    for run in observed:
        log = math.inf if run.is_censored else math.log(run.steps * run.batch_size)
        table.setdefault(run.batch_size, {})[run.seed] = log
    return {
        b: seeds for b, seeds in sorted(table.items()) if all(map(math.isfinite, seeds.values()))
    }


def _bound_missed(observed: Sequence[StepsToTarget]) -> dict[int, float]:
    """Batch size -> what its mean log examples exceed, of sizes that missed the target."""
    table: dict[int, list[float]] = {}
    missed = {run.batch_size for run in observed if run.is_censored}
    for run in observed:
        if run.batch_size in missed:
            table.setdefault(run.batch_size, []).append(math.log(run.steps * run.batch_size))
    return {b: float(np.mean(logs)) for b, logs in sorted(table.items())}


def _means(
    examples: Mapping[int, Mapping[int, float]], noise: float
) -> tuple[dict[int, float], dict[int, float]]:
    """The mean log of examples of each size, and its standard error beside the other sizes."""
    means = {b: float(np.mean(list(seeds.values()))) for b, seeds in examples.items()}
    spread, freedom = pooled_deviation(examples) if examples else (math.inf, 0)
    if freedom == 0:
        spread = noise
    return means, {b: spread / math.sqrt(len(seeds)) for b, seeds in examples.items()}


def _find_b_20(
    means: Mapping[int, float], errors: Mapping[int, float], missed: Mapping[int, float]
) -> Estimate:
    """Where examples pass 1.2 times the smallest size's, or between which sizes they do.

    Args:
        missed: batch size -> what its log examples exceed, where the target was not always reached.
    """
    sizes = list(means)
    if len(sizes) < 2:
        return NotIdentified(
            reason=f"{len(sizes)} batch size{'s' if len(sizes) != 1 else ''} reached it every time",
            remedy="a longer --budget or an easier --target",
            unit="examples",
        )
    logs = np.log(sizes)
    spread = np.array(list(errors.values()))
    if not np.isfinite(spread).all() or float(spread.max()) < _NO_SPREAD:
        return NotIdentified(
            reason="runs at each batch size without a spread", remedy="--seeds 3", unit="examples"
        )
    value = _cross(logs, np.array(list(means.values()))[None])[0]
    rng = np.random.default_rng(0)
    draws = np.array(list(means.values())) + spread * rng.standard_normal((_DRAWS, len(sizes)))
    low, high = np.quantile(_cross(logs, draws), [0.025, 0.975], method="nearest")
    surely_above = float(np.quantile(draws[:, 0], 0.975)) + _MORE_EXAMPLES
    ceiling = min(
        (b for b, more in missed.items() if more > surely_above and b > sizes[-1]), default=math.inf
    )
    high = min(high, math.log(ceiling))
    if not math.isfinite(value):
        missing = f", and {ceiling} misses the target" if math.isfinite(ceiling) else ""
        return NotIdentified(
            reason=f"examples stay below 1.2 times those of batch size {sizes[0]}{missing}",
            remedy="larger batch sizes that reach the target with every seed",
            unit="examples",
            low=float(math.exp(low)) if math.isfinite(low) else float(sizes[-1]),
            high=finite_or_none(ceiling),
        )
    return Interval(
        value=math.exp(value),
        low=min(math.exp(low), math.exp(value)),
        high=max(math.exp(high) if math.isfinite(high) else math.inf, math.exp(value)),
        unit="examples",
    )


def _cross(logs: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Where each row first is log 1.2 above its first value; infinite where it never is."""
    above = draws - draws[:, :1] - _MORE_EXAMPLES
    passed = above >= 0
    at = np.where(passed.any(1), passed.argmax(1), 1)
    rows = np.arange(len(draws))
    before, after = above[rows, at - 1], above[rows, at]
    share = -before / np.where(after == before, 1.0, after - before)
    found = logs[at - 1] + share * (logs[at] - logs[at - 1])
    return np.where(passed.any(1), found, math.inf)


def _find_regimes(sizes: Sequence[TunedSize], critical: Estimate) -> dict[int, Regime]:
    if not isinstance(critical, Interval):
        return {}
    regimes: dict[int, Regime] = {}
    for size in sizes:
        ratio = size.batch_size / critical.value
        regimes[size.batch_size] = (
            "perfect scaling"
            if ratio <= 1 / _BORDER
            else "maximal data parallelism"
            if ratio >= _BORDER
            else "diminishing returns"
        )
    return regimes


def _find_falling(means: Mapping[int, float], errors: Mapping[int, float]) -> tuple[int, ...]:
    """Sizes that need clearly fewer examples than the next smaller one."""
    sizes = list(means)
    found: list[int] = []
    for smaller, size in itertools.pairwise(sizes):
        less = means[smaller] - means[size]
        error = math.hypot(errors[smaller], errors[size])
        if less > _FALLS_BY and less > 3 * error:
            found.append(size)
    return tuple(found)
