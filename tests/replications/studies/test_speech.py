import numpy as np
import pytest

from batchscope.findings.curves import Curve
from batchscope.replications.studies import speech

SIZES = (4, 8, 16, 32)


def _make_curve(size: int, gamma: float) -> Curve:
    """An error that is the same function of B^gamma x steps at every size."""
    steps = np.array([0, 16, 32, 64, 128, 256, 384, 512, 1024], dtype=float)
    error = 0.35 * np.exp(-((size / 32) ** gamma * steps) / 600) + 0.05
    columns = {"step": steps, "examples": size * steps, "misread": error}
    return Curve(
        run=str(size), batch_size=size, learning_rate=0.1, seed=0, status="finished",
        columns=columns,
    )  # fmt: skip


@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_a_planted_gamma_is_found(gamma: float) -> None:
    curves = {size: _make_curve(size, gamma) for size in SIZES}

    found = speech._collapse(curves, SIZES)

    # Between evaluations the error is interpolated in its log, which bends it a little.
    assert speech._gamma(found).low == pytest.approx(gamma, abs=0.1)
    assert np.exp(speech._scatter(found).low) == pytest.approx(1 / gamma - 1, abs=0.15)


def test_a_size_that_diverged_leaves_gamma_open() -> None:
    curves = {size: _make_curve(size, 1.0) for size in SIZES[:3]}

    seen = speech._gamma(speech._collapse(curves, SIZES))

    assert (seen.low, seen.high) == (-10.0, 10.0)


def test_no_level_is_one_that_an_untrained_network_is_at() -> None:
    """An error that rises first, and ends below where it began."""
    curves = [_make_curve(size, 1.0) for size in SIZES]
    for curve in curves:
        curve.columns["misread"][0] = 0.36

    levels = speech._find_levels(curves)

    assert levels
    assert all(level.value < 0.36 for level in levels)
