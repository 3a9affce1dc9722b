import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize

from batchscope.decisions.optimum import find_optimum
from batchscope.estimate import Interval, NotIdentified
from batchscope.findings.scaling import ScalingFit, fit_scaling

from ..findings.test_scaling import draw_runs

SIZES = [8, 16, 32, 64, 128, 256, 512, 1024, 2048]


def draw_fit(rng: np.random.Generator, critical: float) -> ScalingFit:
    fit = fit_scaling(draw_runs(rng, critical=critical))
    assert isinstance(fit, ScalingFit)
    return fit


def time_steps(rng: np.random.Generator, fixed: float, each: float) -> dict[int, tuple[float, ...]]:
    return {size: (fixed + each * size) * np.exp(0.03 * rng.standard_normal(1)) for size in SIZES}


def cover(count: int) -> float:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(count):
        critical, knee = np.exp(rng.uniform(math.log(40), math.log(400), 2))
        found = find_optimum(draw_fit(rng, critical), time_steps(rng, 1e-3, 1e-3 / knee))
        assert isinstance(found, Interval)
        covered += found.low <= math.sqrt(critical * knee) <= found.high
    return covered / count


def test_the_interval_covers_the_root_of_knee_times_critical_batch_size() -> None:
    # Of 150 draws at 95% fewer than 88% are covered once in ten thousand.
    assert cover(150) > 0.88


@pytest.mark.slow
def test_coverage_over_a_thousand_draws() -> None:
    assert 0.92 <= cover(1000) <= 0.98


@pytest.mark.parametrize("alpha", [0.75, 1.0, 1.3])
def test_without_doubt_it_is_where_the_product_is_least(alpha: float) -> None:
    rng = np.random.default_rng(0)
    fit = replace(draw_fit(rng, 100), draws=np.tile([5.0, math.log(100), alpha], (50, 1)))
    times = {size: (1e-3 + 2e-5 * size,) for size in SIZES}

    found = find_optimum(fit, times)

    def take(log: float) -> float:
        return (1 + (100 / math.exp(log)) ** alpha) * (1e-3 + 2e-5 * math.exp(log))

    least = math.exp(optimize.minimize_scalar(take, bounds=(2, 8), options={"xatol": 1e-9}).x)
    assert isinstance(found, Interval)
    # Timings without noise are taken to be off by a millionth.
    assert (found.low, found.value, found.high) == pytest.approx((least,) * 3, rel=1e-4)


def test_where_steps_cost_the_same_at_every_size_only_a_bound_is_known() -> None:
    rng = np.random.default_rng(0)
    times = time_steps(rng, 1e-3, 0.0)

    found = find_optimum(draw_fit(rng, 1500), times)

    assert isinstance(found, NotIdentified)
    assert found.high is None
    assert found.low is not None
    assert found.low > max(times)


def test_two_timed_sizes_are_too_few() -> None:
    rng = np.random.default_rng(0)
    times = time_steps(rng, 1e-3, 1e-5)

    found = find_optimum(draw_fit(rng, 100), {size: times[size] for size in (8, 16)})

    assert isinstance(found, NotIdentified)
