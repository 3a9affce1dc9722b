"""Choices none of which another beats in everything."""

from collections.abc import Sequence

import numpy as np


def pareto(points: Sequence[Sequence[float]]) -> list[int]:
    """The positions of the points that no other beats in one coordinate and equals in the rest.

    Less is better. Of points that are the same each stays. What is not a number is the worst.
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
