import numpy as np
import pytest

from batchscope.decisions.laws import LAWS, OwnRun, extrapolate
from batchscope.errors import InvalidInput


def law(name: str, what: str):
    return next(one for one in LAWS if one.name == name and one.what == what)


def test_the_laws_give_the_published_figures() -> None:
    # Zhang et al., 85M to 1.2B parameters at 20 tokens each: 745 and 2,533 sequences of 512.
    zhang = law("Zhang et al.", "critical batch size")
    assert zhang.at(85e6, 20 * 85e6) / 512 == pytest.approx(745, rel=0.01)
    assert zhang.at(1.2e9, 20 * 1.2e9) / 512 == pytest.approx(2533, rel=0.02)
    step = law("Step Law", "best batch size")
    assert step.at(1e9, 1e10) == pytest.approx(0.58 * 1e10**0.571)


def test_inside_and_outside_of_what_was_fitted_are_told_apart() -> None:
    zhang = law("Zhang et al.", "critical batch size")

    assert zhang.doublings_outside(1e9, 2e10) == 0
    assert zhang.doublings_outside(1.2e9, 96e9) == pytest.approx(2)
    assert zhang.doublings_outside(42.5e6, 2e9) == pytest.approx(1)


def test_ones_own_runs_move_the_laws_and_show_how_far_each_errs() -> None:
    step = law("Step Law", "best batch size")
    own = OwnRun(parameters=1e8, tokens=2e9, batch_tokens=2 * step.at(1e8, 2e9))
    found = extrapolate(1e9, 2e10, own=[own])

    said = next(s for s in found.said if s.law is step)
    assert said.errors == pytest.approx([0.5])
    assert said.value == pytest.approx(2 * step.at(1e9, 2e10))
    # All go through the own run, so that only their exponents differ.
    free = extrapolate(1e9, 2e10)
    assert found.batch_size.high / found.batch_size.low < free.batch_size.high / free.batch_size.low


@pytest.mark.parametrize("count", [2, 3])
def test_a_span_says_how_often_one_more_of_its_like_would_lie_within(count: int) -> None:
    found = extrapolate(1e9, 2e10)
    said = {2: found.learning_rate, 3: found.batch_size}[count].confidence
    drawn = np.random.default_rng(0).standard_normal((20_000, count + 1))
    own, more = drawn[:, :-1], drawn[:, -1]

    # The share's own deviation is 0.0035.
    within = (own.min(1) < more) & (more < own.max(1))
    assert float(within.mean()) == pytest.approx(said, abs=0.012)


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InvalidInput, match="tokens of 0"):
        extrapolate(1e9, 0)
