import math

import numpy as np
import pytest

from batchscope.decisions.recurring.worlds import Seen, believe_cost, believe_epochs

SIZES = [16, 32, 64, 128, 256, 512]
NORMALS = np.random.default_rng(0).standard_normal((4096, len(SIZES)))


def test_what_was_seen_often_is_known() -> None:
    belief = believe_epochs(SIZES, 64, 100)
    drawn = belief.draw([Seen(2, math.log(20), 1e-4)], 0.01, NORMALS)

    assert drawn[:, 2].mean() == pytest.approx(math.log(20), abs=0.01)
    assert drawn[:, 2].std() < 0.02
    # Away from it less is known, the further the less.
    assert drawn[:, 2].std() < drawn[:, 3].std() < drawn[:, 5].std()


def test_a_gaussian_without_forms_is_conditioned_as_by_hand() -> None:
    belief = believe_cost([16])
    drawn = belief.draw([Seen(0, 3.0, 1.0), Seen(0, 5.0, 1.0)], 0.0, NORMALS[:, :1])

    # The level's variance is 10,000: the data decide, two of variance 1.
    assert drawn.mean() == pytest.approx(4.0, abs=0.05)
    assert drawn.std() == pytest.approx(math.sqrt(0.5), rel=0.05)


def test_a_bound_moves_what_lies_below_it_and_only_that() -> None:
    belief = believe_epochs(SIZES, 64, 100)
    known = [Seen(2, math.log(20), 1e-3)]
    free = belief.draw(known, 0.01, NORMALS)
    low = belief.draw([*known, Seen(3, math.log(5), 0.0, is_bound=True)], 0.01, NORMALS)
    high = belief.draw([*known, Seen(3, math.log(60), 0.0, is_bound=True)], 0.01, NORMALS)

    assert low[:, 3].mean() == pytest.approx(free[:, 3].mean(), abs=0.05)
    assert high[:, 3].mean() > math.log(45)
    assert high[:, 4].mean() > free[:, 4].mean() + 0.3


def test_three_sizes_of_a_hyperbola_tell_the_others() -> None:
    true = {size: 10 * (1 + size / 100) for size in SIZES}
    seen = [Seen(at, math.log(true[SIZES[at]]), 1e-3) for at in (0, 2, 4)]
    drawn = believe_epochs(SIZES, 64, 1000).draw(seen, 0.01, NORMALS)

    for at, size in enumerate(SIZES):
        low, high = np.quantile(drawn[:, at], [0.025, 0.975])
        assert low <= math.log(true[size]) <= high
        assert high - low < math.log(3)
