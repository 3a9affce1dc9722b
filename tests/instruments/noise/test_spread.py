import numpy as np
import pytest

from batchscope.errors import InvalidInput
from batchscope.estimate import Interval
from batchscope.instruments.noise.spread import find_departure, measure_spread

from ...conftest import make_task
from ..problems import CPU, SETTINGS, at_start, gaussian_regression


def test_independent_examples_give_the_exponent_of_one_half() -> None:
    task = gaussian_regression(SETTINGS["even"][0])

    found = measure_spread(task, at_start(task), precision="float32", device=CPU)

    assert isinstance(found.exponent, Interval)
    assert found.exponent.low <= -0.5 <= found.exponent.high
    assert found.exponent.value == pytest.approx(-0.5, abs=0.05)


def test_batches_that_become_the_data_leave_the_law() -> None:
    task = gaussian_regression(SETTINGS["even"][0], size=1_024)

    found = measure_spread(task, at_start(task), precision="float32", device=CPU, draws=96)

    # Half of the data has sqrt(1/2) of the law's deviation.
    assert found.leaves_at is not None
    assert found.leaves_at >= 256


def test_a_straight_law_is_left_no_more_often_than_stated(rng: np.random.Generator) -> None:
    sizes = np.log(2.0 ** np.arange(9))
    left = sum(
        find_departure(sizes, -0.5 * sizes[:, None] + 0.3 * rng.standard_normal((9, 24))) < 9
        for _ in range(400)
    )

    # 5% by construction; 9% is more than three standard errors above.
    assert left / 400 <= 0.09


def test_a_kink_is_found_where_it_is(rng: np.random.Generator) -> None:
    sizes = np.log(2.0 ** np.arange(9))
    law = -0.5 * sizes - np.where(np.arange(9) >= 6, 1.0, 0.0)

    assert find_departure(sizes, law[:, None] + 0.3 * rng.standard_normal((9, 24))) == 6


def test_too_few_examples_are_refused() -> None:
    task = make_task(train=tuple(x[:10] for x in make_task().train.tensors))

    with pytest.raises(InvalidInput, match="no exponent"):
        measure_spread(task, at_start(task), precision="float32", device=CPU)
