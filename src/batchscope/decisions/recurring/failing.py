"""Why runs of a batch size do not reach the target: for their epochs, by chance, or for good."""

import math
from collections.abc import Sequence

import numpy as np

from batchscope.findings.scaling_posterior import Array

# Of runs, by chance: a tenth, worth as much as four runs' evidence.
_FAILS, _RUNS = 0.1, 4
# Runs without the target beyond which each makes the next one less likely to reach it, by their
# number alone.
_MANY = 8


def rate_of_chance(reached: Sequence[int], failed: Sequence[int]) -> float:
    """How often a run fails where others reach the target.

    Args:
        reached, failed: runs of each batch size.
    """
    works = [(good, bad) for good, bad in zip(reached, failed, strict=True) if good]
    good, bad = (sum(runs) for runs in zip(*works, strict=True)) if works else (0, 0)
    return (bad + _FAILS * _RUNS) / (good + bad + _RUNS)


def chance_of_failures(newest: int, *, reached: int, failed: int) -> float:
    """How likely so many runs one after another fail by chance.

    Args:
        reached, failed: runs of the same batch size before these.
    """
    return math.prod(
        (failed + more + _FAILS * _RUNS) / (reached + failed + more + _RUNS)
        for more in range(newest)
    )


def doubt_of(reached: Sequence[int]) -> float:
    """How likely a batch size fails for good, whatever its epochs are.

    By Jeffreys' prior over the batch sizes that reached the target; while there is none, only
    epochs are to blame.
    """
    known = sum(map(bool, reached))
    return 0.5 / (known + 1) if known else 0.0


def see_chances(
    reached: Sequence[int], failed: Sequence[int], given_up: Sequence[int], works: Array
) -> Array:
    """Per batch size, how likely a run does not fail for another reason than its epochs.

    Batch sizes that work are taken for neighbours: what fails for good keeps those beyond it from
    working, and between one that reached the target and one that failed for good any may be the
    last that works.

    Args:
        reached, failed, given_up: runs of each batch size, ascending.
        works: how likely each does not fail for good, by its own runs.
    """
    rate = rate_of_chance(reached, failed) if _any_by_chance(reached, failed) else 0.0
    good, bad = np.array(reached, dtype=float), np.array(failed, dtype=float)
    # Its own runs, and one more as all have failed.
    shares = np.where(good > 0, (good + 1 - rate) / (good + bad + 1), 1 - rate)
    # Where hardly any explanation is left, what never worked gets ever less likely to.
    fruitless = np.where(good > 0, 0, bad + np.array(given_up))
    shares = shares * np.minimum(1.0, _MANY / np.maximum(fruitless, 1))
    return shares * [_see_working(reached, works, at) for at in range(len(works))]


def _any_by_chance(reached: Sequence[int], failed: Sequence[int]) -> bool:
    return any(good and bad for good, bad in zip(reached, failed, strict=True))


def _see_working(reached: Sequence[int], works: Array, at: int) -> float:
    """How likely a batch size does not fail for good, seen from those that reached the target."""
    if reached[at]:
        return 1.0
    below, above = range(at - 1, -1, -1), range(at + 1, len(works))
    chances: list[float] = []
    for towards, beyond in ((below, above), (above, below)):
        near = next((place for place in towards if reached[place]), None)
        if near is None:
            continue
        way = [place for place in towards if abs(place - at) < abs(near - at)]
        chance = float(works[at] * np.prod(works[way]))
        far = next((place for place in beyond if works[place] < 1), None)
        if far is not None and not any(reached[place] for place in beyond):
            # Of the gaps between the two, those at or beyond this one.
            here = abs(far - at) / abs(far - near)
            chance *= works[far] + (1 - works[far]) * here
        chances.append(chance)
    return max(chances, default=float(works[at]))
