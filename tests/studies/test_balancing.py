from itertools import product

import numpy as np
import pytest

from batchscope.studies.balancing import Workload, balance, cut


def last_and_mean(loads: dict[int, Workload], chosen: dict[int, int], workers: int) -> float:
    """When the last worker is done, by the shortest queue first, and the mean over workers."""
    queues = [0.0] * workers
    jobs = [seconds for size, members in chosen.items() for seconds in loads[size].jobs(members)]
    for seconds in sorted(jobs, reverse=True):
        queues[queues.index(min(queues))] += seconds
    return max(queues) + sum(queues) / workers


@pytest.mark.parametrize(
    ("runs", "members", "lengths"),
    [(40, 16, [16, 16, 8]), (5, 3, [3, 2]), (2, 16, [1, 1]), (2, 2, [2]), (3, 1, [1, 1, 1])],
)
def test_runs_are_cut_from_the_front_and_two_that_are_left_of_many_go_alone(
    runs: int, members: int, lengths: list[int]
) -> None:
    assert list(cut(runs, members)) == lengths


def test_a_program_takes_what_was_tried_and_others_lie_on_the_line_through_one_run() -> None:
    load = Workload(count=5, seconds=2.0, tried=5, gain=2.5)

    # Five in 4 s, one in 2 s: half a second for each further one.
    assert load.jobs(5) == [pytest.approx(4.0)]
    assert load.jobs(3) == [pytest.approx(3.0), pytest.approx(2.5)]
    assert load.jobs(1) == [2.0] * 5


def test_members_that_cost_nothing_cost_nothing() -> None:
    # A list of operations can take less for all than asking one model does.
    load = Workload(count=4, seconds=2.0, tried=4, gain=8.0)

    assert load.jobs(4) == [2.0]


def test_the_runs_that_take_longest_leave_no_worker_idle() -> None:
    small = Workload(count=5, seconds=1.6, tried=5, gain=1.6)
    large = Workload(count=5, seconds=4.8, tried=5, gain=1.16)

    # One program of the large ones would end when the other worker had long been idle.
    assert balance({32: small, 1024: large}, workers=2) == {32: 5, 1024: 3}


def test_many_sizes_need_no_splitting_and_what_was_not_tried_is_not_shared() -> None:
    loads = {size: Workload(count=5, seconds=1.0, tried=5, gain=3.0) for size in (2, 4, 8, 16)}
    loads[512] = Workload(count=5, seconds=0.1)

    assert balance(loads, workers=2) == {2: 5, 4: 5, 8: 5, 16: 5, 512: 1}


def test_more_workers_than_runs_train_each_alone() -> None:
    assert balance({8: Workload(count=6, seconds=1.0, tried=6, gain=1.2)}, workers=8) == {8: 1}


def draw_loads(rng: np.random.Generator) -> dict[int, Workload]:
    return {
        2**place: Workload(
            count=int(rng.integers(2, 13)),
            seconds=float(10 ** rng.uniform(-1, 1)),
            tried=int(rng.integers(2, 13)),
            gain=float(rng.uniform(1.15, 8)),
        )
        for place in range(rng.integers(1, 4))
    }


def test_it_is_never_worse_than_the_largest_programs_and_nearly_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    over_best: list[float] = []
    for _ in range(500):
        loads, workers = draw_loads(rng), int(rng.integers(1, 5))

        found = last_and_mean(loads, balance(loads, workers=workers), workers)

        largest = {size: max(load.choices) for size, load in loads.items()}
        assert found <= last_and_mean(loads, largest, workers) * (1 + 1e-9)
        every = product(*(load.choices for load in loads.values()))
        chosen = [dict(zip(loads, each, strict=True)) for each in every]
        over_best.append(found / min(last_and_mean(loads, one, workers) for one in chosen))

    # Sizes are looked at one after another: in one of thousands of draws it is a third worse.
    assert np.mean(over_best) < 1.01
    assert np.median(over_best) == pytest.approx(1.0)


@pytest.mark.parametrize("workers", [0, 1])
def test_one_worker_trains_as_many_together_as_gain(workers: int) -> None:
    assert balance({8: Workload(count=20, seconds=1.0, tried=16, gain=4.0)}, workers=workers) == {
        8: 20
    }
