import math

import pytest

from batchscope.decisions.timings import Timings, find_disturbed
from batchscope.estimate import Interval, NotIdentified

TOOK = Interval(value=10.0, low=8.0, high=12.5, unit="s")


def make_timings(**slowdowns: Interval | NotIdentified) -> Timings:
    return Timings(
        seconds={32: [0.01, 0.02, 0.03], 64: [0.1, 0.1]},
        again=[{32: [0.04]}],
        slowdowns={int(size[1:]): ratio for size, ratio in slowdowns.items()},
    )


def test_a_drift_that_was_seen_at_one_size_is_that_of_all() -> None:
    timings = make_timings()

    assert timings.at_each_time(32) == [[0.01, 0.02, 0.03], [0.04]]
    assert timings.at_each_time(64) == [[0.1, 0.1], [pytest.approx(0.2), pytest.approx(0.2)]]
    assert timings.own(64) == [[0.1, 0.1]]
    assert timings.at_each_time(128) == []


@pytest.mark.parametrize(
    ("medians", "disturbed"),
    [
        ([1.0, 1.1, 9.0], 2),
        ([9.0, 1.0, 1.9], 0),
        # What is faster was not disturbed: the machine became slower.
        ([1.0, 9.0, 9.0], None),
        # Nothing says which: each is apart from one that is not apart from the third.
        ([1.0, 1.9, 3.0], None),
        ([1.0, 9.0, 81.0], None),
        ([1.0, 9.0], None),
        ([1.0], None),
    ],
)
def test_of_three_times_the_slowest_was_disturbed_where_the_others_agree(
    medians: list[float], disturbed: int | None
) -> None:
    assert find_disturbed([[median] * 9 for median in medians]) == disturbed


def test_a_time_is_disturbed_too_where_a_third_of_it_was() -> None:
    burst, quiet = [1.0] * 6 + [5.0] * 3, [1.0] * 9

    assert find_disturbed([burst, quiet, quiet]) == 0
    # A machine that got warm while it was timed stays as slow.
    assert find_disturbed([burst, [5.0] * 9, [5.0] * 9]) is None


def test_a_third_time_of_one_size_is_one_of_all() -> None:
    timings = Timings(seconds={32: [0.01], 64: [0.1]}, again=[{32: [0.09]}, {32: [0.01]}])

    assert timings.at_each_time(32) == [[0.01], [0.01]]
    assert timings.at_each_time(64) == [[0.1], [pytest.approx(0.1)]]


def test_sizes_compare_as_at_first_at_the_speed_of_all_times() -> None:
    settled = make_timings().settled

    # A step of 32 took 0.02 s at first, and 0.04 again.
    assert settled[32] == pytest.approx([math.sqrt(2) * one for one in (0.01, 0.02, 0.03)])
    assert settled[64] == pytest.approx([math.sqrt(2) * one for one in (0.1, 0.1)])
    once = Timings(seconds={32: [0.01]})
    assert once.settled == once.seconds


def test_what_was_disturbed_does_not_count_in_the_speed_of_all_times() -> None:
    timings = Timings(seconds={32: [0.2], 64: [0.1]}, again=[{32: [0.01]}, {32: [0.01]}])

    assert timings.settled == {32: [pytest.approx(0.01)], 64: [pytest.approx(0.005)]}


def test_where_the_first_time_was_disturbed_nothing_narrow_is_said_of_other_sizes() -> None:
    timings = Timings(seconds={32: [0.2], 64: [0.1]}, again=[{32: [0.01]}, {32: [0.01]}])

    assert timings.at_each_time(32) == [[0.01], [0.01]]
    assert timings.at_each_time(64) == [[0.1], [pytest.approx(0.005)], [pytest.approx(0.005)]]


def test_what_is_not_split_takes_no_longer() -> None:
    assert make_timings().slowdown(32) == 1.0
    assert make_timings().lengthen(32, TOOK) == TOOK


def test_a_known_slowdown_multiplies_and_widens() -> None:
    timings = make_timings(b64=Interval(value=2.0, low=1.8, high=2.2, unit=""))

    found = timings.lengthen(64, TOOK)
    assert timings.slowdown(64) == 2.0
    assert isinstance(found, Interval)
    assert found.value == pytest.approx(20)
    assert found.high / found.low > TOOK.high / TOOK.low


def test_where_it_is_not_known_the_choice_takes_the_most_and_the_interval_both_ends() -> None:
    unknown = NotIdentified(reason="few", remedy="more", unit="", low=1.0, high=4.0)
    timings = make_timings(b64=unknown)

    found = timings.lengthen(64, TOOK)
    assert timings.slowdown(64) == 4.0
    assert isinstance(found, Interval)
    assert found.value == pytest.approx(20)
    assert found.low < TOOK.value < 4 * TOOK.value < found.high
