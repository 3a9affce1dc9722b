import numpy as np
import pytest

from batchscope.findings.scaling_posterior import ALPHA, ALPHA_SD, Posterior, RunTable, make_grid
from batchscope.findings.to_target import StepsToTarget

SHARED = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


def observe_some(rng: np.random.Generator) -> list[StepsToTarget]:
    """Seeds with all sizes, with some and with one: no two blocks need be alike."""
    cells = [(b, s) for b in (8, 32, 64, 512) for s in range(4) if (b + s) % 5]
    return [
        StepsToTarget(
            batch_size=b,
            seed=s,
            steps=300 * (1 + 60 / b) * float(np.exp(0.1 * rng.standard_normal())),
            gap=0.2,
        )
        for b, s in cells
    ]


def dense_log_posterior(
    runs: list[StepsToTarget], critical: float, alpha: float, shared: float
) -> tuple[float, float, float]:
    """Log posterior, sum of squares and best level, by matrices of all runs."""
    sizes, seeds = np.array([(r.batch_size, r.seed) for r in runs], dtype=float).T
    values = np.log([r.steps for r in runs])
    covariance = np.eye(len(runs)) + shared * (seeds[:, None] == seeds)
    inverse, ones = np.linalg.inv(covariance), np.ones(len(runs))
    rest = values - np.log1p((np.exp(critical) / sizes) ** alpha)
    precision = ones @ inverse @ ones
    level = ones @ inverse @ rest / precision
    rounding = sum((r.gap / 8) ** 2 for r in runs)
    squares = (rest - level) @ inverse @ (rest - level) + rounding
    determinant = np.linalg.slogdet(covariance)[1] + np.log(precision)
    prior = -0.5 * ((alpha - ALPHA) / ALPHA_SD) ** 2
    return prior - 0.5 * determinant - 0.5 * (len(runs) - 1) * np.log(squares), squares, level


def test_the_posterior_is_that_of_generalised_least_squares() -> None:
    rng = np.random.default_rng(0)
    runs = observe_some(rng)
    table = RunTable(runs)
    grid = make_grid(tuple(table.distinct), tuple(map(tuple, table.counts)))
    posterior = Posterior(table, grid)
    curves = rng.integers(0, len(grid.mean), 200)
    shared = rng.integers(0, len(SHARED), 200)

    levels = posterior.levels(curves, shared)

    ordered = sorted(runs, key=lambda run: (run.batch_size, run.seed))
    for curve, at, level in zip(curves, shared, levels, strict=True):
        critical = float(grid.critical[curve // len(grid.alpha)])
        alpha = float(grid.alpha[curve % len(grid.alpha)])
        expected = dense_log_posterior(ordered, critical, alpha, SHARED[at])
        found = posterior.logs[curve, at], posterior.spreads[curve, at], level
        # Sums of squares of up to a thousand are rounded, and of what is left 0.1 at least.
        assert found == pytest.approx(expected, rel=1e-9)


def test_draws_have_the_moments_of_the_posterior() -> None:
    table = RunTable(observe_some(np.random.default_rng(1)))
    grid = make_grid(tuple(table.distinct), tuple(map(tuple, table.counts)))
    posterior = Posterior(table, grid)
    weights = np.exp(posterior.logs - posterior.logs.max()).sum(1)
    critical, alpha = np.meshgrid(grid.critical, grid.alpha, indexing="ij")

    drawn = posterior.draw(40_000, np.random.default_rng(2)).curves

    for values, found in ((critical, drawn[:, 1]), (alpha, drawn[:, 2])):
        mean = float(np.average(values.ravel(), weights=weights))
        variance = float(np.average((values.ravel() - mean) ** 2, weights=weights))
        # Five standard errors of a mean of 40,000, and of a variance.
        assert found.mean() == pytest.approx(mean, abs=5 * (variance / 40_000) ** 0.5)
        assert found.var() == pytest.approx(variance, rel=5 * (2 / 40_000) ** 0.5 + 0.01)
