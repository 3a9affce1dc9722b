"""Runs that share a program: against the model asked at every step, and against runs one by one."""

import functools
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

import batchscope as bs
from batchscope.gallery.blobs_mlp import task as blobs
from batchscope.gallery.digits_cnn import task as digits
from batchscope.gallery.digits_mlp import task as adam
from batchscope.records import Configuration
from batchscope.studies.plan import configure, make_plan
from batchscope.training.ensemble import train_together
from batchscope.training.loop import train
from batchscope.training.stacked_models import STEPS_BEFORE_TRACING
from benchmarks.row import Row, compare

MEMBERS = 10
STEPS = 5000
CPU = torch.device("cpu")
# Hidden units: of 107,000 parameters the update is a large part of a step.
WIDE, NARROW = 512, 140


def measure() -> list[Row]:
    torch.set_num_threads(1)
    in_turn = functools.partial(compare, module="programs", unit="s", pairs=3)
    asked = [
        in_turn(
            f"programs-{task.name}-{size}",
            what=f"{MEMBERS} runs of {task.name} as one program, {STEPS:,} steps at batch size "
            f"{size}, the first {STEPS_BEFORE_TRACING:,} asked",
            against="the same, the model asked at every step",
            ours=_together(task, size),
            theirs=_together(task, size, trace_after=None),
        )
        for task, size in ((blobs, 1), (digits, 8))
    ]
    wide = replace(adam, model=make_wide)
    one_by_one = [
        in_turn(
            f"programs-adam-{size}",
            what=f"{MEMBERS} runs of digits under Adam, 107,000 parameters, as one program, "
            f"{STEPS:,} steps at batch size {size}",
            against="the same runs one by one",
            ours=_together(wide, size),
            theirs=_apart(wide, size),
        )
        for size in (1, 16)
    ]
    return [*asked, *one_by_one]


def make_wide() -> nn.Module:
    """As that of the gallery, but wider."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, WIDE),
        nn.ReLU(),
        nn.Linear(WIDE, NARROW),
        nn.ReLU(),
        nn.Linear(NARROW, 10),
    )


def _together(
    task: bs.Task, size: int, *, trace_after: int | None = STEPS_BEFORE_TRACING
) -> Callable[[], float]:
    def seconds() -> float:
        judged, runs = _runs(task, size)
        found = train_together(judged, runs, device=CPU, trace_after=trace_after)
        return sum(one.seconds for one in found)

    return seconds


def _apart(task: bs.Task, size: int) -> Callable[[], float]:
    def seconds() -> float:
        judged, runs = _runs(task, size)
        return sum(train(judged, run, device=CPU).seconds for run in runs)

    return seconds


def _runs(task: bs.Task, size: int) -> tuple[bs.Task, list[Configuration]]:
    """Of a task without its test set."""
    task = replace(task, test=None)
    plan = make_plan(task, device=CPU, budget=bs.steps(STEPS))
    return task, [
        configure(task, plan, "0" * 16, batch_size=size, lr=0.001, seed=seed)
        for seed in range(MEMBERS)
    ]
