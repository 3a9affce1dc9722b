import pytest

from batchscope.findings.claims import Seen
from batchscope.replications.lab import Arm, Ends
from batchscope.replications.studies import blobs

from .trained import make_trained

ARM: Arm = (32, blobs._RATE, 0)
# Four evaluations, of which the last three lie in the late epochs.
PLACES = [
    0.0, *(blobs._WHOLE * (blobs._EPOCHS - blobs._LAST) + x for x in (500.0, 1000.0, 1500.0)),
]  # fmt: skip


def test_a_test_set_that_is_easy_throughout_flatters_no_pick() -> None:
    errors = [0.6, 0.20, 0.16, 0.18]
    fresh = [0.6, 0.22, 0.20, 0.20]

    seen = blobs._flattery(
        make_trained({ARM: {"examples": PLACES, "error": errors, "test_error": fresh}}), 0
    )

    # The pick looks 0.04 better than it is, all late epochs 0.08 / 3.
    assert seen.low == seen.high == pytest.approx(0.04 - 0.08 / 3)


def test_a_run_that_diverged_tells_neither_flattery_nor_spread() -> None:
    columns = {"examples": PLACES, "error": [0.5] * 4, "test_error": [0.5] * 4}
    runs = make_trained({ARM: columns}, diverged=[ARM])

    assert blobs._flattery(runs, 0) == Seen(-1.0, 1.0)
    assert blobs._spread(runs, 32, 0) == Ends(0.0, 0.5)
