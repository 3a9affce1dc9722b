"""Which of the settings that were run to train with, and what makes that doubtful."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from batchscope.budget import Target
from batchscope.decisions.odds import NEAR
from batchscope.decisions.terms import AXES
from batchscope.errors import CannotTell
from batchscope.findings.analysis import Analysis, find_fastest, log_to_target
from batchscope.findings.beliefs import moderate_spread
from batchscope.findings.plateau import Plateau
from batchscope.findings.to_target import is_met_untrained
from batchscope.findings.tuning import TunedSize, often_enough

_BY_LUCK = 0.025


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The setting to train with.

    Attributes:
        plateau: the sizes that are equivalent to it; None where nothing was compared.
        doubt: why another setting may well be better, in a sentence; None where it was compared
            with all that may be over seeds.
    """

    size: TunedSize
    plateau: Plateau | None
    doubt: str | None = None


def choose(
    analysis: Analysis, objective: str, *, unit_cost: Callable[[int], float] = lambda _: 1.0
) -> Choice:
    """The best setting by an objective.

    Objective "time" and "examples": the lowest geometric mean over seeds among the sizes whose
    every seed of at least two reached the target; where there is none, the setting whose seeds
    reached it most often by Laplace's rule of succession, then the lowest mean, with doubt.
    Objective "quality": of the sizes that are equivalent to the best, the one that spends its
    budget fastest.

    Args:
        objective: "time", "examples" or "quality".
        unit_cost: batch size -> what one second or example counts there.

    Raises:
        CannotTell: nothing reached the target, or an untrained network has it.
    """
    if objective != "quality":
        check_target(analysis, where=f"recommend {analysis.task}")
    plateau = _find_plateau(analysis, objective, unit_cost)
    if plateau is None:
        return _choose_with_doubt(analysis, objective, unit_cost)
    by_size = {size.batch_size: size for size in analysis.tuned}
    if objective != "quality":
        best = by_size[plateau.best]
        return Choice(
            size=best, plateau=plateau, doubt=_doubt_best(analysis, best, objective, unit_cost)
        )
    fastest = min(
        (by_size[size] for size in plateau.batch_sizes),
        key=lambda size: (
            _budget_seconds(size) * unit_cost(size.batch_size),
            -size.batch_size,
        ),
    )
    return Choice(size=fastest, plateau=plateau)


def check_target(analysis: Analysis, *, where: str) -> None:
    """Refuse a target that most runs at the best rates had before their first step.

    Raises:
        CannotTell: with how many of them did.
    """
    target = analysis.target
    if target is None:
        return
    curves = [curve for size in analysis.tuned for curve in size.curves]
    met = sum(is_met_untrained(curve, target) for curve in curves)
    if 2 * met > len(curves):
        raise CannotTell(
            f"an untrained network already has {target}, with {met} of {len(curves)} runs",
            where=where,
            expected="a target that training has to reach",
            do="a harder --target"
            if analysis.target_derived
            else "a harder --target, or leave it out to derive one from the runs",
        )


def _find_plateau(
    analysis: Analysis, objective: str, unit_cost: Callable[[int], float]
) -> Plateau | None:
    if objective == "quality":
        return analysis.plateau
    if analysis.target is None:
        return None
    compared = repeated_enough(analysis.tuned, analysis.target, objective, unit_cost)
    return find_fastest(compared, analysis.target, AXES[objective], unit_cost=unit_cost)


def _doubt_best(
    analysis: Analysis, best: TunedSize, objective: str, unit_cost: Callable[[int], float]
) -> str | None:
    """Whether another size took a tenth less with seeds too few to be compared."""
    assert analysis.target is not None
    means: dict[int, float] = {}
    for size in analysis.tuned:
        logs = _log_costs(size, analysis.target, objective, unit_cost)
        if len(logs) > 1 and all(map(math.isfinite, logs)):
            means[size.batch_size] = float(np.mean(logs))
    first = min(means, key=lambda size: means[size])
    if means[best.batch_size] - means[first] <= math.log1p(NEAR):
        return None
    seeds = next(len(size.curves) for size in analysis.tuned if size.batch_size == first)
    return (
        f"This is in doubt: batch size {first} took less with its {seeds} seeds, too few to tell "
        "that from luck."
    )


