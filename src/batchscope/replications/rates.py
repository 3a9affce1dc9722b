"""Learning rates that a replication tries, and the best between them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from batchscope.budget import Target
from batchscope.replications.lab import Ends, Lab, Trained
from batchscope.studies.learning_rate import on_ladder, round_rate
from batchscope.task import Task

_RUNGS = (-1, 0, 1)
# What other rates may take, of what the slowest seed of the middle one does.
_LONGER = 1.5
# A parabola that bends less than rounding does has no lowest point.
_FLAT = 1e-9
# Of a loss, by which rounding may tell apart what is the same.
_SAME = 1e-6


@dataclass(frozen=True, slots=True)
class Tuned:
    """A rate, and the steps to the target of each seed that it was chosen by and got there."""

    rate: float
    steps: Mapping[int, float]


def rates_by_square_root(rate: float, *, known: int, size: int) -> list[float]:
    """Three rates half a decade apart, about one that is moved by the square root rule.

    Args:
        rate: at the batch size `known`.

    Example:
        >>> rates_by_square_root(0.01, known=8, size=32)
        [0.0063, 0.02, 0.063]
    """
    middle = round_rate(rate * math.sqrt(size / known))
    return [on_ladder(middle, rung) for rung in _RUNGS]


def search_ladder(
    rates: Sequence[float], choose: Callable[[Sequence[float]], float], *, most: int
) -> float:
    """The best of some rates half a decade apart, and of further ones while it is at their edge.

    Args:
        rates: to begin with, in increasing order.
        choose: the best of those tried.
        most: rates in all.

    Example:
        >>> search_ladder([0.1, 0.32, 1.0], max, most=5)
        10.0
    """
    rates = list(rates)
    while True:
        best = choose(rates)
        if best not in (rates[0], rates[-1]) or len(rates) >= most:
            return best
        if best == rates[0]:
            rates.insert(0, on_ladder(best, -1))
        else:
            rates.append(on_ladder(best, 1))


def tune_to_target(
    lab: Lab,
    task: Task,
    size: int,
    rates: Sequence[float],
    *,
    epochs: int,
    target: Target,
    most: int,
) -> Tuned:
    """The rate that gets to a target first on two other seeds, as `search_ladder` finds it.

    The others are trained for half as long again as the middle one takes at most: what takes
    longer is hardly better, and what never gets there would take all epochs.

    Args:
        rates: to begin with, half a decade apart in increasing order.
        epochs: of a run, at most.
        most: rates in all.
    """
    seeds, middle = lab.short_pilot, rates[len(rates) // 2]

    def train(tried: Sequence[float], at_most: int) -> Trained:
        budget = f"{at_most}ep until {target}"
        return lab.train(task, [size], rates=tried, budget=budget, seeds=seeds)

    first = train([middle], epochs)
    runs = first
    taken = [first.reach((size, middle, seed), target, "examples") for seed in seeds]
    there = [examples for examples in taken if examples is not None]
    at_most = epochs
    if len(there) == len(seeds):
        at_most = min(epochs, max(1, math.ceil(_LONGER * max(there) / task.train_size)))

    def choose(tried: Sequence[float]) -> float:
        nonlocal runs
        others = train([rate for rate in tried if rate != middle], at_most)
        runs = replace(others, runs={**first.runs, **others.runs})
        return runs.choose_fastest(size, tried, seeds, target)

    best = search_ladder(rates, choose, most=most)
    steps = {seed: runs.reach((size, best, seed), target, "step") for seed in seeds}
    return Tuned(best, {seed: count for seed, count in steps.items() if count is not None})


def find_lowest(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """The rate at the lowest point of a parabola in the log of the rate, inside those tried.

    Args:
        rates: three or more, in increasing order.
        losses: at each of them.

    Returns:
        None where the parabola does not bend upwards.

    Example:
        >>> lowest = find_lowest([0.01, 0.1, 1.0], [2.0, 1.0, 2.0])
        >>> round(lowest or 0.0, 6)
        0.1
    """
    bend, slope, _ = (float(x) for x in np.polyfit(np.log(rates), losses, 2))
    if bend <= _FLAT:
        return None
    return min(max(math.exp(-slope / (2 * bend)), rates[0]), rates[-1])


def find_best(tried: Sequence[float], losses: Sequence[float], *, dead: float) -> Ends:
    """The log of the number with the lowest loss, by a parabola in the logs through its neighbours.

    Of one at the edge of those tried only that it lies beyond the next of them is known; of one
    beside a number at which nothing was learned, which no parabola passes through, that it lies
    between its neighbours; of more than two that are equally good, or of two at the edge, that it
    lies between the neighbours of all; and where all are equally good, nothing.

    Args:
        tried: in increasing order.
        losses: at each of them, above 0.
        dead: the loss from which on nothing was learned.
    """
    best = np.flatnonzero(np.array(losses) <= min(losses) * (1 + _SAME))
    first, last = int(best[0]), int(best[-1])
    low = -math.inf if first == 0 else math.log(tried[first - 1])
    high = math.inf if last == len(tried) - 1 else math.log(tried[last + 1])
    # Of two side by side the lowest point lies between them.
    if last > first + 1 or math.isinf(low) or math.isinf(high):
        return Ends(low, high)
    near = slice(first - 1, first + 2)
    lowest = find_lowest(tried[near], np.log(losses[near]).tolist())
    if lowest is None or max(losses[near]) >= dead:
        return Ends(low, high)
    return Ends(math.log(lowest), math.log(lowest))
