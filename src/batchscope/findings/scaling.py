"""How steps to a target fall with the batch size: the curve, and the critical batch size in it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from scipy import special

from batchscope.estimate import Estimate, Interval, NotIdentified

# That got to the target, for a curve.
LEAST_SIZES = 3
# alpha is 1 where the noise of the gradient is alike along the whole training (SCIENCE 2.1).
ALPHA, ALPHA_SD = 1.0, 0.1
# What a doubling beyond the data adds to the log: a form that fits inside may bend outside.
SD_PER_DOUBLING = 0.1
_DECADES_BEYOND = 2.5
_CURVE_POINTS = 301
_ALPHA_POINTS = 61
# Variance that seeds share over that which they do not: from none to ten times as much.
_SHARED = np.array([0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0])
_DRAWS = 4000
# Half the 95% point of chi square with one degree, and its 90% point for one-sided bounds.
_CHI2_95 = 1.92
_CHI2_90 = 2.71
_MISSED_BY = math.log(1.25)
# Where runs are censored: rounds of drawing what they would have needed, and of them the first.
_SWEEPS, _BURN_IN = 40, 15

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Places = np.ndarray[tuple[int, ...], np.dtype[np.intp]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsToTarget:
    """What one run needed.

    Attributes:
        steps: above 0; where censored, those that it took without getting there.
        gap: the log of the ratio of the two evaluations between which it got there; 0 if exact.
    """

    batch_size: int
    seed: int
    steps: float
    is_censored: bool = False
    gap: float = 0.0


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
    get there would have needed is drawn beyond their last step, in turn with the curve (Gibbs
    sampling), so that not knowing it widens the interval. An interval is open where the
    likelihood does not fall towards that side.

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
    table = _Table(observed)
    grid = _Grid(table)
    rng = np.random.default_rng(0)
    if not table.censored.any():
        posterior = _Posterior(table, grid)
        return _summarize(table, [posterior], posterior.draw(_DRAWS, rng))
    kept: list[_Posterior] = []
    for sweep in range(_SWEEPS):
        posterior = _Posterior(table, grid)
        if sweep >= _BURN_IN:
            kept.append(posterior)
        table.impute(posterior.draw(1, rng), rng)
    each = -(-_DRAWS // len(kept))
    parts = [posterior.draw(each, rng) for posterior in kept]
    return _summarize(table, kept, _Draws.join(parts))


class _Table:
    """The runs as arrays."""

    def __init__(self, observed: Sequence[StepsToTarget]) -> None:
        ordered = sorted(observed, key=lambda run: (run.batch_size, run.seed))
        self.sizes = np.array([run.batch_size for run in ordered], dtype=float)
        self.bounds = np.log([max(run.steps, 1e-9) for run in ordered])
        self.censored = np.array([run.is_censored for run in ordered])
        # Between evaluations the log of the steps is off by at most an eighth of the gap where
        # the curve bends between them as it does beside them.
        self.rounding = float(sum((run.gap / 8) ** 2 for run in ordered))
        self.values = self.bounds + np.where(self.censored, 0.3, 0.0)
        seeds = [run.seed for run in ordered]
        blocks = np.unique(seeds, return_inverse=True)[1]
        self.distinct, places = np.unique(self.sizes, return_inverse=True)
        # Runs of each size and seed, which is all that the curve needs to know of them.
        self._cell = (places, blocks)
        self.counts = np.zeros((len(self.distinct), int(blocks.max()) + 1))
        np.add.at(self.counts, self._cell, 1.0)
        self.block_sizes: Array = self.counts.sum(0)

    def totals(self) -> Array:
        """The sum of the values of each size and seed, shape (sizes, seeds)."""
        totals = np.zeros_like(self.counts)
        np.add.at(totals, self._cell, self.values)
        return totals

    def impute(self, drawn: "_Draws", rng: np.random.Generator) -> None:
        """Draw what censored runs would have needed, by one curve."""
        level, critical, alpha = drawn.curves[0]
        expected = level + np.logaddexp(0, alpha * (critical - np.log(self.sizes)))
        deviation = float(drawn.deviations[0])
        low = (self.bounds - expected) / deviation
        # A standard normal beyond its lower end, by the log of its upper tail.
        tail = special.log_ndtr(-np.minimum(low, 30.0)) + np.log1p(-rng.random(len(low)))
        beyond = -cast(Array, special.ndtri_exp(tail))
        drawn_values = np.maximum(expected + deviation * beyond, self.bounds)
        self.values: Array = np.where(self.censored, drawn_values, self.values)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Draws:
    """Draws of (log S_min, log B_c, alpha), and of a run's deviation about the curve."""

    curves: Array
    deviations: Array

    @staticmethod
    def join(parts: "Sequence[_Draws]") -> "_Draws":
        return _Draws(
            curves=np.concatenate([part.curves for part in parts]),
            deviations=np.concatenate([part.deviations for part in parts]),
        )