def repeated_enough(
    tuned: Sequence[TunedSize],
    target: Target,
    objective: str,
    unit_cost: Callable[[int], float],
) -> list[TunedSize]:
    """The sizes that were repeated often enough to be compared: a race repeats some more often.

    Those with a seed that missed the target say nothing of how often that is. One that was
    repeated less often is compared where it is ahead of the best of them by more than luck, by a
    t test at 2.5% with the deviation that sizes share in part.

    Args:
        objective: "time" or "examples".
        unit_cost: batch size -> what one second or example counts there.
    """
    logs = {size.batch_size: _log_costs(size, target, objective, unit_cost) for size in tuned}
    hits = {size: own for size, own in logs.items() if own and all(map(math.isfinite, own))}
    # Whether the target was reached does not depend on what a step costs, which may be unknown.
    least = often_enough(
        len(size.curves)
        for size in tuned
        if all(math.isfinite(log_to_target(c, target, "step")) for c in size.curves)
    )
    often = {size: own for size, own in hits.items() if len(own) >= max(least, 2)}
    best = min(often, key=lambda size: float(np.mean(often[size])), default=None)

    def is_ahead(size: int) -> bool:
        own = hits.get(size, [])
        if best is None or len(own) < 2:
            return False
        deviation, freedom = moderate_spread(own, [x for b, x in hits.items() if b != size])
        error = deviation * math.sqrt(1 / len(own) + 1 / len(often[best]))
        ahead = float(np.mean(often[best]) - np.mean(own))
        return ahead > float(stats.t.isf(_BY_LUCK, freedom)) * error

    return [size for size in tuned if len(size.curves) >= least or is_ahead(size.batch_size)]


def _choose_with_doubt(
    analysis: Analysis, objective: str, unit_cost: Callable[[int], float]
) -> Choice:
    target = analysis.target
    finished = [sum(curve.finished for curve in size.curves) for size in analysis.tuned]
    if objective != "quality" and target is None and max(finished, default=0) > 1:
        raise CannotTell(
            "no batch size ends better than an untrained network may be by luck: there is no "
            "target to derive",
            where=f"recommend {analysis.task}",
            expected="runs that learn something",
            do="a larger --budget, or other --learning-rates",
        )
    if objective == "quality" or target is None:
        raise CannotTell(
            "with one seed per batch size nothing can be compared",
            where=f"recommend {analysis.task}",
            expected="two seeds of one setting",
            do="--seeds 3",
        )
    if objective == "time" and _lack_seconds(analysis):
        raise CannotTell(
            "seconds per step were not measured at these batch sizes",
            where=f"recommend {analysis.task}",
            expected="a profile of every batch size of the study",
            do=f"batchscope profile {analysis.task}",
        )
    hits = {size.batch_size: _count_seeds(analysis, size, target) for size in analysis.tuned}
    likely = [size for size in analysis.tuned if hits[size.batch_size][0]]
    if not likely:
        raise CannotTell(
            f"no run reached {target}{_name_nearest(analysis, target)}",
            where=f"recommend {analysis.task}",
            expected="one setting that reaches the target",
            do="an easier --target, a larger --budget, or --effort thorough",
        )

    def rank(size: TunedSize) -> tuple[float, float]:
        reached, seeds = hits[size.batch_size]
        # Of a size whose steps were not timed nobody knows what it takes.
        known = [x for x in _log_costs(size, target, objective, unit_cost) if math.isfinite(x)]
        return -(reached + 1) / (seeds + 2), float(np.mean(known)) if known else math.inf

    best = min(likely, key=rank)
    reached, seeds = hits[best.batch_size]
    return Choice(
        size=best,
        plateau=None,
        doubt=(
            f"This is in doubt: no batch size reached {target} with all of at least two seeds; "
            f"this setting did with {reached} of {seeds}, and others may be as good or better."
        ),
    )


def _log_costs(
    size: TunedSize, target: Target, objective: str, unit_cost: Callable[[int], float]
) -> list[float]:
    """The log of what each seed needed to a target, by an objective."""
    each = math.log(unit_cost(size.batch_size))
    return [log_to_target(curve, target, AXES[objective]) + each for curve in size.curves]


def _count_seeds(analysis: Analysis, size: TunedSize, target: Target) -> tuple[int, int]:
    """How many seeds of a size's setting reached the target, of how many that were begun."""
    setting = size.curves[0].setting
    curves = [
        c for c in analysis.curves if c.batch_size == size.batch_size and c.setting == setting
    ]
    reached = {c.seed for c in curves if math.isfinite(log_to_target(c, target, "step"))}
    return len(reached), len({c.seed for c in curves})


def _name_nearest(analysis: Analysis, target: Target) -> str:
    """How near a run came, and which."""
    sign = 1 if target.direction == "<=" else -1
    best = {
        (c.batch_size, c.learning_rate): float(np.nanmin(sign * c.columns[target.metric]))
        for c in analysis.curves
        if np.isfinite(c.columns[target.metric]).any()
    }
    if not best:
        return ""
    size, rate = min(best, key=lambda setting: (best[setting], setting))
    return (
        f"; the nearest came batch size {size} with learning rate {rate:g}, to "
        f"{sign * best[size, rate]:.3g}"
    )


def _lack_seconds(analysis: Analysis) -> bool:
    return all(math.isnan(c.columns["seconds"][-1]) for t in analysis.tuned for c in t.curves)


def _budget_seconds(size: TunedSize) -> float:
    seconds = [float(curve.columns["seconds"][-1]) for curve in size.curves]
    finite = [x for x in seconds if math.isfinite(x)]
    return float(np.mean(finite)) if finite else math.inf
