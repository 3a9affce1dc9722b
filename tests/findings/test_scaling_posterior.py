"""The posterior on its grid beside generalised least squares by matrices of all runs."""

import numpy as np
import pytest

from batchscope.findings.scaling_posterior import (
    ALPHA,
    ALPHA_SD,
    Grid,
    Posterior,
    RunTable,
    make_grid,
)
from batchscope.findings.to_target import StepsToTarget

SHARED = np.array([0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0])


def observe_some(rng: np.random.Generator) -> list[StepsToTarget]:
    """Some seeds without some sizes, one with one, and a seed that was run twice at a size."""
    luck = 0.2 * rng.standard_normal(8)
    cells = [(b, s) for b in (8, 32, 64, 512) for s in range(4) if (b + s) % 5]
    return [
        StepsToTarget(
            batch_size=b,
            seed=s,
            steps=300 * (1 + 60 / b) * float(np.exp(luck[s] + 0.1 * rng.standard_normal())),
            gap=0.2,
        )
        for b, s in [*cells, (32, 1), (64, 7)]
    ]


def weigh(runs: list[StepsToTarget]) -> tuple[Grid, Posterior]:
    table = RunTable(runs)
    grid = make_grid(tuple(table.distinct), tuple(map(tuple, table.counts)))
    return grid, Posterior(table, grid)


def curve_of(grid: Grid, curve: int) -> tuple[float, float]:
    critical, alpha = divmod(curve, len(grid.alpha))
    return float(grid.critical[critical]), float(grid.alpha[alpha])


def expect(critical: float, alpha: float, sizes: np.ndarray) -> np.ndarray:
    return np.log1p((np.exp(critical) / sizes) ** alpha)


def weigh_by_matrices(
    runs: list[StepsToTarget], critical: float, alpha: float, shared: float
) -> tuple[float, float, float, float]:
    """Log posterior, sum of squares, best level and the variance of that over a run's own."""
    sizes, seeds = np.array([(r.batch_size, r.seed) for r in runs], dtype=float).T
    values = np.log([r.steps for r in runs])
    covariance = np.eye(len(runs)) + shared * (seeds[:, None] == seeds)
    inverse, ones = np.linalg.inv(covariance), np.ones(len(runs))
    rest = values - expect(critical, alpha, sizes)
    precision = ones @ inverse @ ones
    level = ones @ inverse @ rest / precision
    rounding = sum((r.gap / 8) ** 2 for r in runs)
    squares = (rest - level) @ inverse @ (rest - level) + rounding
    determinant = np.linalg.slogdet(covariance)[1] + np.log(precision)
    prior = -0.5 * ((alpha - ALPHA) / ALPHA_SD) ** 2
    log = prior - 0.5 * determinant - 0.5 * (len(runs) - 1) * np.log(squares)
    return log, squares, level, 1 / precision


def test_the_posterior_is_that_of_generalised_least_squares() -> None:
    rng = np.random.default_rng(0)
    runs = observe_some(rng)
    grid, posterior = weigh(runs)
    curves = rng.integers(0, len(grid.mean), 200)
    shared = rng.integers(0, len(SHARED), 200)

    levels = posterior.levels(curves, shared)

    for curve, at, level in zip(curves, shared, levels, strict=True):
        expected = weigh_by_matrices(runs, *curve_of(grid, int(curve)), float(SHARED[at]))
        found = posterior.logs[curve, at], posterior.spreads[curve, at], level
        # Rounding, of squares of tens that leave some hundredths.
        assert found == pytest.approx(expected[:3], rel=1e-9)


