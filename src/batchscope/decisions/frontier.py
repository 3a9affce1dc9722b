"""Choices none of which another beats in everything, and how sure the best of one kind is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from batchscope.findings.scaling import Array

_NEAR = 1.1


def pareto(points: Sequence[Sequence[float]]) -> list[int]:
    """The positions of the points that no other beats in one coordinate and equals in the rest.

    Less is better. Of points that are the same each stays. No number is worse than any.
    """
    if not points:
        return []
    table = np.nan_to_num(np.array(points, dtype=float), nan=np.inf, posinf=np.inf)
    kept: list[int] = []
    for at, point in enumerate(table):
        no_worse = (table <= point).all(axis=1)
        better = (table < point).any(axis=1)
        if not bool((no_worse & better).any()):
            kept.append(at)
    return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one choice stands among all, over draws of what each costs.

    Attributes:
        best: the probability that it is the cheapest.
        near: that it is within a tenth of the cheapest.
        regret: how much more than the cheapest it costs on average, as a share.
    """

    best: float
    near: float
    regret: float


def rank_draws(costs: Mapping[int, Array]) -> dict[int, Standing]:
    """The standing of each choice.

    Args:
        costs: choice -> draws of its cost, the same draw of the world at the same place.
    """
    rows = list(costs.values())
    least: Array = np.minimum.reduce(rows)
    return {
        choice: Standing(
            best=float((row <= least).mean()),
            near=float((row <= _NEAR * least).mean()),
            regret=float((row / least).mean()) - 1,
        )
        for choice, row in zip(costs, rows, strict=True)
    }


def smallest_within(standings: Mapping[int, Standing], tolerance: float) -> int:
    """The smallest choice whose regret is within a tolerance; where none is, that of least."""
    within = [choice for choice, standing in standings.items() if standing.regret <= tolerance]
    return min(within) if within else min(standings, key=lambda c: standings[c].regret)
