"""How steps to a target fall with the batch size: the curve, and the critical batch size in it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from batchscope.estimate import Estimate, Interval, NotIdentified

# alpha is 1 where the noise of the gradient is alike along the whole training (SCIENCE 2.1).
_ALPHA, _ALPHA_SD = 1.0, 0.1
# What a doubling beyond the data adds to the log: a form that fits inside may bend outside.
_SD_PER_DOUBLING = 0.1
_DECADES_BEYOND = 2.5
_CURVE_POINTS = 301
_ALPHA_POINTS = 61
# Variance that seeds share over that which they do not: from none to ten times as much.
_SHARED = np.array([0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0])
_DRAWS = 4000
_CHI2_95 = 1.92
_MISSED_BY = math.log(1.25)
_ROUNDS_OF_CENSORING = 12

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


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
        logs = logs + _SD_PER_DOUBLING * outside * _normal(len(logs), seed=2)
        return _interval(logs, unit="steps", confidence=confidence)


def fit_scaling(observed: Sequence[StepsToTarget]) -> ScalingFit | NotIdentified:
    """Fit the curve to the runs of all batch sizes.

    The posterior is computed on a grid of (B_c, alpha, share of the variance that a seed has at
    every batch size), S_min and the noise integrated out (a Student's t in the log of steps), with
    alpha ~ N(1, 0.1), B_c flat in its log, and Jeffreys' prior of the noise. Runs that did not
    get there are given what the fit expects of them beyond their last step. An interval is open
    where the likelihood does not fall towards that side.

    Args:
        observed: runs at their batch size's best learning rate.

    Returns:
        Not identified with fewer than three batch sizes at which some run got there.
    """
    reached = {run.batch_size for run in observed if not run.is_censored}
    if len(reached) < 3:
        return NotIdentified(
            reason=f"{len(reached)} batch size{'s' if len(reached) != 1 else ''} got to the target",
            remedy="three batch sizes, a factor of four apart, that reach it",
            unit="examples",
        )
    table = _Table(observed)
    posterior = _Posterior(table)
    for _ in range(_ROUNDS_OF_CENSORING if table.censored.any() else 0):
        table.impute(*posterior.expectation())
        posterior = _Posterior(table)
    return posterior.summarize()


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

    def impute(self, expected: Array, deviation: float) -> None:
        """Give censored runs their mean beyond their last step."""
        from scipy import stats

        low = (self.bounds - expected) / max(deviation, 1e-6)
        beyond = expected + deviation * np.exp(stats.norm.logpdf(low) - stats.norm.logsf(low))
        self.values = np.where(self.censored, np.maximum(beyond, self.bounds), self.values)


class _Posterior:
    """On the grid of B_c, alpha and the shared variance."""

    def __init__(self, table: _Table) -> None:
        self._table = table
        sizes = np.log(table.sizes)
        reach = _DECADES_BEYOND * math.log(10)
        self.critical: Array = np.linspace(sizes.min() - reach, sizes.max() + reach, _CURVE_POINTS)
        self.alpha: Array = _ALPHA + _ALPHA_SD * np.linspace(-3, 3, _ALPHA_POINTS)
        self.logs, self.levels, self.spreads = self._evaluate()

    def _evaluate(self) -> tuple[Array, Array, Array]:
        """Log posterior, best level and residual sum of squares, each (B_c, alpha, shared)."""
        table, count = self._table, len(self._table.values)
        distance: Array = self.critical[:, None, None] - np.log(table.distinct)
        totals, counts = table.totals(), table.counts
        shape = np.logaddexp(0, self.alpha[None, :, None] * distance)
        means = totals.sum(1) / counts.sum(1)
        # Within a size the squares do not depend on the curve; between sizes they are about it.
        within = float((table.values**2).sum() - means**2 @ counts.sum(1))
        squares = (means - shape) ** 2 @ counts.sum(1) + within + table.rounding
        sums = totals.sum(0) - shape @ counts
        k = _SHARED[:, None] / (1 + _SHARED[:, None] * table.block_sizes)
        weight = 1 - k * table.block_sizes
        precision = (table.block_sizes * weight).sum(-1)
        cross = sums @ weight.T
        spread = squares[..., None] - sums**2 @ k.T - cross**2 / precision
        spread = np.maximum(spread, 1e-12 * count)
        determinant = np.log1p(_SHARED[:, None] * table.block_sizes).sum(-1) + np.log(precision)
        prior = -0.5 * ((self.alpha - _ALPHA) / _ALPHA_SD) ** 2
        logs = -0.5 * (count - 1) * np.log(spread) - 0.5 * determinant + prior[None, :, None]
        return logs, cross / precision, spread

    def expectation(self) -> tuple[Array, float]:
        """What the most probable curve expects of each run, and its deviation."""
        at = np.unravel_index(int(np.argmax(self.logs)), self.logs.shape)
        shape = np.logaddexp(
            0, self.alpha[at[1]] * (self.critical[at[0]] - np.log(self._table.sizes))
        )
        deviation = math.sqrt(float(self.spreads[at]) / max(1, len(self._table.values) - 3))
        return self.levels[at] + shape, deviation

    def summarize(self) -> ScalingFit:
        table, count = self._table, len(self._table.values)
        rng = np.random.default_rng(0)
        weights = np.exp(self.logs - self.logs.max())
        places = rng.choice(weights.size, size=_DRAWS, p=(weights / weights.sum()).ravel())
        c, a, r = np.unravel_index(places, weights.shape)
        step = float(self.critical[1] - self.critical[0])
        critical: Array = self.critical[c] + step * rng.uniform(-0.5, 0.5, _DRAWS)
        variance = self.spreads[c, a, r] / rng.chisquare(max(1, count - 1), _DRAWS)
        k = _SHARED[:, None] / (1 + _SHARED[:, None] * table.block_sizes)
        precision = (table.block_sizes * (1 - k * table.block_sizes)).sum(-1)
        noise = np.sqrt(variance / precision[r]) * rng.standard_normal(_DRAWS)
        alpha = self.alpha[a] + (self.alpha[1] - self.alpha[0]) * rng.uniform(-0.5, 0.5, _DRAWS)
        draws: Array = np.stack([self.levels[c, a, r] + noise, critical, alpha], axis=1)
        smallest, largest = int(table.sizes.min()), int(table.sizes.max())
        outside = _doublings_outside(critical, smallest, largest)
        widened = critical + _SD_PER_DOUBLING * outside * _normal(_DRAWS, seed=1)
        profile = self.logs.max((1, 2))
        at_one = self.logs[:, _ALPHA_POINTS // 2, :]
        expected, deviation = self.expectation()
        return ScalingFit(
            critical=self._read_critical(widened, profile, "examples"),
            hyperbola=self._read_hyperbola(at_one),
            least_steps=_close_or_open(
                draws[:, 0], open_low=_is_flat(profile, -1), open_high=False, unit="steps"
            ),
            alpha=_interval(draws[:, 2], unit="", log=False),
            draws=draws,
            deviation=deviation,
            misses=_find_missed(table, expected, deviation),
            single_seed=len(np.unique(table.sizes)) == count,
            smallest=smallest,
            largest=largest,
        )

    def _read_critical(self, logs: Array, profile: Array, unit: str) -> Estimate:
        return _close_or_open(
            logs, open_low=_is_flat(profile, 0), open_high=_is_flat(profile, -1), unit=unit
        )

    def _read_hyperbola(self, logs: Array) -> Estimate:
        weights = np.exp(logs - logs.max()).sum(-1)
        rng = np.random.default_rng(3)
        places = rng.choice(len(weights), size=_DRAWS, p=weights / weights.sum())
        return self._read_critical(self.critical[places], logs.max(-1), "examples")


def _is_flat(profile: Array, side: int) -> bool:
    """Whether the likelihood does not fall enough towards an end of the grid to exclude it."""
    return bool(profile.max() - profile[side] < _CHI2_95)


def _close_or_open(logs: Array, *, open_low: bool, open_high: bool, unit: str) -> Estimate:
    if open_low or open_high:
        low, high = np.exp(np.quantile(logs, [0.05, 0.95]))
        side = "smaller" if open_low and not open_high else "larger"
        return NotIdentified(
            reason=f"the data bound it on {'one side' if open_low != open_high else 'no side'} only"
            if open_low != open_high
            else "the data do not bound it",
            remedy=f"{side} batch sizes, four times apart",
            unit=unit,
            low=float(low) if open_high and not open_low else None,
            high=float(high) if open_low and not open_high else None,
        )
    return _interval(logs, unit=unit)


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