def test_the_expectation_is_that_of_the_most_probable_curve() -> None:
    runs = observe_some(np.random.default_rng(3))
    grid, posterior = weigh(runs)
    curve, shared = np.unravel_index(int(np.argmax(posterior.logs)), posterior.logs.shape)
    critical, alpha = curve_of(grid, int(curve))
    _, squares, level, _ = weigh_by_matrices(runs, critical, alpha, float(SHARED[shared]))

    expected, deviation = posterior.expectation()

    sizes = np.sort([run.batch_size for run in runs])
    assert expected == pytest.approx(level + expect(critical, alpha, sizes), rel=1e-9)
    variance = squares * (1 + SHARED[shared]) / (len(runs) - 3)
    assert deviation == pytest.approx(variance**0.5, rel=1e-9)


def test_draws_have_the_moments_of_the_posterior() -> None:
    runs = observe_some(np.random.default_rng(1))
    grid, posterior = weigh(runs)
    weights = np.exp(posterior.logs - posterior.logs.max())
    # Matrices of each cell take long, and none of these would change a moment by a thousandth.
    weights[weights < 1e-6 * weights.max()] = 0.0
    weights /= weights.sum()
    freedom = len(runs) - 1
    moments = np.zeros((4, 2))
    for place in np.flatnonzero(weights):
        curve, at = divmod(int(place), len(SHARED))
        critical, alpha = curve_of(grid, curve)
        _, squares, level, unit = weigh_by_matrices(runs, critical, alpha, float(SHARED[at]))
        # Of the inverse of a chi square, whose mean is 1 / (freedom - 2).
        variance = squares / (freedom - 2)
        of_noise = squares**2 / ((freedom - 2) * (freedom - 4))
        cells = [np.diff(grid.critical)[0] ** 2 / 12, np.diff(grid.alpha)[0] ** 2 / 12]
        means = np.array([level, critical, alpha, variance])
        spreads = np.array([variance * unit, *cells, of_noise - variance**2])
        moments += weights.ravel()[place] * np.stack([means, means**2 + spreads], axis=1)

    drawn = posterior.draw(40_000, np.random.default_rng(2))

    found = np.column_stack([drawn.curves, drawn.deviations**2])
    for (mean, square), values in zip(moments, found.T, strict=True):
        # Five standard errors of each, the fourth moment as it was drawn.
        fourth = float(((values - values.mean()) ** 4).mean())
        variance = float(square - mean**2)
        assert values.mean() == pytest.approx(mean, abs=5 * (variance / 40_000) ** 0.5)
        assert values.var() == pytest.approx(variance, abs=5 * (fourth / 40_000) ** 0.5)
    shares = [float((drawn.shared == one).mean()) for one in SHARED]
    assert shares == pytest.approx(weights.sum(0), abs=5 * 0.5 / 40_000**0.5)


def test_exact_steps_on_a_curve_of_the_grid_leave_no_spread() -> None:
    grid, _ = weigh(observe_some(np.random.default_rng(0)))
    critical, alpha = curve_of(grid, 9000)
    runs = [
        StepsToTarget(batch_size=b, seed=s, steps=float(300 * np.exp(expect(critical, alpha, b))))
        for b in (8, 32, 64, 512)
        for s in range(3)
    ]

    grid, posterior = weigh(runs)

    assert np.argmax(posterior.logs.max(1)) == 9000
    # A millionth of the log of each, below which rounding decides.
    assert posterior.spreads.min() == pytest.approx(1e-12 * len(runs))
    _, deviation = posterior.expectation()
    assert deviation < 1e-5


def test_where_no_seed_was_run_twice_the_unit_of_steps_does_not_matter() -> None:
    rng = np.random.default_rng(5)
    sizes = (8, 32, 128, 512)
    steps = [300 * (1 + 60 / b) * float(np.exp(0.1 * rng.standard_normal())) for b in sizes]

    def deviate(unit: float) -> float:
        runs = [
            StepsToTarget(batch_size=b, seed=s, steps=unit * one)
            for s, (b, one) in enumerate(zip(sizes, steps, strict=True))
        ]
        return weigh(runs)[1].expectation()[1]

    # What seeds share cannot be told from what they do not: all shares are as probable.
    assert [deviate(unit) for unit in (3.0, 10.0, 1e6)] == pytest.approx([deviate(1.0)] * 3)
