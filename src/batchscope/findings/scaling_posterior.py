"""How probable each curve of steps against the batch size is, given what runs needed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np
from scipy import special

from batchscope.findings.to_target import StepsToTarget

# alpha is 1 where the noise of the gradient is alike along the whole training (SCIENCE 2.1).
ALPHA, ALPHA_SD = 1.0, 0.1
_DECADES_BEYOND = 2.5
_CURVE_POINTS = 301
_ALPHA_POINTS = 61
# Variance that seeds share over that which they do not: from none to ten times as much.
_SHARED = np.array([0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0])
# Of a log posterior, below the highest: all so far below would be drawn once in 10^12 times.
_NEVER = 40.0

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Places = np.ndarray[tuple[int, ...], np.dtype[np.intp]]


class RunTable:
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

    def add_up(self, values: Array) -> Array:
        """The sum of what runs have of each size and seed, shape (sizes, seeds)."""
        totals = np.zeros_like(self.counts)
        np.add.at(totals, self._cell, values)
        return totals

    def impute(self, drawn: "Draws", rng: np.random.Generator) -> None:
        """Draw what censored runs would have needed, by the first of some curves.

        What a seed has at every batch size is drawn first, by what its runs needed so far.
        """
        level, critical, alpha = drawn.curves[0]
        deviation, shared = float(drawn.deviations[0]), float(drawn.shared[0])
        expected = level + np.logaddexp(0, alpha * (critical - np.log(self.sizes)))
        share = shared / (1 + shared * self.block_sizes)
        luck = share * self.add_up(self.values - expected).sum(0)
        luck += deviation * np.sqrt(share) * rng.standard_normal(len(share))
        expected += luck[self._cell[1]]
        low = (self.bounds - expected) / deviation
        # A standard normal beyond its lower end, by the log of its upper tail.
        tail = special.log_ndtr(-np.minimum(low, 30.0)) + np.log1p(-rng.random(len(low)))
        beyond = -cast(Array, special.ndtri_exp(tail))
        drawn_values = np.maximum(expected + deviation * beyond, self.bounds)
        self.values: Array = np.where(self.censored, drawn_values, self.values)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draws:
    """Draws of the posterior.

    Attributes:
        curves: (log S_min, log B_c, alpha), shape (draws, 3).
        deviations: of a run about what its seed has at every batch size.
        shared: variance of that, over the square of the former.
    """

    curves: Array
    deviations: Array
    shared: Array

    @staticmethod
    def join(parts: "Sequence[Draws]") -> "Draws":
        return Draws(
            curves=np.concatenate([part.curves for part in parts]),
            deviations=np.concatenate([part.deviations for part in parts]),
            shared=np.concatenate([part.shared for part in parts]),
        )


class Grid:
    """The curves that are weighed, and what of the runs does not depend on what they needed.

    With the level integrated out the sum of squares about a curve is a quadratic form in what runs
    needed less what the curve expects. Its part in the curve alone is the same whatever they did.

    Attributes:
        critical, alpha: log B_c and alpha; a curve for each pair, alpha changing fastest.
        shape: what curves expect, less its mean over the runs, (curves, distinct sizes).
        mean: that mean, above log S_min, (curves,).
        share: of each seed's deviation that all its runs have, (shared variance, seeds).
        weight: of what each seed's runs needed in the level, (shared variance, seeds).
        precision: of the level, (shared variance,).
        squares: of runs that all needed the same about a curve, (curves, shared variance).
        prior: and what else of the log posterior stays, (curves, shared variance).
    """

    def __init__(self, distinct: Array, counts: Array) -> None:
        sizes: Array = np.log(distinct)
        block_sizes: Array = counts.sum(0)
        reach = _DECADES_BEYOND * math.log(10)
        self.critical: Array = np.linspace(sizes.min() - reach, sizes.max() + reach, _CURVE_POINTS)
        self.alpha: Array = ALPHA + ALPHA_SD * np.linspace(-3, 3, _ALPHA_POINTS)
        products = cast(Array, self.critical[:, None] * self.alpha)
        of_sizes = np.exp(-self.alpha[:, None] * sizes)
        # (B_c / B)^alpha; what is lost beside the one is 1e-16 of a log.
        powers = np.exp(products)[..., None] * of_sizes
        powers += 1
        shape = np.log(powers, out=powers).reshape(-1, len(sizes))
        runs = counts.sum(1)
        self.mean: Array = shape @ (runs / runs.sum())
        shape -= self.mean[:, None]
        self.shape: Array = shape
        shared = _SHARED[:, None] * block_sizes
        self.share: Array = _SHARED[:, None] / (1 + shared)
        precision = (block_sizes * (1 - self.share * block_sizes)).sum(-1)
        self.precision: Array = precision
        self.weight: Array = (1 - self.share * block_sizes) / precision[:, None]
        # In rows this short, a product of matrices is faster than numbers for all of them.
        of_seeds = shape @ counts
        level = of_seeds @ (self.weight * np.sqrt(precision)[:, None]).T
        squares = np.square(shape) @ np.repeat(runs[:, None], len(_SHARED), axis=1)
        squares -= np.square(level, out=level)
        squares -= np.square(of_seeds, out=of_seeds) @ self.share.T
        self.squares: Array = squares
        determinant = np.log1p(shared).sum(-1) + np.log(precision)
        of_alpha = -0.5 * ((self.alpha - ALPHA) / ALPHA_SD) ** 2
        self.prior: Array = np.tile(of_alpha[:, None] - 0.5 * determinant, (_CURVE_POINTS, 1))


@lru_cache(maxsize=8)
def make_grid(distinct: tuple[float, ...], counts: tuple[tuple[float, ...], ...]) -> Grid:
    """Several targets of the same runs share a grid.

    Args:
        counts: of the runs of each distinct size, by seed.
    """
    return Grid(np.array(distinct), np.array(counts))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Profiles:
    """The highest log posterior at each B_c: of any alpha, and at alpha = 1."""

    any_alpha: Array
    at_one: Array


class Posterior:
    """On the grid of B_c, alpha and the shared variance.

    Attributes:
        logs: of the posterior, up to a constant, (curves, shared variance).
        spreads: residual sums of squares, each curve at its best level, likewise.
        profiles: by which intervals are read as open.
    """

    def __init__(self, table: RunTable, grid: Grid) -> None:
        self._table = table
        self._grid = grid
        self._middle = float(table.values.mean())
        self._about = table.values - self._middle
        self._totals = table.add_up(self._about)
        self.spreads: Array = self._square()
        self.logs: Array = np.log(self.spreads)
        self.logs *= -0.5 * (len(self._about) - 1)
        self.logs += grid.prior
        cube = self.logs.reshape(_CURVE_POINTS, _ALPHA_POINTS, -1)
        self.profiles = Profiles(
            any_alpha=self.logs.reshape(_CURVE_POINTS, -1).max(1),
            at_one=cube[:, _ALPHA_POINTS // 2].max(-1),
        )

    def _square(self) -> Array:
        """The quadratic form in what runs needed, less what each curve expects."""
        grid, counts = self._grid, self._table.counts
        of_seeds = self._totals.sum(0)
        level = grid.weight @ of_seeds
        own = (self._about**2).sum() - grid.share @ of_seeds**2 - grid.precision * level**2
        further = grid.share * of_seeds + grid.weight * (grid.precision * level)[:, None]
        slope = self._totals.sum(1) - further @ counts.T
        spread = grid.shape @ (-2 * slope.T)
        spread += grid.squares
        spread += own + self._table.rounding
        return np.maximum(spread, 1e-12 * len(self._about), out=spread)

    def levels(self, curves: Places, shared: Places) -> Array:
        """The best levels of some curves."""
        grid = self._grid
        rest = self._totals.sum(0) - grid.shape[curves] @ self._table.counts
        return self._middle - grid.mean[curves] + (grid.weight[shared] * rest).sum(-1)

    def expectation(self) -> tuple[Array, float]:
        """What the most probable curve expects of each run, and its deviation."""
        curve, shared = np.unravel_index([int(np.argmax(self.logs))], self.logs.shape)
        of_sizes = self.levels(curve, shared) + self._grid.mean[curve] + self._grid.shape[curve[0]]
        places = np.searchsorted(self._table.distinct, self._table.sizes)
        free = max(1, len(self._about) - 3)
        squares = float(self.spreads[curve[0], shared[0]]) * (1 + float(_SHARED[shared[0]]))
        return of_sizes[places], math.sqrt(squares / free)

    def draw(self, count: int, rng: np.random.Generator) -> Draws:
        """Draws of the posterior."""
        grid = self._grid
        profile = self.profiles.any_alpha
        rows = np.flatnonzero(profile > profile.max() - _NEVER)
        first = int(rows[0]) * _ALPHA_POINTS
        below = self.logs[first : (int(rows[-1]) + 1) * _ALPHA_POINTS] - profile.max()
        below = np.cumsum(np.exp(below, out=below))
        places = cast(Places, np.searchsorted(below, below[-1] * rng.random(count), side="right"))
        curves, shared = np.divmod(places + first * len(_SHARED), len(_SHARED))
        c, a = np.divmod(curves, _ALPHA_POINTS)
        steps = (float(grid.critical[1] - grid.critical[0]), float(grid.alpha[1] - grid.alpha[0]))
        critical = grid.critical[c] + steps[0] * rng.uniform(-0.5, 0.5, count)
        alpha = grid.alpha[a] + steps[1] * rng.uniform(-0.5, 0.5, count)
        freedom = max(1, len(self._about) - 1)
        variance = self.spreads[curves, shared] / rng.chisquare(freedom, count)
        noise = np.sqrt(variance / grid.precision[shared]) * rng.standard_normal(count)
        return Draws(
            curves=np.stack([self.levels(curves, shared) + noise, critical, alpha], axis=1),
            deviations=np.sqrt(variance),
            shared=_SHARED[shared],
        )