class _Grid:
    """The curves that are weighed, and what of the runs does not depend on what they needed.

    Attributes:
        critical, alpha: log B_c and alpha of the curves.
        shape: what they expect above log S_min, (B_c, alpha, distinct sizes); with the runs of each
            seed summed, `expected`, (B_c, alpha, seeds).
        share: of each seed's deviation that all its runs have, (shared variance, seeds).
        precision: of the level, (shared variance,).
        prior: and what else of the log posterior stays, (1, alpha, shared variance).
    """

    def __init__(self, table: _Table) -> None:
        sizes = np.log(table.distinct)
        reach = _DECADES_BEYOND * math.log(10)
        self.critical: Array = np.linspace(sizes.min() - reach, sizes.max() + reach, _CURVE_POINTS)
        self.alpha: Array = ALPHA + ALPHA_SD * np.linspace(-3, 3, _ALPHA_POINTS)
        distance = cast(Array, self.critical[:, None, None] - sizes)
        self.shape: Array = np.logaddexp(0, self.alpha[None, :, None] * distance)
        self.expected: Array = self.shape @ table.counts
        shared = _SHARED[:, None] * table.block_sizes
        self.share: Array = _SHARED[:, None] / (1 + shared)
        self.weight: Array = 1 - self.share * table.block_sizes
        self.precision: Array = (table.block_sizes * self.weight).sum(-1)
        determinant = np.log1p(shared).sum(-1) + np.log(self.precision)
        of_alpha = -0.5 * ((self.alpha - ALPHA) / ALPHA_SD) ** 2
        self.prior: Array = of_alpha[None, :, None] - 0.5 * determinant


class _Posterior:
    """On the grid of B_c, alpha and the shared variance."""

    def __init__(self, table: _Table, grid: _Grid) -> None:
        self._table = table
        self._grid = grid
        self.critical, self.alpha = grid.critical, grid.alpha
        self.logs, self.levels, self.spreads = self._evaluate()

    def _evaluate(self) -> tuple[Array, Array, Array]:
        """Log posterior, best level and residual sum of squares, each (B_c, alpha, shared)."""
        table, grid, count = self._table, self._grid, len(self._table.values)
        totals, counts = table.totals(), table.counts.sum(1)
        means = totals.sum(1) / counts
        # Within a size the squares do not depend on the curve; between sizes they are about it.
        within = float((table.values**2).sum() - means**2 @ counts)
        squares = (means - grid.shape) ** 2 @ counts + within + table.rounding
        sums = totals.sum(0) - grid.expected
        cross: Array = sums @ grid.weight.T
        # In place: each of these arrays is a megabyte.
        spread = np.subtract(squares[..., None], sums**2 @ grid.share.T)
        level = cross / grid.precision
        spread -= np.multiply(cross, level, out=cross)
        np.maximum(spread, 1e-12 * count, out=spread)
        logs = np.log(spread)
        logs *= -0.5 * (count - 1)
        logs += grid.prior
        return logs, level, spread

    def expectation(self) -> tuple[Array, float]:
        """What the most probable curve expects of each run, and its deviation."""
        at = np.unravel_index(int(np.argmax(self.logs)), self.logs.shape)
        shape = np.logaddexp(
            0, self.alpha[at[1]] * (self.critical[at[0]] - np.log(self._table.sizes))
        )
        deviation = math.sqrt(float(self.spreads[at]) / max(1, len(self._table.values) - 3))
        return self.levels[at] + shape, deviation

    def draw(self, count: int, rng: np.random.Generator) -> _Draws:
        """Draws of the posterior."""
        table = self._table
        below = self.logs - self.logs.max()
        below = np.exp(below, out=below).ravel()
        np.cumsum(below, out=below)
        drawn = below[-1] * rng.random(count)
        places = cast(Places, np.searchsorted(below, drawn, side="right"))
        c, a, r = np.unravel_index(places, self.logs.shape)
        steps = (float(self.critical[1] - self.critical[0]), float(self.alpha[1] - self.alpha[0]))
        critical = self.critical[c] + steps[0] * rng.uniform(-0.5, 0.5, count)
        alpha = self.alpha[a] + steps[1] * rng.uniform(-0.5, 0.5, count)
        variance = self.spreads[c, a, r] / rng.chisquare(max(1, len(table.values) - 1), count)
        noise = np.sqrt(variance / self._grid.precision[r]) * rng.standard_normal(count)
        return _Draws(
            curves=np.stack([self.levels[c, a, r] + noise, critical, alpha], axis=1),
            deviations=np.sqrt(variance * (1 + _SHARED[r])),
        )


def _summarize(table: _Table, posteriors: Sequence[_Posterior], drawn: _Draws) -> ScalingFit:
    last = posteriors[-1]
    smallest, largest = int(table.sizes.min()), int(table.sizes.max())
    critical = drawn.curves[:, 1]
    outside = _doublings_outside(critical, smallest, largest)
    widened = critical + SD_PER_DOUBLING * outside * _normal(len(critical), seed=1)
    profile = _average([posterior.logs.max((1, 2)) for posterior in posteriors])
    at_one = _average([p.logs[:, _ALPHA_POINTS // 2, :].max(-1) for p in posteriors])
    rng = np.random.default_rng(3)
    weights = np.exp(at_one - at_one.max())
    hyperbola = rng.choice(last.critical, size=_DRAWS, p=weights / weights.sum())
    expected, deviation = last.expectation()
    return ScalingFit(
        critical=_read_critical(widened, last.critical, profile),
        hyperbola=_read_critical(hyperbola, last.critical, at_one),
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


def _find_missed(table: _Table, expected: Array, deviation: float) -> int | None:
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
