import math

import numpy as np
import pytest

from batchscope.budget import Target
from batchscope.decisions.limits import chance_within, keep_within
from batchscope.decisions.terms import Limit, check_deadline, parse_deadline
from batchscope.errors import CannotTell, InvalidInput
from batchscope.estimate import Interval, NotIdentified

TARGET = Target("error", 0.1, "<=")


def taking(seconds: float) -> Interval:
    return Interval(value=seconds, low=seconds / 2, high=2 * seconds, unit="s")


def until(seconds: float) -> Limit:
    return Limit(seconds=seconds, words=f"the deadline of {seconds:g} s")


def test_sizes_that_are_predicted_to_end_in_time_are_kept() -> None:
    seconds = {8: taking(50), 16: taking(20), 32: NotIdentified(reason="one seed", remedy="more")}

    assert keep_within(seconds, lambda _: [until(30)], task="task", target=TARGET) == {16}

    def both(_: int) -> list[Limit]:
        return [until(30), until(10)]

    with pytest.raises(CannotTell, match="10 s"):
        keep_within(seconds, both, task="task", target=TARGET)


def test_a_deadline_that_nothing_meets_names_the_nearest() -> None:
    with pytest.raises(CannotTell, match=r"(?s)deadline of 10 s.*batch\s+size 16 with 20"):
        keep_within(
            {8: taking(50), 16: taking(20)}, lambda _: [until(10)], task="task", target=TARGET
        )


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.inf, math.nan])
def test_a_deadline_without_time_is_refused(seconds: float) -> None:
    with pytest.raises(InvalidInput, match="leaves no time to train"):
        check_deadline(seconds)


def test_the_chance_is_that_of_the_distribution_the_interval_was_made_from(
    rng: np.random.Generator,
) -> None:
    deviation = 0.3
    half = math.exp(1.959964 * deviation)
    took = Interval(value=10.0, low=10.0 / half, high=10.0 * half, unit="s")
    drawn = 10.0 * np.exp(deviation * rng.standard_normal(10_000))

    # Four standard errors of 10,000 draws.
    assert chance_within(took, until(12.0)) == pytest.approx(
        float(np.mean(drawn <= 12.0)), abs=0.02
    )


def test_what_may_never_get_there_keeps_to_a_limit_at_most_as_often_as_it_gets_there() -> None:
    took = Interval(value=10.0, low=5.0, high=math.inf, unit="s")
    closed = Interval(value=10.0, low=5.0, high=20.0, unit="s")

    for limit in (until(8.0), until(1e9)):
        usual = chance_within(closed, limit)
        assert chance_within(took, limit, reach=0.4) == pytest.approx(0.4 * usual)
    assert chance_within(Interval(value=10.0, low=0.0, high=20.0, unit="s"), until(20)) > 0.9


@pytest.mark.parametrize("text", ["5", "nan", "10ms", "1e400s", "5ep", "2h until plateau"])
def test_a_deadline_that_is_no_time_is_refused_as_such(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_deadline(text)
    assert caught.value.args[0] == f"{text!r} is no time"
    assert "--deadline" in str(caught.value)


def test_a_deadline_of_nothing_leaves_no_time() -> None:
    assert parse_deadline("0.5h") == 1800
    for text in ("-5s", "0s", "0.0 h"):
        with pytest.raises(InvalidInput, match="leaves no time to train"):
            parse_deadline(text)
