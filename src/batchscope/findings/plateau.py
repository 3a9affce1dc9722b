"""The plateau: batch sizes that are equivalent to the best at a stated margin."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from batchscope.findings.comparison import LEVEL, compare_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Plateau:
    """The equivalent batch sizes.

    Attributes:
        best: the size with the lowest mean.
        batch_sizes: shown to be within `margin` of every other size, best included.
        margin: in the units of the values.
        undecided: shown neither to be within it nor to be worse than the best at all.
        deviation: of one run about the means of its size and seed; infinite where unknown.
    """

    best: int
    batch_sizes: tuple[int, ...]
    margin: float
    undecided: tuple[int, ...] = ()
    deviation: float = math.inf


def find_plateau(values: Mapping[int, Mapping[int, float]], *, margin: float) -> Plateau | None:
    """Test every size against every other, over paired seeds.

    A size belongs to the plateau when it is shown, at 5%, to be less than `margin` worse than each
    of the others, not only than the one that looks best: so nothing is picked first, and the
    size's own test keeps its level (an intersection-union test). The difference of two sizes has
    a seed effect taken out and a spread pooled over all sizes that every seed completed.

    Args:
        values: batch size -> seed -> value, lower is better; infinite where a seed failed.
        margin: above 0.

    Returns:
        None where no size has a finite value for every one of its seeds.
    """
    whole = {b: seeds for b, seeds in values.items() if all(map(math.isfinite, seeds.values()))}
    whole = {b: seeds for b, seeds in whole.items() if seeds}
    if not whole:
        return None
    means = {b: float(np.mean(list(seeds.values()))) for b, seeds in whole.items()}
    best = min(means, key=lambda b: (means[b], b))
    spread = pooled_deviation(whole)
    members = [b for b in whole if _is_member(b, whole, margin, spread)]
    undecided = [
        b
        for b, seeds in whole.items()
        if b not in (best, *members)
        and not compare_settings(whole[best], seeds, margin=margin, spread=spread).is_worse
    ]
    return Plateau(
        best=best,
        batch_sizes=tuple(sorted({*members, best})),
        margin=margin,
        undecided=tuple(undecided) if spread[1] else (),
        deviation=spread[0],
    )


def pooled_deviation(values: Mapping[int, Mapping[int, float]]) -> tuple[float, int]:
    """The standard deviation that is left when sizes and seeds have had their own mean.

    Args:
        values: batch size -> seed -> value, all finite.

    Returns:
        The deviation and its degrees of freedom, which are 0 with a single seed or size.
    """
    common = sorted(set[int].intersection(*(set(seeds) for seeds in values.values())))
    table = np.array([[seeds[seed] for seed in common] for seeds in values.values()])
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1) if table.size else 0
    if freedom == 0:
        return math.inf, 0
    rest = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    return float(np.sqrt((rest**2).sum() / freedom)), freedom


def _is_member(
    size: int,
    values: Mapping[int, Mapping[int, float]],
    margin: float,
    spread: tuple[float, int],
) -> bool:
    return all(
        compare_settings(seeds, values[size], margin=margin, spread=spread).p_below < LEVEL
        for other, seeds in values.items()
        if other != size
    )
