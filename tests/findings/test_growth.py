import math

import numpy as np
import pytest

from batchscope.budget import Target
from batchscope.estimate import Interval, NotIdentified
from batchscope.findings.critical import CriticalBatchSize
from batchscope.findings.growth import find_growth


def job(b_2x: float, *, error: float = 0.05) -> CriticalBatchSize:
    half = math.exp(1.96 * error)
    found = Interval(value=b_2x, low=b_2x / half, high=b_2x * half, unit="examples")
    unknown = NotIdentified(reason="of no interest here", remedy="", unit="")
    return CriticalBatchSize(
        target=Target("val_loss", 0.1, "<="),
        b_2x=found,
        b_2x_hyperbola=unknown,
        b_20=found,
        smallest=8,
        least_steps=unknown,
        alpha=unknown,
        regimes={},
        falling=(),
        warnings=(),
    )


def test_the_exponent_is_covered() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        jobs = {
            str(size): job(100 * (size / 1e6) ** 0.47 * math.exp(0.05 * rng.standard_normal()))
            for size in (1e6, 3e6, 1e7, 3e7)
        }
        found = find_growth("data_size", jobs)
        assert found is not None
        assert isinstance(found.b_2x, Interval)
        covered += found.b_2x.low <= 0.47 <= found.b_2x.high

    # 95% of 400, less four standard errors; wider where the jobs scatter by chance.
    assert covered >= 0.91 * 400


def test_two_jobs_are_too_few_and_names_are_no_sizes() -> None:
    found = find_growth("data_size", {"1": job(10), "2": job(20)})

    assert found is not None
    assert isinstance(found.b_2x, NotIdentified)
    assert find_growth("dataset", {"mnist": job(10), "cifar": job(20)}) is None


def test_a_flat_critical_batch_size_has_exponent_0() -> None:
    found = find_growth("parameters", {str(n): job(100) for n in (1e6, 1e7, 1e8)})

    assert found is not None
    assert isinstance(found.b_2x, Interval)
    assert found.b_2x.value == pytest.approx(0, abs=1e-9)
