import numpy as np
import pytest

from batchscope.decisions.recurring.failing import (
    chance_of_failures,
    doubt_of,
    rate_of_chance,
    see_chances,
)


def test_the_rate_of_failures_begins_at_a_tenth_and_comes_from_sizes_that_work() -> None:
    assert rate_of_chance([0, 0], [3, 0]) == pytest.approx(0.1)
    # The first size never worked: its failures tell of itself alone.
    assert rate_of_chance([0, 60], [50, 40]) == pytest.approx(40.4 / 104)


def test_a_size_is_doubted_the_less_the_more_others_work() -> None:
    assert doubt_of([0, 0]) == 0
    assert doubt_of([4, 0]) == pytest.approx(0.25)
    assert doubt_of([4, 1, 9, 0]) == pytest.approx(0.125)


def test_without_failures_nothing_is_doubted() -> None:
    assert see_chances([5, 0, 1], [0] * 3, [0] * 3, np.ones(3)).tolist() == [1, 1, 1]


def test_failures_by_chance_count_of_all_sizes_and_more_of_their_own() -> None:
    rare, often, never = see_chances([50, 30, 0], [0, 20, 0], [0] * 3, np.ones(3))

    assert often < never < rare < 1
    assert often == pytest.approx(0.6, abs=0.01)
    assert never == pytest.approx(0.8, abs=0.01)


def test_what_never_worked_gets_less_likely_to_with_each_run_whatever_explains_them() -> None:
    def chance(failed: int, given_up: int) -> float:
        return see_chances([20, 0], [0, failed], [0, given_up], np.ones(2))[1]

    assert chance(0, 0) == chance(5, 3) == 1
    assert chance(80, 0) == chance(0, 80) == pytest.approx(0.1)
    # Where a size works, its own share of failures tells.
    assert see_chances([20, 0], [0, 0], [80, 0], np.ones(2))[0] == 1


def test_what_fails_for_good_keeps_those_beyond_it_from_working() -> None:
    works = np.array([1, 1, 1, 1, 0.0, 1, 1])
    # The second reached the target; the fifth, by its runs, never will.
    chances = see_chances([0, 3, 0, 0, 0, 0, 0], [0] * 7, [0] * 7, works)

    # Below it nothing failed; the last that works is one of three, as likely as each other.
    assert chances == pytest.approx([1, 1, 2 / 3, 1 / 3, 0, 0, 0])


def test_between_two_that_work_one_that_fails_tells_only_of_itself() -> None:
    chances = see_chances([3, 0, 0, 0, 3], [0] * 5, [0] * 5, np.array([1, 1, 0.2, 1, 1]))

    assert chances == pytest.approx([1, 1, 0.2, 1, 1])


def test_runs_fail_by_chance_one_after_another_the_seldomer_the_more_reached_before() -> None:
    assert chance_of_failures(0, reached=5, failed=0) == 1
    # A tenth, worth four runs, and what came since: 0.4 / 24 x 1.4 / 25.
    assert chance_of_failures(2, reached=20, failed=0) == pytest.approx(0.4 / 24 * 1.4 / 25)
    assert chance_of_failures(2, reached=3, failed=0) > 0.005
    assert chance_of_failures(2, reached=20, failed=10) > 0.05
