"""The advisor on recorded jobs, beside Thompson sampling; benchmarks/recurring.py has all of it."""

import numpy as np
import pytest
from benchmarks.recurring import Setting, read, score, settings

from ..shared_data import measured

SEEDS = 100
# Of what is scored: as many recurrences as batch sizes, twice as many, and the most.
ONCE, TWICE, ALL = 4, 5, 6


def scores(setting: Setting, policy: str, *only: int) -> np.ndarray:
    """Means over seeds of the scores asked for."""
    folder = measured("zeus/summary_train.csv").parents[1]
    found = [score(folder, setting, policy, seed, only=only) for seed in range(SEEDS)]
    return np.mean(found, axis=0)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_on_recorded_jobs_it_spends_little_more_than_one_who_knows() -> None:
    published = settings()[:3]
    ours, thompson = (
        np.array([scores(setting, policy, ONCE, TWICE, ALL) for setting in published])
        for policy in ("ours", "thompson")
    )

    once, _, at_all = ours.mean(axis=0)
    assert once <= 1.20
    assert at_all <= 1.03
    assert (ours < thompson).all()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_where_the_default_is_the_best_little_is_tried() -> None:
    folder = measured("zeus/summary_train.csv").parents[1]
    for setting in (one for one in settings() if one.default == 0):
        once, at_all = scores(setting, "ours", ONCE, ALL)
        sizes = len(read(folder, setting).runs)

        assert sizes * (once - 1) <= 1.5
        assert at_all <= 1.02
