from pathlib import Path

import numpy as np
import pytest

import batchscope as bs
from batchscope.studies.constants import TRIALS, check_tuned, draw_settings

from ..conftest import make_staying_task


def test_settings_cover_the_usual_ranges_evenly() -> None:
    own = {"momentum": 0.9, "weight_decay": 0.0}

    drawn = draw_settings(own, 0.1, count=32, seed=0)

    # In octaves of the unit interval a Sobol sequence has equal numbers of points.
    decays = np.log10([setting["weight_decay"] for setting in drawn])
    assert np.histogram(decays, bins=4, range=(-6, -1))[0] == pytest.approx([8] * 4, abs=1)
    momenta = np.log10([1 - setting["momentum"] for setting in drawn])
    assert np.histogram(momenta, bins=4, range=(-2, 0))[0] == pytest.approx([8] * 4, abs=1)
    moved = [s["lr"] / (1 - s["momentum"]) for s in drawn]
    # 0.1 / (1 - 0.9), half a decade to either side, with the two digits of a rate.
    assert 1 / np.sqrt(10) * 0.95 < min(moved) < 0.45
    assert 2.2 < max(moved) < np.sqrt(10) * 1.05


@pytest.mark.parametrize(
    ("tune", "effort", "says"),
    [
        (["beta2"], "standard", "no 'beta2' to tune"),
        (["lr"], "standard", "no 'lr' to tune"),
        (["momentum"], "frugal", "searches the learning rate alone"),
    ],
)
def test_what_cannot_be_tuned_is_refused(tune: list[str], effort: str, says: str) -> None:
    constants = bs.SGD(lr=0.1).hyper_parameters(batch_size=1, lr=0.1)

    with pytest.raises(bs.InvalidInput, match=says):
        check_tuned(tune, constants, effort)


def test_every_batch_size_gets_the_same_trials_and_the_best_gets_all_seeds(tmp_path: Path) -> None:
    done = bs.study(
        make_staying_task(optimizer=bs.Adam(lr=0.01)),
        batch_sizes=[8, 32],
        tune=["beta2", "weight_decay"],
        effort="quick",
        budget="2ep",
        store=str(tmp_path / "runs.db"),
        jobs=1,
    )
    again = bs.study(
        make_staying_task(optimizer=bs.Adam(lr=0.01)),
        batch_sizes=[8, 32],
        tune=["beta2", "weight_decay"],
        effort="quick",
        budget="2ep",
        store=str(tmp_path / "runs.db"),
        jobs=1,
    )

    found = bs.analyze(done)
    for size in found.tuned:
        here = [curve for curve in found.curves if curve.batch_size == size.batch_size]
        own = min(here, key=lambda c: abs(c.learning_rate - 0.01)).constants
        assert len({c.setting for c in here if c.constants != own}) == 2 * TRIALS["quick"]
        assert {c.seed for c in size.curves} == {0, 1}
        assert size.constants.startswith("weight_decay")
    assert again.trained == 0
    assert (
        "weight_decay"
        in bs.recommend(
            make_staying_task(optimizer=bs.Adam(lr=0.01)),
            batch_sizes=[8, 32],
            tune=["beta2", "weight_decay"],
            effort="quick",
            budget="2ep",
            store=str(tmp_path / "runs.db"),
        ).script
    )
