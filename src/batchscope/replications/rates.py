"""Learning rates that a replication tries, and the best between them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from batchscope.budget import Target
from batchscope.replications.lab import Arm, Ends, Lab, Trained
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


def search_ladders(
    rates: Mapping[int, Sequence[float]],
    choose: Callable[[Mapping[int, Sequence[float]]], Mapping[int, float]],
    *,
    most: int,
) -> dict[int, float]:
    """The best of some rates half a decade apart, and of further ones while it is at their edge.

    Args:
        rates: batch size -> those to begin with, in increasing order.
        choose: the best of those tried, for each batch size that is not settled yet.
        most: rates of a batch size in all.

    Example:
        >>> search_ladders(
        ...     {8: [0.1, 0.32, 1.0]},
        ...     lambda tried: {size: max(rates) for size, rates in tried.items()},
        ...     most=5,
        ... )
        {8: 10.0}
    """
    found: dict[int, float] = {}
    ladders = {size: list(each) for size, each in rates.items()}
    while ladders:
        for size, best in choose(ladders).items():
            ladder = ladders[size]
            if best not in (ladder[0], ladder[-1]) or len(ladder) >= most:
                found[size] = best
                del ladders[size]
            elif best == ladder[0]:
                ladder.insert(0, on_ladder(best, -1))
            else:
                ladder.append(on_ladder(best, 1))
    return {size: found[size] for size in rates}


def tune_to_target(
    lab: Lab,
    task: Task,
    rates: Mapping[int, Sequence[float]],
    *,
    epochs: int,
    target: Target,
    most: int,
) -> dict[int, Tuned]:
    """The rates that get to a target first on two other seeds, as `search_ladders` finds them.

    All but the middle one are trained for half as long again as that takes at most: what takes
    longer is hardly better, and what never gets there would take all epochs.

    Args:
        rates: batch size -> those to begin with, half a decade apart in increasing order.
        epochs: of a run, at most.
        most: rates of a batch size in all.
    """
    seeds = lab.short_pilot
    middle = {size: each[len(each) // 2] for size, each in rates.items()}

    def train(tried: Mapping[int, Sequence[float]], at_most: int) -> Trained:
        budget = f"{at_most}ep until {target}"
        return lab.train(task, list(tried), rates=tried, budget=budget, seeds=seeds)

    runs = train({size: [rate] for size, rate in middle.items()}, epochs)
    at_most = {
        size: _limit(runs, [(size, rate, seed) for seed in seeds], target, task, epochs)
        for size, rate in middle.items()
    }

    def choose(tried: Mapping[int, Sequence[float]]) -> dict[int, float]:
        nonlocal runs
        for limit in sorted({at_most[size] for size in tried}):
            others = train(
                {
                    size: [rate for rate in each if rate != middle[size]]
                    for size, each in tried.items()
                    if at_most[size] == limit
                },
                limit,
            )
            runs = replace(others, runs={**runs.runs, **others.runs})
        return {
            size: runs.choose_fastest(size, each, seeds, target) for size, each in tried.items()
        }

    best = search_ladders(rates, choose, most=most)
    found: dict[int, Tuned] = {}
    for size, rate in best.items():
        steps = {seed: runs.reach((size, rate, seed), target, "step") for seed in seeds}
        counted = {seed: count for seed, count in steps.items() if count is not None}
        found[size] = Tuned(rate, counted)
    return found


def _limit(runs: Trained, arms: Sequence[Arm], target: Target, task: Task, epochs: int) -> int:
    """Epochs that other rates get, by what the slowest of these runs took to the target."""
    taken = [runs.reach(arm, target, "examples") for arm in arms]
    there = [examples for examples in taken if examples is not None]
    if len(there) < len(arms):
        return epochs
    return min(epochs, max(1, math.ceil(_LONGER * max(there) / task.train_size)))


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
