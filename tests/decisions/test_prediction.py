"""What a fresh training needs, from few seeds."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from batchscope.budget import Target
from batchscope.decisions.prediction import judge_pace, predict_training
from batchscope.estimate import Interval, NotIdentified
from batchscope.findings.tuning import TunedSize

from ..findings.curves import make_curve


def test_two_seeds_predict_within_a_factor_of_three() -> None:
    curves = [
        make_curve(seed=seed, loss=[2.0, 1.0, level]) for seed, level in enumerate((0.1, 0.12))
    ]
    chosen = TunedSize(batch_size=32, learning_rate=0.1, curves=tuple(curves), at_edge=False)
    target = Target("val_loss", 0.5, "<=")

    steps = predict_training(chosen, [curves], target, timings=(), unit="images").steps

    assert isinstance(steps, Interval)
    assert steps.high / steps.low < 3


def choose(loss: Sequence[Sequence[float]], *, size: int = 32) -> TunedSize:
    curves = tuple(make_curve(size, seed=seed, loss=one) for seed, one in enumerate(loss))
    return TunedSize(batch_size=size, learning_rate=0.1, curves=curves, at_edge=False)


def test_seeds_that_missed_the_target_leave_the_upper_end_open() -> None:
    chosen = choose([[2.0, 1.0, 0.1], [2.0, 1.0, 0.12], [2.0, 1.0, 0.9]])
    target = Target("val_loss", 0.5, "<=")

    found = predict_training(chosen, [chosen.curves], target, timings=(), unit="images")

    assert found.reach == (2 + 1) / (3 + 2)
    for taken in (found.seconds, found.steps, found.examples):
        assert isinstance(taken, Interval)
        assert taken.low > 0
        assert taken.high == math.inf


def test_one_seed_is_enough_where_another_setting_shows_how_much_seeds_scatter() -> None:
    target = Target("val_loss", 0.5, "<=")
    once = choose([[2.0, 1.0, 0.1]])
    twice = choose([[2.0, 1.0, 0.1], [2.0, 1.5, 0.2]], size=64)

    alone, beside = (
        predict_training(once, groups, target, timings=(), unit="images").steps
        for groups in ([once.curves], [once.curves, twice.curves])
    )

    assert isinstance(alone, NotIdentified)
    assert isinstance(beside, Interval)


@pytest.mark.parametrize("drift", [0.02, 0.1, 0.25])
def test_predicted_seconds_cover_a_training_at_another_time(
    drift: float, rng: np.random.Generator
) -> None:
    inside, target = 0, Target("val_loss", 0.1, "<=")
    places = np.arange(0, 1000, 10)
    for _ in range(400):
        needed = np.exp(rng.normal(np.log(300), 0.14, 6))
        curves = [
            make_curve(seed=seed, loss=(0.1 ** (places / each)).tolist())
            for seed, each in enumerate(needed[1:])
        ]
        chosen = TunedSize(batch_size=32, learning_rate=0.1, curves=tuple(curves), at_edge=False)
        paces = np.exp(rng.normal(np.log(0.01), drift, 3))
        timings = [(pace * np.exp(rng.normal(0, 0.01, 9))).tolist() for pace in paces[1:]]
        seconds = predict_training(chosen, [curves], target, timings=timings, unit="images").seconds
        assert isinstance(seconds, Interval)
        inside += seconds.low <= needed[0] * paces[0] <= seconds.high

    # 400 draws err by 1.1 points. A drift far beyond the usual, of which two times are known,
    # costs up to four.
    assert inside / 400 >= (0.88 if drift == 0.25 else 0.92)


def test_how_far_a_machine_drifts_is_what_is_usual_and_what_two_times_show() -> None:
    once = judge_pace([[0.01] * 9])
    alike = judge_pace([[0.01] * 9, [0.01] * 9])
    apart = judge_pace([[0.01] * 9, [0.02] * 9])

    # A tenth as one pair of times; of the next time about the mean of those that were.
    assert once is not None
    assert (once.mean, once.deviation) == pytest.approx((math.log(0.01), 0.1 * math.sqrt(2)))
    assert alike is not None
    assert alike.deviation == pytest.approx(0.1 / math.sqrt(2) * math.sqrt(1.5))
    assert apart is not None
    assert apart.mean == pytest.approx(math.log(0.01 * math.sqrt(2)))
    shown = math.sqrt((0.1**2 + math.log(2) ** 2 / 2) / 2)
    assert apart.deviation == pytest.approx(shown * math.sqrt(1.5))
    assert (once.freedom, apart.freedom) == (1, 2)
    assert judge_pace([]) is None


def test_a_drift_within_one_time_counts_where_it_is_larger() -> None:
    drifting = judge_pace([[0.01] * 3 + [0.02] * 3 + [0.04] * 3])

    assert drifting is not None
    assert drifting.deviation == pytest.approx(math.log(2) * math.sqrt(2))
