"""What more quality takes: levels of it, and the choices that no other beats."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from batchscope.budget import Target
from batchscope.decisions.cost import Cost, Prices, Use, cost_of, rank_seconds, rank_total
from batchscope.decisions.frontier import pareto
from batchscope.findings.analysis import Analysis
from batchscope.findings.default_target import round_up
from batchscope.findings.ladder import build_ladder
from batchscope.findings.sizes import SizeFindings, describe_size
from batchscope.findings.tuning import Ranking, TunedSize, tune_sizes


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A level of quality.

    Attributes:
        target: that has to be reached.
        costs: of the choices that no other beats in seconds, total cost and quality at once, the
            fastest first.
    """

    target: str
    costs: tuple[Cost, ...]

    def to_dict(self) -> dict[str, object]:
        """The level as JSON."""
        return {"target": self.target, "costs": [cost.to_dict() for cost in self.costs]}


def weigh_quality(
    analysis: Analysis, uses_of: Callable[[Sequence[SizeFindings]], Sequence[Use]], prices: Prices
) -> tuple[Level, ...]:
    """The frontier of time, cost and quality, from easy levels to hard ones.

    Levels lie between the runs' first evaluations and the hardest that every seed of a batch size
    got to, the target of the analysis among them. At each the learning rate is the one that gets
    there soonest.

    Args:
        analysis: with a target.
        uses_of: what each batch size takes, of those whose steps to a level are known.
    """
    target = analysis.target
    assert target is not None
    sign = 1 if target.direction == "<=" else -1
    choices = [
        (level, cost_of(use, prices))
        for level in _find_levels(analysis, target)
        for use in uses_of(_describe(analysis, level))
    ]
    best = pareto(
        [(rank_seconds(cost), rank_total(cost), sign * level.value) for level, cost in choices]
    )
    levels: dict[Target, list[Cost]] = {}
    for at in best:
        level, cost = choices[at]
        levels.setdefault(level, []).append(cost)
    return tuple(
        Level(target=str(level), costs=tuple(sorted(costs, key=rank_seconds)))
        for level, costs in levels.items()
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
    reached = [
        max(float(np.nanmin(sign * curve.columns[target.metric])) for curve in size.curves)
        for size in sizes
        if len(size.curves) > 1
    ]
    best = min((value for value in reached if np.isfinite(value)), default=sign * target.value)
    value = min(round_up(best), sign * target.value)
    return Target(target.metric, sign * value, target.direction)


def _describe(analysis: Analysis, level: Target) -> list[SizeFindings]:
    ranking = Ranking(quality=analysis.metric, higher=analysis.higher, target=level)
    return [
        describe_size(size, analysis.metric, level, analysis.unit)
        for size in tune_sizes(analysis.curves, ranking)
    ]
