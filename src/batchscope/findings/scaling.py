"""How steps to a target fall with the batch size: the curve, and the critical batch size in it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from batchscope.estimate import Estimate, Interval, NotIdentified
from batchscope.findings.scaling_posterior import (
    Array,
    Draws,
    Grid,
    Posterior,
    Profiles,
    RunTable,
    make_grid,
)
from batchscope.findings.to_target import StepsToTarget

# That got to the target, for a curve.
LEAST_SIZES = 3
# What a doubling beyond the data adds to the log: a form that fits inside may bend outside.
SD_PER_DOUBLING = 0.1
_DRAWS = 4000
# Half the 95% point of chi square with one degree, and its 90% point for one-sided bounds.
_CHI2_95 = 1.92
_CHI2_90 = 2.71
_MISSED_BY = math.log(1.25)
# Where runs are censored: rounds of drawing what they would have needed, and of them the first.
_SWEEPS, _BURN_IN = 40, 15


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScalingFit:
    """The posterior of log S = log S_min + log(1 + (B_c / B)^alpha).

    Attributes:
        critical: B_2x, where steps are twice S_min; the form's B_c at every alpha.
        hyperbola: the same at alpha = 1 (McCandlish et al. 2018).
        least_steps: S_min.
        draws: of (log S_min, log B_c, alpha), shape (draws, 3).
        deviation: of one run about the curve, in the log.
        misses: a batch size whose mean is off by more than a quarter and three standard errors;
            None where the curve fits.
        single_seed: every batch size has one run, so that what the curve leaves is the noise.
    """

    critical: Estimate
    hyperbola: Estimate
    least_steps: Estimate
    alpha: Estimate
    draws: Array
    deviation: float
    misses: int | None
    single_seed: bool
    smallest: int
    largest: int

    def predict(self, batch_size: float, *, confidence: float = 0.95) -> Interval:
        """Mean steps at a batch size, wider by a tenth per doubling outside the data."""
        level, critical, alpha = self.draws.T
        logs = level + np.logaddexp(0, alpha * (critical - math.log(batch_size)))
        outside = _doublings_outside(np.log([batch_size]), self.smallest, self.largest)
        logs = logs + SD_PER_DOUBLING * outside * _normal(len(logs), seed=2)
        return _interval(logs, unit="steps", confidence=confidence)


def fit_scaling(observed: Sequence[StepsToTarget]) -> ScalingFit | NotIdentified:
    """Fit the curve to the runs of all batch sizes.

    The posterior is computed on a grid of (B_c, alpha, share of the variance that a seed has at
    every batch size), S_min and the noise integrated out (a Student's t in the log of steps), with
    alpha ~ N(1, 0.1), B_c flat in its log, and Jeffreys' prior of the noise. What runs that did not
    get there would have needed is drawn beyond their last step, in turn with the curve and with
    what each seed has at every batch size (Gibbs sampling), so that not knowing it widens the
    interval. An interval is open where the likelihood does not fall towards that side.

    Args:
        observed: runs at their batch size's best learning rate.

    Returns:
        Not identified with fewer than three batch sizes at which some run got there.
    """
    reached = {run.batch_size for run in observed if not run.is_censored}
    if len(reached) < LEAST_SIZES:
        return NotIdentified(
            reason=f"{len(reached)} batch size{'s' if len(reached) != 1 else ''} got to the target",
            remedy="three batch sizes, a factor of four apart, that reach it",
            unit="examples",
        )
    table = RunTable(observed)
    grid = make_grid(tuple(table.distinct), tuple(map(tuple, table.counts)))
    rng = np.random.default_rng(0)
    if not table.censored.any():
        posterior = Posterior(table, grid)
        drawn = posterior.draw(_DRAWS, rng)
        return _summarize(table, grid, posterior, [posterior.profiles], drawn)
    each = -(-_DRAWS // (_SWEEPS - _BURN_IN))
    for _ in range(_BURN_IN):
        table.impute(Posterior(table, grid).draw(1, rng), rng)
    parts: list[Draws] = []
    profiles: list[Profiles] = []
    while True:
        posterior = Posterior(table, grid)
        parts.append(posterior.draw(each, rng))
        profiles.append(posterior.profiles)
        if len(parts) == _SWEEPS - _BURN_IN:
            return _summarize(table, grid, posterior, profiles, Draws.join(parts))
        table.impute(parts[-1], rng)


def _summarize(
    table: RunTable, grid: Grid, last: Posterior, profiles: Sequence[Profiles], drawn: Draws
) -> ScalingFit:
    smallest, largest = int(table.sizes.min()), int(table.sizes.max())
    critical = drawn.curves[:, 1]
    outside = _doublings_outside(critical, smallest, largest)
    widened = critical + SD_PER_DOUBLING * outside * _normal(len(critical), seed=1)
    profile = _average([one.any_alpha for one in profiles])
    at_one = _average([one.at_one for one in profiles])
    rng = np.random.default_rng(3)
    weights = np.exp(at_one - at_one.max())
    hyperbola = rng.choice(grid.critical, size=_DRAWS, p=weights / weights.sum())
    expected, deviation = last.expectation()
    return ScalingFit(
        critical=_read_critical(widened, grid.critical, profile),
        hyperbola=_read_critical(hyperbola, grid.critical, at_one),
        least_steps=_interval(drawn.curves[:, 0], unit="steps")
        if not _is_flat(profile, -1)
        else NotIdentified(
            reason="steps still fall at the largest batch size",
            remedy="larger batch sizes",
            unit="steps",
        ),
        alpha=_interval(drawn.curves[:, 2], unit="", log=False),
        draws=drawn.curves,
        deviation=deviation,
        misses=_find_missed(table, expected, deviation),
        single_seed=len(np.unique(table.sizes)) == len(table.values),
        smallest=smallest,
        largest=largest,
    )


def _average(logs: Sequence[Array]) -> Array:
    """The log of a mean of densities, each about its own highest."""
    shifted = np.stack([one - one.max() for one in logs])
    return np.log(np.exp(shifted).mean(0) + 1e-300)


def _read_critical(draws: Array, grid: Array, profile: Array) -> Estimate:
    open_low, open_high = _is_flat(profile, 0), _is_flat(profile, -1)
    if not open_low and not open_high:
        return _interval(draws, unit="examples")
    if open_low and open_high:
        return NotIdentified(
            reason="the data do not bound it", remedy="batch sizes further apart", unit="examples"
        )
    # The one-sided bound is where the likelihood itself has fallen, not a quantile of the grid.
    inside = np.flatnonzero(profile.max() - profile < _CHI2_90 / 2)
    bound = math.exp(float(grid[inside[0] if open_high else inside[-1]]))
    return NotIdentified(
        reason="the data bound it on one side only",
        remedy=f"{'larger' if open_high else 'smaller'} batch sizes, four times apart",
        unit="examples",
        low=bound if open_high else None,
        high=bound if open_low else None,
    )


def _is_flat(profile: Array, side: int) -> bool:
    """Whether the likelihood does not fall enough towards an end of the grid to exclude it."""
    return bool(profile.max() - profile[side] < _CHI2_95)


def _interval(draws: Array, *, unit: str, log: bool = True, confidence: float = 0.95) -> Interval:
    tail = (1 - confidence) / 2
    low, value, high = np.quantile(draws, [tail, 0.5, 1 - tail])
    if log:
        low, value, high = np.exp([low, value, high])
    return Interval(
        value=float(value), low=float(low), high=float(high), unit=unit, confidence=confidence
    )


def _find_missed(table: RunTable, expected: Array, deviation: float) -> int | None:
    """The batch size that is off most, where it is off by enough to refuse the curve."""
    worst: tuple[float, int] | None = None
    for size in np.unique(table.sizes):
        here = (table.sizes == size) & ~table.censored
        if not here.any():
            continue
        rest = table.values[here] - expected[here]
        off = abs(float(rest.mean()))
        # With several seeds their own spread is the noise; else what the curve leaves.
        spread = float(rest.std(ddof=1)) if here.sum() > 1 else deviation
        if off > _MISSED_BY and off > 3 * spread / math.sqrt(here.sum()):
            worst = max(worst or (0.0, 0), (off, int(size)))
    return None if worst is None else worst[1]


def _doublings_outside(logs: Array, smallest: int, largest: int) -> Array:
    """How many doublings the logs of batch sizes lie outside those measured."""
    beyond = np.maximum(math.log(smallest) - logs, logs - math.log(largest))
    return np.maximum(beyond, 0.0) / math.log(2)


def _normal(count: int, *, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal(count)
