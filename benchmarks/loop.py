"""A step of the training loop, against the same step in bare PyTorch."""

import time
from dataclasses import replace

import torch
from torch import nn

import batchscope as bs
from batchscope.gallery.digits_cnn import task as cnn
from batchscope.gallery.digits_mlp import task as mlp
from batchscope.studies.plan import configure, make_plan
from batchscope.training.loop import train
from benchmarks.row import Row, compare

STEPS = 1500
BATCH_SIZE = 32
CPU = torch.device("cpu")


def measure() -> list[Row]:
    torch.set_num_threads(1)
    return [
        compare(
            f"loop-{task.name}",
            module="loop",
            what=f"a step of {task.name} at batch size {BATCH_SIZE}",
            against=f"bare PyTorch on sliced tensors, torch {torch.__version__}",
            unit="ms/step",
            ours=lambda task=task: _ours(task),
            theirs=lambda task=task: _theirs(task),
            pairs=7,
        )
        for task in (cnn, mlp)
    ]


def _ours(task: bs.Task) -> float:
    plan = make_plan(task, device=CPU, budget=bs.steps(STEPS))
    configuration = configure(task, plan, "0" * 16, batch_size=BATCH_SIZE, lr=0.001, seed=0)
    return 1000 * train(replace(task, test=None), configuration, device=CPU).seconds / STEPS


def _theirs(task: bs.Task) -> float:
    inputs, classes = task.datasets["train"].tensors
    model = task.model()
    constants = task.optimizer_spec.hyper_parameters(batch_size=BATCH_SIZE, lr=0.001)
    optimizer = task.optimizer_spec.build(model.parameters(), constants)
    done, seconds = 0, 0.0
    while done < STEPS:
        order = torch.randperm(len(inputs))
        began = time.perf_counter()
        for index in order.split(BATCH_SIZE)[: STEPS - done]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[index]), classes[index]).backward()
            optimizer.step()
            done += 1
        seconds += time.perf_counter() - began
    return 1000 * seconds / STEPS
