"""Which learning rates to try next at one batch size."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import optuna

from batchscope.findings.tuning import Score

STEP = math.sqrt(10)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSearch:
    """How a learning rate is searched.

    Attributes:
        start: the rate in the middle of the first ones, above 0.
        rates: tried first, each half a decade from the next.
        extensions: further ones at most, while the best lies on the edge.
        refinements: ones that a Gaussian process proposes around the best, where the first
            rates already held it between them.
        seed: of those proposals.
    """

    start: float
    rates: int
    extensions: int
    refinements: int
    seed: int


def next_rates(search: RateSearch, tried: Mapping[float, Score]) -> tuple[float, ...]:
    """The rates to try next; empty when the search is over.

    It depends on which runs are finished, never on which finished first: each stage waits until
    the one before it is whole.

    Args:
        tried: rate -> its score, lower is better.
    """
    first = grid_rates(search.start, search.rates)
    missing = tuple(rate for rate in first if rate not in tried)
    if missing:
        return missing
    ladder = _ladder(search, tried)
    extension = _extend(search, ladder, tried)
    if extension is not None:
        return (extension,)
    beyond_first = len(tried) - len(first)
    if beyond_first >= search.refinements or all(score[0] == 1 for score in tried.values()):
        return ()
    proposal = _propose(search, ladder, tried)
    return () if proposal in tried else (proposal,)


def grid_rates(start: float, count: int) -> tuple[float, ...]:
    """Rates half a decade apart with `start` in their middle, in increasing order.

    Example:
        >>> grid_rates(0.01, 3)
        (0.0032, 0.01, 0.032)
    """
    return tuple(on_ladder(start, rung) for rung in _middle_out(count))


def expected_rates(search: RateSearch) -> int:
    """About how many rates a search tries: one extension is usual."""
    return search.rates + min(1, search.extensions) + search.refinements


def fit_exponent(best: Mapping[int, float]) -> tuple[float, float]:
    """The power law through the best rates: its exponent, and the rate at batch size 1.

    Args:
        best: batch size -> its best rate, for two sizes at least.

    Example:
        >>> exponent, at_one = fit_exponent({16: 0.1, 64: 0.2})
        >>> round(exponent, 6), round(at_one, 6)
        (0.5, 0.025)
    """
    sizes, rates = np.log(list(best)), np.log(list(best.values()))
    exponent, intercept = np.polyfit(sizes, rates, 1)
    return float(exponent), float(np.exp(intercept))


def round_rate(rate: float) -> float:
    """Two significant digits, so that a rate can be said and typed.

    Example:
        >>> round_rate(0.0316227)
        0.032
    """
    return float(f"{rate:.1e}")


def _middle_out(count: int) -> list[int]:
    return [rung - count // 2 for rung in range(count)]


def on_ladder(start: float, rung: int) -> float:
    """A rate so many half decades from another.

    Example:
        >>> on_ladder(0.01, -1)
        0.0032
    """
    return start if rung == 0 else round_rate(start * STEP**rung)


def _ladder(search: RateSearch, tried: Mapping[float, Score]) -> dict[float, int]:
    """The tried rates on the ladder, with their rungs, in increasing order."""
    reach = search.rates // 2 + search.extensions
    rungs = {on_ladder(search.start, rung): rung for rung in range(-reach, reach + 1)}
    return {rate: rung for rate, rung in sorted(rungs.items()) if rate in tried}


def _extend(
    search: RateSearch, ladder: Mapping[float, int], tried: Mapping[float, Score]
) -> float | None:
    if len(ladder) >= search.rates + search.extensions:
        return None
    best = min(ladder, key=lambda rate: (tried[rate], rate))
    if tried[best][0] == 1 or ladder[best] == min(ladder.values()):
        return on_ladder(search.start, min(ladder.values()) - 1)
    if ladder[best] == max(ladder.values()):
        return on_ladder(search.start, max(ladder.values()) + 1)
    return None


def _propose(
    search: RateSearch, ladder: Mapping[float, int], tried: Mapping[float, Score]
) -> float:
    """Ask Optuna's Gaussian process for a rate between the best one's neighbours."""
    best = min(ladder, key=lambda rate: (tried[rate], rate))
    low, high = best / STEP, best * STEP
    space: dict[str, optuna.distributions.BaseDistribution] = {
        "lr": optuna.distributions.FloatDistribution(low, high, log=True)
    }
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.GPSampler(seed=search.seed, n_startup_trials=1)
    study = optuna.create_study(sampler=sampler)
    for rate, value in _as_values(tried).items():
        if low * 0.99 <= rate <= high * 1.01:
            inside = min(max(rate, low), high)
            study.add_trial(
                optuna.trial.create_trial(params={"lr": inside}, distributions=space, value=value)
            )
    asked = study.ask(space)
    return round_rate(asked.params["lr"])


def _as_values(tried: Mapping[float, Score]) -> dict[float, float]:
    """Scores as evenly spaced numbers: only their order is comparable across kinds."""
    ranked = sorted(tried, key=lambda rate: (tried[rate], rate))
    return {rate: float(ranked.index(rate)) for rate in sorted(tried)}
