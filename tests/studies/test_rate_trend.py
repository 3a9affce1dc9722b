"""Where the best rate is looked for at the next batch size."""

import math

import pytest

from batchscope.studies.rate_trend import RateTrend


@pytest.mark.parametrize(("optimizer", "exponent"), [("SGD", 0.8), ("Adam", 0.35), ("Lion", 0.35)])
def test_without_a_noise_scale_the_usual_exponent_moves_it(optimizer: str, exponent: float) -> None:
    moved = RateTrend(optimizer=optimizer).move(0.1, known=32, size=256)

    assert moved == pytest.approx(0.1 * 8**exponent)


def test_at_the_noise_scale_doubling_the_batch_gains_a_third_and_far_above_it_nothing() -> None:
    trend = RateTrend(optimizer="SGD", noise_scale=64.0)

    assert trend.move(0.3, known=64, size=128) == pytest.approx(0.4)
    assert trend.move(0.3, known=2**20, size=2**21) == pytest.approx(0.3, rel=1e-4)


def test_far_below_the_noise_scale_sgd_follows_the_linear_rule_and_adam_the_square_root() -> None:
    sgd, adam = (
        RateTrend(optimizer=name, is_adaptive=name == "AdamW", noise_scale=1e9).move(
            0.1, known=16, size=64
        )
        for name in ("SGD", "AdamW")
    )

    assert sgd == pytest.approx(0.4, rel=1e-6)
    assert adam == pytest.approx(0.2, rel=1e-6)


def test_there_and_back_is_the_same_rate() -> None:
    trend = RateTrend(optimizer="SGD", noise_scale=300.0)
    there = trend.move(0.1, known=32, size=2048)

    assert trend.move(there, known=2048, size=32) == pytest.approx(0.1)
    assert math.isfinite(there)
