from dataclasses import replace

import pytest
import torch
from torch import nn

import batchscope as bs
from batchscope.records import Configuration
from batchscope.studies.balancing import count_tried
from batchscope.studies.grouping import find_together, form_jobs
from batchscope.studies.plan import configure, make_plan
from batchscope.studies.progress import Unwatched
from batchscope.workers.pool import OwnProcess, ProcessPool
from batchscope.workers.travel import pack_task

from ..conftest import make_task


def runs_at(*sizes: int, count: int, task: bs.Task | None = None) -> list[Configuration]:
    task = task or make_task()
    # Long enough for a trial to be small beside them.
    plan = make_plan(task, device=torch.device("cpu"), budget=bs.epochs(60))
    return [
        configure(task, plan, "0" * 16, batch_size=size, lr=0.01, seed=seed)
        for size in sizes
        for seed in range(count)
    ]


def test_only_runs_of_the_sizes_named_share_a_program() -> None:
    wanted = runs_at(4, 8, count=5)

    jobs = form_jobs(wanted, {4: 16}, cost=lambda c: 1 / c.batch_size)

    assert [len(job) for job in jobs] == [5, 1, 1, 1, 1, 1]
    assert {c.batch_size for c in jobs[0]} == {4}
    assert sorted(c.key for job in jobs for c in job) == sorted(c.key for c in wanted)


def test_groups_that_are_left_are_the_same_groups_again() -> None:
    wanted = runs_at(4, count=40)
    first = form_jobs(wanted, {4: 16}, cost=lambda _: 1.0)
    done = max(first, key=len)

    again = form_jobs([c for c in wanted if c not in done], {4: 16}, cost=lambda _: 1.0)

    assert sorted(len(job) for job in first) == [8, 16, 16]
    assert sorted(again, key=len) == sorted((job for job in first if job != done), key=len)


@pytest.mark.parametrize(("members", "lengths"), [(16, [1, 1]), (2, [2])])
def test_two_runs_share_a_program_only_where_it_was_tried_with_two(
    members: int, lengths: list[int]
) -> None:
    jobs = form_jobs(runs_at(4, count=2), {4: members}, cost=lambda _: 1.0)

    assert [len(job) for job in jobs] == lengths


class Heard(Unwatched):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_a_task_that_cannot_share_says_why_once() -> None:
    heard = Heard()
    task = make_task(model=lambda: nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2)))

    found, examples = find_together(
        OwnProcess(task),
        runs_at(4, 8, count=3, task=task),
        train_size=task.train_size,
        device_name="cpu",
        cost=lambda _: 1.0,
        watcher=heard,
    )

    assert found == {}
    # The steps of one that are timed, and the first of three runs together.
    assert examples == (8 + 3) * 4
    assert len(heard.lines) == 1
    assert "Runs are trained one by one" in heard.lines[0]


def test_sizes_that_gain_are_found_upwards_by_measuring() -> None:
    task = make_task(
        model=lambda: nn.Sequential(*(nn.Linear(4, 4) for _ in range(20)), nn.Linear(4, 2))
    )

    found, examples = find_together(
        OwnProcess(task),
        runs_at(2, 4, count=12, task=task),
        train_size=task.train_size,
        device_name="cpu",
        cost=lambda _: 1.0,
        watcher=Unwatched(),
    )

    # Twenty tiny layers, called once for twelve runs.
    assert found == {2: 12, 4: 12}
    assert examples == (2 + 4) * ((12 + 2) * 3 + (12 + 1) * 8)


@pytest.mark.parametrize(
    ("sizes", "workers", "members"),
    [([4], 2, 6), ([2, 4], 2, 12), ([2, 4, 8], 2, 12), ([4], 5, 3), ([4], 0, 12)],
)
def test_runs_of_fewer_sizes_than_workers_are_split_among_all_workers(
    sizes: list[int], workers: int, members: int
) -> None:
    assert count_tried(12, sizes=len(sizes), workers=workers) == members

    jobs = form_jobs(runs_at(*sizes, count=12), dict.fromkeys(sizes, members), cost=lambda _: 1.0)
    assert len(jobs) >= workers - 1
    assert {len(job) for job in jobs} == {members}


def test_too_few_runs_for_two_workers_are_trained_one_by_one() -> None:
    task = make_task()
    with ProcessPool(pack_task(task), count=2, threads=1) as pool:
        found = find_together(
            pool,
            runs_at(4, count=2, task=task),
            train_size=task.train_size,
            device_name="cpu",
            cost=lambda _: 1.0,
            watcher=Unwatched(),
        )

    assert found == ({}, 0)


def test_two_runs_of_each_size_share_a_program_where_that_gains() -> None:
    task = make_task()
    # So long that most of their steps are lists of operations, which take a fourth of the time.
    wanted = [replace(run, budget=bs.epochs(1_000)) for run in runs_at(2, 4, count=2, task=task)]

    found, _ = find_together(
        OwnProcess(task),
        wanted,
        train_size=task.train_size,
        device_name="cpu",
        cost=lambda _: 1.0,
        watcher=Unwatched(),
    )

    assert found == {2: 2, 4: 2}


def test_runs_that_are_over_sooner_than_a_trial_of_them_are_not_tried() -> None:
    task = make_task()
    wanted = [replace(run, budget=bs.steps(8)) for run in runs_at(4, count=12, task=task)]
    # Of 96 steps a trial would take 146.
    pool, watcher = OwnProcess(task), Unwatched()

    found = find_together(
        pool,
        wanted,
        train_size=task.train_size,
        device_name="cpu",
        cost=lambda _: 1.0,
        watcher=watcher,
    )

    assert found == ({}, 0)


@pytest.mark.parametrize("learning_rates", [[0.01, 0.1], None])
def test_a_grid_trains_every_rate_with_every_seed(
    tmp_path: object, learning_rates: list[float] | None
) -> None:
    study = bs.study(
        make_task(),
        batch_sizes=[4, 8],
        seeds=2,
        learning_rates=learning_rates,
        exhaustive=learning_rates is None,
        store=f"{tmp_path}/grid.db",
        jobs=1,
    )

    rates = {run.configuration.learning_rate for run in study.runs}
    assert len(study.runs) == 2 * len(rates) * 2
    trained = sum(run.trajectory.last("examples") for run in study.runs)
    if learning_rates is None:
        # Five rates, half a decade apart, around the task's 0.1.
        assert sorted(rates) == [0.01, 0.032, 0.1, 0.32, 1.0]
        assert trained == study.grid_examples
    else:
        assert rates == {0.01, 0.1}
        assert study.grid_examples is not None
        assert trained == pytest.approx(study.grid_examples * 2 / 5)
    # Timing steps, and trying to share a program, are counted too.
    assert study.examples > trained
