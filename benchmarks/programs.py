"""Runs that share a program: their steps as a list of operations, against asking the model."""

from dataclasses import replace

import torch

import batchscope as bs
from batchscope.gallery.blobs_mlp import task as blobs
from batchscope.gallery.digits_cnn import task as digits
from batchscope.studies.plan import configure, make_plan
from batchscope.training.ensemble import train_together
from batchscope.training.stacked_models import STEPS_BEFORE_TRACING
from benchmarks.row import Row, compare

MEMBERS = 10
STEPS = 5000
CPU = torch.device("cpu")


def measure() -> list[Row]:
    torch.set_num_threads(1)
    return [
        compare(
            f"programs-{task.name}-{size}",
            module="programs",
            what=f"{MEMBERS} runs of {task.name} as one program, {STEPS:,} steps at batch size "
            f"{size}, the first {STEPS_BEFORE_TRACING:,} asked",
            against="the same, the model asked at every step",
            unit="s",
            ours=lambda task=task, size=size: _train(task, size, STEPS_BEFORE_TRACING),
            theirs=lambda task=task, size=size: _train(task, size, None),
            pairs=3,
        )
        for task, size in ((blobs, 1), (digits, 8))
    ]


def _train(task: bs.Task, size: int, trace_after: int | None) -> float:
    task = replace(task, test=None)
    plan = make_plan(task, device=CPU, budget=bs.steps(STEPS))
    runs = [
        configure(task, plan, "0" * 16, batch_size=size, lr=0.001, seed=seed)
        for seed in range(MEMBERS)
    ]
    return sum(
        one.seconds for one in train_together(task, runs, device=CPU, trace_after=trace_after)
    )
