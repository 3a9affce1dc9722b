import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscope.budget import Target
from batchscope.findings.to_target import need_to_target, reach_target

from .curves import make_curve


def test_an_exponential_decay_is_interpolated_exactly() -> None:
    # loss = exp(-t / 10) at t = 0, 10, 20, 30: the log is linear, so any level is exact.
    curve = make_curve(loss=[math.exp(-t) for t in range(4)])

    for level in (0.9, 0.5, 0.11):
        found = reach_target(curve, Target("val_loss", level, "<="), "step")
        assert found == pytest.approx(-10 * math.log(level))


def test_steps_examples_and_seconds_are_the_same_moment() -> None:
    curve = make_curve(64, loss=[1.0, 0.25], step_seconds=0.5)
    target = Target("val_loss", 0.5, "<=")

    assert reach_target(curve, target, "step") == pytest.approx(5)
    assert reach_target(curve, target, "examples") == pytest.approx(5 * 64)
    assert reach_target(curve, target, "seconds") == pytest.approx(2.5)


def test_a_target_that_was_not_reached_is_censored() -> None:
    curve = make_curve(loss=[2.0, 1.0])

    assert reach_target(curve, Target("val_loss", 0.5, "<="), "step") == math.inf


def test_a_metric_that_is_better_when_higher_is_read_upwards() -> None:
    curve = make_curve(loss=[2, 1], accuracy=[0.0, 1.0])

    assert reach_target(curve, Target("accuracy", 0.5, ">="), "step") == pytest.approx(5)


def test_a_target_that_the_untrained_model_has_takes_no_step() -> None:
    assert reach_target(make_curve(), Target("val_loss", 3.0, "<="), "step") == 0


def test_a_target_that_the_untrained_model_has_counts_as_half_a_step() -> None:
    curve = make_curve(64, step_seconds=0.5)
    untrained, soon, missed = (Target("val_loss", level, "<=") for level in (3.0, 1.95, 0.1))

    assert need_to_target(curve, untrained, "step") == 0.5
    assert need_to_target(curve, untrained, "examples") == 32
    assert need_to_target(curve, untrained, "seconds") == pytest.approx(0.25)
    assert 0 < need_to_target(curve, soon, "step") == reach_target(curve, soon, "step") < 0.5
    assert need_to_target(curve, missed, "step") == math.inf


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=20), st.floats(-5, 5))
def test_the_answer_lies_within_the_run_or_is_censored(losses: list[float], level: float) -> None:
    curve = make_curve(loss=losses)

    found = reach_target(curve, Target("val_loss", level, "<="), "step")

    assert found == math.inf or 0 <= found <= 10 * (len(losses) - 1)
    assert (found == math.inf) == (min(losses) > level)
