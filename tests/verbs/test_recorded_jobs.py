"""The advisor on recorded jobs, beside Thompson sampling; benchmarks/recurring.py has all of it."""

import numpy as np
import pytest
from benchmarks.recurring import Setting, read, score, settings

from ..shared_data import measured

SEEDS = 100
ONCE, ALL = 4, 6


def scores(setting: Setting, policy: str) -> np.ndarray:
    """Over seeds: shape (7,), of which `ONCE` is as many recurrences as batch sizes."""
    folder = measured("zeus/summary_train.csv").parents[1]
    return np.mean([score(folder, setting, policy, seed) for seed in range(SEEDS)], axis=0)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_on_recorded_jobs_it_spends_little_more_than_one_who_knows() -> None:
    published = settings()[:3]
    ours, thompson = (
        np.array([scores(setting, policy) for setting in published])
        for policy in ("ours", "thompson")
    )

    assert ours.mean(axis=0)[ONCE] <= 1.20
    assert ours.mean(axis=0)[ALL] <= 1.03
    assert (ours[:, ONCE:] < thompson[:, ONCE:]).all()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_where_the_default_is_the_best_little_is_tried() -> None:
    folder = measured("zeus/summary_train.csv").parents[1]
    for setting in (one for one in settings() if one.default == 0):
        found = scores(setting, "ours")
        sizes = len(read(folder, setting).runs)

        assert sizes * (found[ONCE] - 1) <= 1.5
        assert found[ALL] <= 1.02
