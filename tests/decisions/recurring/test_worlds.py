import math

import numpy as np
import pytest

from batchscope.decisions.recurring.worlds import Seen, believe_cost, believe_epochs

SIZES = [16, 32, 64, 128, 256, 512]
NORMALS = np.random.default_rng(0).standard_normal((4096, len(SIZES)))


def test_what_was_seen_often_is_known() -> None:
    belief = believe_epochs(SIZES, 64, 100)
    drawn = belief.draw([Seen(2, math.log(20), 1e-4)], 0.01, NORMALS)[0]

    assert drawn[:, 2].mean() == pytest.approx(math.log(20), abs=0.01)
    assert drawn[:, 2].std() < 0.02
    # Away from it less is known, the further the less.
    assert drawn[:, 2].std() < drawn[:, 3].std() < drawn[:, 5].std()


def test_a_gaussian_without_forms_is_conditioned_as_by_hand() -> None:
    belief = believe_cost([16])
    drawn = belief.draw([Seen(0, 3.0, 1.0), Seen(0, 5.0, 1.0)], 0.0, NORMALS[:, :1])[0]

    # The level's variance is 10,000: the data decide, two of variance 1.
    assert drawn.mean() == pytest.approx(4.0, abs=0.05)
    assert drawn.std() == pytest.approx(math.sqrt(0.5), rel=0.05)


def test_a_bound_moves_what_lies_below_it_and_only_that() -> None:
    belief = believe_epochs(SIZES, 64, 100)
    known = [Seen(2, math.log(20), 1e-3)]
    free = belief.draw(known, 0.01, NORMALS)[0]
    low = belief.draw([*known, Seen(3, math.log(5), 0.0, is_bound=True)], 0.01, NORMALS)[0]
    high = belief.draw([*known, Seen(3, math.log(60), 0.0, is_bound=True)], 0.01, NORMALS)[0]

    assert low[:, 3].mean() == pytest.approx(free[:, 3].mean(), abs=0.05)
    assert high[:, 3].mean() > math.log(45)
    assert high[:, 4].mean() > free[:, 4].mean() + 0.3


def test_many_outcomes_with_one_bound_move_further_than_one() -> None:
    belief = believe_epochs(SIZES, 64, 100)
    known = [Seen(2, math.log(20), 1e-3)]

    def move(count: int) -> float:
        bound = Seen(3, math.log(60), 0.0, is_bound=True, count=count)
        return belief.draw([*known, bound], 0.01, NORMALS)[0][:, 3].mean()

    # The least of 1,000 normal values lies about 3.1 deviations below their mean, here 0.31. The
    # mean of a normal value above a bound follows the bound by less than all and more than 2 / pi.
    assert move(1) < move(10) < move(1000)
    assert move(1000) - move(1) == pytest.approx(0.31, abs=0.1)
    assert move(1000) - move(1) < 0.31


def test_a_failure_that_epochs_explain_is_put_down_to_them_and_no_other() -> None:
    belief = believe_epochs(SIZES, 64, 100)
    known = [Seen(2, math.log(20), 1e-3), Seen(3, math.log(22), 1e-3)]
    free, _ = belief.draw(known, 0.01, NORMALS)

    def fail(limit: float, times: int = 1) -> tuple[float, float]:
        bound = Seen(4, math.log(limit), 0.0, is_bound=True, doubt=0.25, chance=0.1)
        drawn, works = belief.draw([*known, *[bound] * times], 0.01, NORMALS)
        return drawn[:, 3].mean() - free[:, 3].mean(), works[4]

    # Where it needs about 27, more than 15 was to be expected, and more than 200 never.
    moved, works = fail(15)
    assert works > 0.7
    assert moved == pytest.approx(0, abs=0.02)
    moved, works = fail(200)
    # Else by chance, a tenth, or for good: 0.75 x 0.1 to 0.25.
    assert works == pytest.approx(0.075 / 0.325, abs=0.01)
    assert moved == pytest.approx(0, abs=0.02)
    assert fail(200, times=3)[1] < 0.01


def test_three_sizes_of_a_hyperbola_tell_the_others() -> None:
    true = {size: 10 * (1 + size / 100) for size in SIZES}
    seen = [Seen(at, math.log(true[SIZES[at]]), 1e-3) for at in (0, 2, 4)]
    drawn = believe_epochs(SIZES, 64, 1000).draw(seen, 0.01, NORMALS)[0]

    for at, size in enumerate(SIZES):
        low, high = np.quantile(drawn[:, at], [0.025, 0.975])
        assert low <= math.log(true[size]) <= high
        assert high - low < math.log(3)
