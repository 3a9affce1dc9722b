import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from batchscope.errors import InvalidInput
from batchscope.findings.power import POWER, count_seeds, find_power


@pytest.mark.parametrize(("deviations", "seeds"), [(1.0, 17), (1.5, 9), (2.0, 6), (3.0, 4)])
def test_seeds_of_unpaired_arms_are_the_textbooks(deviations: float, seeds: int) -> None:
    assert count_seeds(deviations, 1.0, paired=False) == seeds


def test_the_power_of_paired_seeds_is_that_of_simulated_tests() -> None:
    draw = np.random.default_rng(0)
    gaps = draw.normal(1.5, np.sqrt(2), size=(20_000, 6))

    seen = (stats.ttest_1samp(gaps, 0.0, axis=1).pvalue < 0.05).mean()

    # Two deviations of a share of 20,000 draws.
    assert find_power(1.5, 1.0, 6) == pytest.approx(seen, abs=0.007)


@given(st.floats(0.2, 5.0))
def test_the_count_is_the_fewest_with_that_power(difference: float) -> None:
    seeds = count_seeds(difference, 1.0)

    assert seeds is not None
    assert find_power(difference, 1.0, seeds) >= POWER
    assert seeds == 2 or find_power(difference, 1.0, seeds - 1) < POWER


def test_seeds_that_never_differ_need_only_be_two() -> None:
    assert count_seeds(0.01, 0.0) == 2


@pytest.mark.parametrize("difference", [0.0, -1.0, float("nan")])
def test_a_difference_that_is_none_is_refused(difference: float) -> None:
    with pytest.raises(InvalidInput, match="a difference of"):
        count_seeds(difference, 1.0)


def test_where_a_thousand_seeds_would_not_do_there_is_no_number() -> None:
    # About 2.8 deviations of a mean of 1,000 differences.
    assert find_power(0.1255, 1.0, 1000) > POWER > find_power(0.1245, 1.0, 1000)
    assert count_seeds(0.1245, 1.0) is None
    assert (count_seeds(0.1255, 1.0) or 0) > 980


@pytest.mark.parametrize(("difference", "seeds"), [(27.0, 4), (20.0, 10), (1.0, 5), (0.01, 3)])
def test_the_power_is_that_of_the_noncentral_t(difference: float, seeds: int) -> None:
    shift = difference * math.sqrt(seeds / 2)
    critical = float(stats.t.ppf(0.975, seeds - 1))
    # Of a tail too thin to be computed nothing is left.
    other = np.nan_to_num(stats.nct.cdf(-critical, seeds - 1, shift))

    expected = stats.nct.sf(critical, seeds - 1, shift) + other
    assert find_power(difference, 1.0, seeds) == pytest.approx(expected)
