import math

import numpy as np
import pytest

from batchscope.decisions.recurring.costs import Costs

SIZES = [32, 64, 128]


def timed(costs: Costs, *timings: tuple[int, float]) -> list[bool]:
    return [costs.time((size, None), cost) for size, cost in timings]


def test_a_cost_of_runs_that_changes_is_noticed_and_what_came_before_forgotten() -> None:
    costs = Costs()
    costs.add((32, None), 5.0)
    noticed = [costs.add((64, None), cost) for cost in (2.0, 2.02, 1.99, 2.01, 3.0, 3.0)]

    assert noticed == [*5 * [False], True]
    assert costs.see(SIZES) == {1: (pytest.approx(3.0), None)}


def test_timings_take_what_runs_cost_beside_theirs() -> None:
    costs = Costs()
    timed(costs, (32, 4.0), (64, 2.0))
    costs.add((64, None), 2.2)

    assert costs.see_one((32, None)) == pytest.approx(4.4)
    assert costs.see_one((128, None)) is None


def test_of_power_limits_the_cheapest_is_seen() -> None:
    costs = Costs()
    costs.time((64, 100.0), 3.0)
    costs.time((64, 200.0), 2.0)

    assert costs.see(SIZES) == {1: (pytest.approx(2.0), 200.0)}


def test_two_timings_that_changed_are_another_machine() -> None:
    costs = Costs()
    timed(costs, (32, 4.0), (64, 2.0))
    costs.add((64, None), 2.2)

    # 128 was not timed before: it tells nothing of a change, and belongs to the new machine.
    assert timed(costs, (32, 2.0), (128, 0.9), (64, 1.1)) == [False, False, True]

    # Of runs only what they cost beside is still known.
    seen = {SIZES[at]: cost for at, (cost, _) in costs.see(SIZES).items()}
    assert seen == {32: pytest.approx(2.2), 64: pytest.approx(1.21), 128: pytest.approx(0.99)}


def test_one_timing_that_changed_or_two_on_either_side_are_none() -> None:
    costs = Costs()
    timed(costs, (32, 4.0), (64, 2.0), (128, 1.0))

    assert not any(timed(costs, (32, 8.0), (64, 2.0), (128, 2.0), (64, 1.0), (32, 4.0)))


def test_the_same_setting_timed_twice_anew_is_another_machine() -> None:
    costs = Costs()
    timed(costs, (64, 2.0))

    assert timed(costs, (64, 3.0), (64, 3.1)) == [False, True]
    assert costs.see_one((64, None)) == pytest.approx(math.sqrt(3.0 * 3.1))


def test_timings_that_only_scatter_are_seldom_taken_for_another_machine() -> None:
    rng = np.random.default_rng(0)
    false = 0
    for _ in range(200):
        costs = Costs()
        for _ in range(20):
            for size, cost in ((32, 4.0), (64, 2.0), (128, 1.0)):
                false += costs.time((size, None), cost * math.exp(0.03 * rng.standard_normal()))

    # Once in 1,000 per look would be 11 of 11,400.
    assert false <= 22


def test_a_slower_machine_is_noticed_by_runs_as_well_as_by_timings() -> None:
    costs = Costs()
    timed(costs, (32, 4.0), (64, 2.0))
    for cost in (2.2, 2.21, 2.19):
        costs.add((64, None), cost)
    assert [costs.add((64, None), cost) for cost in (4.4, 4.4)] == [False, True]

    # What was timed before the change is forgotten; the share beside it is not.
    assert costs.see_one((32, None)) is None
    timed(costs, (32, 8.0))
    assert costs.see_one((32, None)) == pytest.approx(8.8, rel=1e-3)


def test_a_supposed_cost_counts_until_something_tells() -> None:
    costs = Costs()
    costs.suppose((64, None), 10.0)
    assert costs.see_one((64, None)) == pytest.approx(10.0)

    # Timings that differ from it are no other machine.
    assert timed(costs, (64, 30.0), (64, 30.0)) == [False, False]
    assert costs.see_one((64, None)) == pytest.approx(30.0)

    # It was of the machine before.
    costs.suppose((32, None), 10.0)
    assert timed(costs, (64, 60.0), (64, 60.0)) == [False, True]
    assert costs.see_one((32, None)) is None


def test_what_runs_cost_beside_is_of_one_machine() -> None:
    def known() -> Costs:
        costs = Costs()
        timed(costs, (32, 4.0), (64, 2.0))
        for cost in (2.2, 2.2, 2.2):
            costs.add((64, None), cost)
        return costs

    # Noticed by the runs of a machine twice as slow, with a timing of it that waits for another.
    by_runs = known()
    timed(by_runs, (64, 4.0))
    assert [by_runs.add((64, None), 4.4) for _ in range(2)] == [False, True]
    timed(by_runs, (32, 8.0))
    assert by_runs.see_one((32, None)) == pytest.approx(8.8)

    # By timings, with a run there between them.
    by_timings = known()
    timed(by_timings, (64, 4.0))
    by_timings.add((64, None), 4.4)
    assert timed(by_timings, (32, 8.0)) == [True]
    assert by_timings.see_one((64, None)) == pytest.approx(4.4)
    assert by_timings.see_one((32, None)) == pytest.approx(8.8)


def test_the_spread_of_costs_is_measured_and_begins_at_that_of_a_timing() -> None:
    costs = Costs()
    assert costs.spread() == pytest.approx(0.03)

    rng = np.random.default_rng(0)
    for _ in range(400):
        costs.add((64, None), math.exp(0.2 * rng.standard_normal()))
    # 400 draws: one deviation of their standard deviation is 3.5%.
    assert costs.spread() == pytest.approx(0.2, rel=0.11)
