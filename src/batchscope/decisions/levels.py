"""What more quality takes: levels of it, and the choices that no other beats."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from batchscope.budget import Target
from batchscope.decisions.cost import Cost, Prices, Use, cost_of, rank_seconds, rank_total
from batchscope.decisions.frontier import pareto
from batchscope.estimate import finite_or_none
from batchscope.findings.analysis import Analysis
from batchscope.findings.curves import Curve
from batchscope.findings.default_target import round_up
from batchscope.findings.ladder import build_ladder
from batchscope.findings.sizes import SizeFindings, describe_size
from batchscope.findings.tuning import Ranking, TunedSize, tune_sizes


@dataclass(frozen=True, slots=True, kw_only=True)
class CostAtRate:
    """A batch size on so many devices, at its learning rate, and what it costs."""

    learning_rate: float
    cost: Cost

    def to_dict(self) -> dict[str, object]:
        """The choice as JSON."""
        return {"learning_rate": finite_or_none(self.learning_rate), **self.cost.to_dict()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A level of quality.

    Attributes:
        target: that has to be reached.
        choices: those that no other beats in seconds, total cost and quality at once, the fastest
            first.
    """

    target: str
    choices: tuple[CostAtRate, ...]

    def to_dict(self) -> dict[str, object]:
        """The level as JSON."""
        return {"target": self.target, "choices": [choice.to_dict() for choice in self.choices]}


def weigh_quality(
    analysis: Analysis, uses_of: Callable[[Sequence[SizeFindings]], Sequence[Use]], prices: Prices
) -> tuple[Level, ...]:
    """The frontier of time, cost and quality, from easy levels to hard ones.

    Levels lie between the runs' first evaluations and the hardest that every seed of a batch size
    got to, the target of the analysis among them; those at which every choice is beaten are left
    out. At each the learning rate is the one that gets there soonest, of those with the most seeds.

    Args:
        analysis: with a target.
        uses_of: what each batch size takes, of those whose steps to a level are known.

    Returns:
        Nothing of runs that end at the target, which do not tell of other levels.
    """
    if analysis.to_target_only:
        return ()
    target = analysis.target
    assert target is not None
    sign = 1 if target.direction == "<=" else -1
    choices: list[tuple[Target, CostAtRate]] = []
    for level in _find_levels(analysis, target):
        sizes = _describe(analysis, level)
        rates = {size.batch_size: size.learning_rate for size in sizes}
        choices += [
            (level, CostAtRate(learning_rate=rates[use.batch_size], cost=cost_of(use, prices)))
            for use in uses_of(sizes)
        ]
    best = pareto(
        [
            (rank_seconds(choice.cost), rank_total(choice.cost), sign * level.value)
            for level, choice in choices
        ]
    )
    levels: dict[Target, list[CostAtRate]] = {}
    for at in best:
        level, choice = choices[at]
        levels.setdefault(level, []).append(choice)
    return tuple(
        Level(target=str(level), choices=tuple(sorted(own, key=lambda one: rank_seconds(one.cost))))
        for level, own in levels.items()
    )


def _find_levels(analysis: Analysis, target: Target) -> list[Target]:
    """From easy to hard."""
    by_end = Ranking(quality=analysis.metric, higher=analysis.higher)
    hardest = find_hardest(tune_sizes(analysis.curves, by_end), target)
    sign = 1 if target.direction == "<=" else -1
    levels = {*build_ladder(analysis.tuned, hardest), target}
    return sorted(levels, key=lambda level: -sign * level.value)


def find_hardest(sizes: Sequence[TunedSize], target: Target) -> Target:
    """The hardest level of a target's metric that every seed of a repeated batch size got to.

    Of three significant digits, and never easier than the target itself.
    """
    sign = 1.0 if target.direction == "<=" else -1.0

    def best_of(curve: Curve) -> float:
        values = sign * curve.columns[target.metric]
        return min(values[np.isfinite(values)].tolist(), default=math.inf)

    own = sign * target.value
    reached = [max(map(best_of, size.curves)) for size in sizes if len(size.curves) > 1]
    best = min(reached, default=math.inf)
    value = min(round_up(best), own) if math.isfinite(best) else own
    return Target(target.metric, sign * value, target.direction)


def _describe(analysis: Analysis, level: Target) -> list[SizeFindings]:
    ranking = Ranking(quality=analysis.metric, higher=analysis.higher, target=level)
    return [
        describe_size(size, analysis.metric, level, analysis.unit)
        for size in tune_sizes(analysis.curves, ranking)
    ]
