import math

import numpy as np
import pytest

from batchscope.estimate import Interval, NotIdentified
from batchscope.findings.seeds import estimate_median, estimate_over_seeds


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_the_interval_over_seeds_covers_the_centre(rng: np.random.Generator, seeds: int) -> None:
    draws = rng.normal(7.0, 2.0, size=(2000, seeds))

    found = [estimate_over_seeds(row.tolist(), unit="") for row in draws]

    covered = np.mean([isinstance(x, Interval) and x.low <= 7.0 <= x.high for x in found])
    # 95% nominal; 2,000 draws have a standard error of 0.5 points.
    assert 0.935 <= covered <= 0.97


def test_on_the_log_scale_the_interval_covers_the_geometric_centre(
    rng: np.random.Generator,
) -> None:
    draws = np.exp(rng.normal(3.0, 0.5, size=(2000, 3)))

    found = [estimate_over_seeds(row.tolist(), unit="", log=True) for row in draws]

    centre = math.exp(3.0)
    covered = np.mean([isinstance(x, Interval) and x.low <= centre <= x.high for x in found])
    assert 0.935 <= covered <= 0.97


def test_one_seed_has_no_interval() -> None:
    found = estimate_over_seeds([0.5], unit="s")

    assert isinstance(found, NotIdentified)
    assert found.remedy == "--seeds 3"


def test_seeds_that_agree_to_the_last_digit_give_no_tight_interval() -> None:
    assert isinstance(estimate_over_seeds([0.5, 0.5, 0.5], unit=""), NotIdentified)


def test_a_censored_seed_opens_the_upper_end() -> None:
    found = estimate_over_seeds([1.0, 2.0, math.inf], unit="s", log=True)

    assert isinstance(found, Interval)
    assert found.value == 2.0
    assert found.high == math.inf


def test_where_most_seeds_are_censored_nothing_is_told() -> None:
    found = estimate_over_seeds([1.0, math.inf, math.inf], unit="s")

    assert isinstance(found, NotIdentified)
    assert "1 of 3" in found.reason


def test_a_share_stays_between_its_bounds() -> None:
    found = estimate_over_seeds([0.0, 0.01, 0.05], unit="", bounds=(0.0, 1.0))

    assert isinstance(found, Interval)
    assert found.low == 0.0


@pytest.mark.parametrize("repeats", [6, 21, 200])
def test_the_median_of_long_tailed_times_is_covered(rng: np.random.Generator, repeats: int) -> None:
    draws = rng.exponential(size=(2000, repeats))

    found = [estimate_median(row, unit="s") for row in draws]

    covered = np.mean([isinstance(x, Interval) and x.low <= math.log(2) <= x.high for x in found])
    # Order statistics are discrete, so coverage is at least nominal: up to 99% at 21 repeats.
    assert 0.94 <= covered <= 0.99


def test_five_repeats_cannot_cover_at_95_percent() -> None:
    assert isinstance(estimate_median([1.0, 2.0, 3.0, 4.0, 5.0], unit="s"), NotIdentified)
