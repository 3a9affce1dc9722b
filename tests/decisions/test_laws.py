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
    # All go through the own run, so that only their exponents and how far outside they are differ.
    free = extrapolate(1e9, 2e10)
    assert found.batch_size.high / found.batch_size.low < free.batch_size.high / free.batch_size.low


def test_a_run_of_ones_own_at_the_very_place_is_where_all_laws_go_through() -> None:
    own = OwnRun(parameters=1e8, tokens=2e9, batch_tokens=250_000)

    found = extrapolate(1e8, 2e9, own=[own])

    assert found.batch_size.value == pytest.approx(250_000)
    assert found.batch_size.low <= found.batch_size.value <= found.batch_size.high
    assert [said.value for said in found.said[:3]] == pytest.approx([250_000] * 3)


def test_own_runs_that_contradict_the_laws_widen_what_they_say() -> None:
    step = law("Step Law", "best batch size")
    places = [(1e8, 2e9), (2e8, 4e9), (1e8, 4e9)]
    factors = [0.5, 1.0, 2.0]
    own = [
        OwnRun(parameters=n, tokens=d, batch_tokens=factor * step.at(n, d))
        for (n, d), factor in zip(places, factors, strict=True)
    ]

    said = next(s for s in extrapolate(3e8, 5e9, own=own).said if s.law is step)

    # The logs of 0.5, 1 and 2 deviate by ln 2; what one more may do has a third more variance.
    assert said.value == pytest.approx(step.at(3e8, 5e9))
    assert np.log(said.high / said.value) == pytest.approx(np.log(2) * np.sqrt(4 / 3))
    assert said.high / said.value == pytest.approx(said.value / said.low)


def test_a_law_says_less_with_every_doubling_outside_its_data() -> None:
    step = law("Step Law", "learning rate")
    inside, outside = (
        next(s for s in extrapolate(5e8, tokens).said if s.law is step) for tokens in (1e10, 4e11)
    )

    assert inside.low == inside.high == inside.value
    # Two doublings of the 1e11 that it was fitted on, a fifth each.
    assert np.log(outside.high / outside.low) == pytest.approx(2 * 0.2 * 2)


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


def test_a_batch_of_more_than_all_tokens_is_refused() -> None:
    with pytest.raises(InvalidInput, match="3,000,000,000 tokens, of 2,000,000,000 in all"):
        extrapolate(1e9, 2e10, own=[OwnRun(parameters=1e8, tokens=2e9, batch_tokens=3e9)])
