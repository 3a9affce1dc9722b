"""What measuring the noise scale costs a training, and what other ways cost at what variance.

BackPACK takes part where it is installed: pip install --no-deps backpack-for-pytorch.
"""

import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch import nn
from torch.nn import functional as F

import batchscope as bs
from batchscope.estimate import Interval
from batchscope.gallery import digits_cnn, stdlib_lm
from batchscope.instruments.loss_gradients import LossGradients
from batchscope.instruments.noise.hook import NoiseHook
from batchscope.instruments.noise.moments import separate_moments
from batchscope.instruments.noise.reading import NoiseReading
from batchscope.studies.plan import configure, make_plan
from batchscope.training.hooks import Hook, RunState
from batchscope.training.loop import train
from benchmarks.accumulating import AccumulatingLoop
from benchmarks.row import Row, compare

CPU = torch.device("cpu")
BATCH_SIZE = 32
EPOCHS = 25
DRAWS = 60


def measure() -> list[Row]:
    torch.set_num_threads(1)
    return [
        *(_overhead(task, pairs) for task, pairs in ((digits_cnn.task, 20), (stdlib_lm.task, 4))),
        _accumulated(),
        _ranks(),
        *_other_ways(),
    ]


class _Turn(Hook):
    """Lets two runs train in turn, from one evaluation to the next, so that both see one machine.

    A run's seconds leave out its evaluations, and with them its waiting for the other.
    """

    def __init__(self, mine: threading.Semaphore, other: threading.Semaphore) -> None:
        self._mine, self._other = mine, other

    def on_evaluation(self, state: RunState, row: object) -> None:  # noqa: ARG002
        self._other.release()
        self._mine.acquire()


def _overhead(task: bs.Task, pairs: int) -> Row:
    """Seconds of a run with the meter at its default pace, against the same run beside it."""
    readings: list[NoiseReading] = []
    plain: list[float] = []
    overheads: list[float] = []

    def ours() -> float:
        meter = NoiseHook(task, precision="float32", device=CPU, seed=len(readings))
        # Which of the two goes first alternates, so that being first favours neither.
        order = [[meter], []] if len(readings) % 2 else [[], [meter]]
        seconds = _train_in_turn(task, order)
        readings.append(meter.read())
        plain.append(seconds[order.index([])])
        metered = seconds[order.index([meter])]
        overheads.append(100 * (metered / plain[-1] - 1))
        return metered

    def theirs() -> float:
        if not plain:
            measured.append(ours())
        return plain.pop()

    measured: list[float] = []
    row = compare(
        f"noise-{task.name}",
        module="noise",
        what=f"{EPOCHS} epochs of {task.name} at batch size {BATCH_SIZE}, noise scale measured",
        against="the same run alone, the two in turn from one evaluation to the next",
        unit="s",
        ours=lambda: measured.pop() if measured else ours(),
        theirs=theirs,
        pairs=pairs,
    )
    blocks = sorted(reading.blocks for reading in readings)
    shares = [100 * reading.share_of_time for reading in readings]
    closed = sum(isinstance(reading.noise_scale, Interval) for reading in readings)
    seen = (
        f"{blocks[0]} to {blocks[-1]} blocks, {closed} of {pairs} two-sided, "
        f"{statistics.mean(shares):.1f}% of the time by its own clock; mean overhead "
        f"{_mean_with_interval(overheads)}%"
    )
    return replace(row, what=f"{row.what} ({seen})")


def _mean_with_interval(values: list[float]) -> str:
    mean = statistics.mean(values)
    half = float(stats.t.ppf(0.975, len(values) - 1)) * float(stats.sem(values))
    return f"{mean:.1f} ({mean - half:.1f} to {mean + half:.1f})"


def _train_in_turn(task: bs.Task, hooks: list[list[Hook]]) -> list[float]:
    """Seconds of two runs that train in turn."""
    turns = [threading.Semaphore(0), threading.Semaphore(0)]

    def run(place: int) -> float:
        mine, other = turns[place], turns[1 - place]
        mine.acquire()
        # Its own evaluation first: a meter must not see the other's turn as a step.
        seconds = _train(task, [*hooks[place], _Turn(mine, other)])
        other.release()
        return seconds

    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(run, place) for place in range(2)]
        turns[0].release()
        return [run.result() for run in both]


def _accumulated() -> Row:
    """A step of two passes of 4,096 tokens with the meter at every step, and one without."""
    loops = [AccumulatingLoop(is_metered=metered) for metered in (True, False)]
    for loop in loops:
        loop.step()
    return compare(
        "noise-accumulated",
        module="noise",
        what="a step of stdlib-lm, 2 passes of 4,096 tokens, NoiseMeter at every step",
        against="the same step without",
        unit="s",
        ours=loops[0].step,
        theirs=loops[1].step,
        pairs=200,
    )


def _ranks() -> Row:
    """The same on two processes of a DistributedDataParallel model."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "row.json"
        subprocess.run(
            [
                sys.executable,
                *("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
                *("-m", "benchmarks.noise_on_ranks", str(path)),
            ],
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        return Row(**json.loads(path.read_text()))


def _train(task: bs.Task, hooks: list[Hook]) -> float:
    plan = make_plan(task, device=CPU, budget=bs.epochs(EPOCHS))
    lr = task.optimizer_spec.lr or 0.001
    configuration = configure(task, plan, "0" * 16, batch_size=BATCH_SIZE, lr=lr, seed=0)
    return train(replace(task, test=None), configuration, device=CPU, hooks=hooks).seconds


def _other_ways() -> list[Row]:
    """Cost and spread of abs(G)^2 and tr(Sigma) from 512 examples at one place of digits-cnn."""
    task = digits_cnn.task
    torch.manual_seed(0)
    model = task.model()
    gradients = LossGradients(task, model, precision="float32", device=CPU)
    x, y = task.datasets["train"].tensors
    generator = torch.Generator().manual_seed(0)

    def micro_batches() -> tuple[float, float]:
        drawn = torch.stack(
            [
                torch.cat(gradients.at(torch.randint(len(x), (32,), generator=generator)))
                for _ in range(16)
            ]
        )
        mean = drawn.mean(0)
        return separate_moments(
            float(drawn.square().sum(1).mean()), float(mean.dot(mean)), micro_batch=32, count=16
        )

    names = dict(model.named_parameters())

    def loss_of_one(parameters: dict[str, torch.Tensor], a: torch.Tensor, b: torch.Tensor):
        logits = torch.func.functional_call(model, parameters, (a[None],))
        return F.cross_entropy(logits, b[None])

    each = torch.func.vmap(torch.func.grad(loss_of_one), in_dims=(None, 0, 0))

    def per_example() -> tuple[float, float]:
        index = torch.randint(len(x), (512,), generator=generator)
        parts = each({n: p.detach() for n, p in names.items()}, x[index], y[index])
        table = torch.cat([part.flatten(1) for part in parts.values()], dim=1)
        mean = table.mean(0)
        return separate_moments(
            float(table.square().sum(1).mean()), float(mean.dot(mean)), micro_batch=1, count=512
        )

    def two_sizes() -> tuple[float, float]:
        """One small batch and the whole, as Composer's monitor has them at every step."""
        index = torch.randint(len(x), (512,), generator=generator)
        small, large = (torch.cat(gradients.at(i)) for i in (index[:32], index))
        s, b = float(small.dot(small)), float(large.dot(large))
        return (s - b) / (1 / 32 - 1 / 512), (512 * b - 32 * s) / 480

    ways: dict[str, Callable[[], tuple[float, float]]] = {
        "per-example gradients by torch.func": per_example,
        "two sizes, as Composer's monitor": two_sizes,
    }
    if (backpack := _backpack(x, y, generator)) is not None:
        ways["BackPACK's per-example gradients"] = backpack
    ours = _spread(micro_batches)
    rows: list[Row] = []
    for place, (name, way) in enumerate(ways.items()):
        theirs = _spread(way)
        rows.append(
            compare(
                f"noise-way-{place}",
                module="noise",
                what="16 micro-batches of 32; deviation of abs(G)^2 "
                f"{ours[1]:.2g}, of tr(Sigma) {ours[0]:.2g} of the mean",
                against=f"{name}, the same 512 examples; deviations {theirs[1]:.2g} and "
                f"{theirs[0]:.2g}",
                unit="ms",
                ours=lambda: _milliseconds(micro_batches),
                theirs=lambda way=way: _milliseconds(way),
                pairs=5,
            )
        )
    return rows


def _backpack(
    x: torch.Tensor, y: torch.Tensor, generator: torch.Generator
) -> Callable[[], tuple[float, float]] | None:
    try:
        backpack, extensions = (
            importlib.import_module(name) for name in ("backpack", "backpack.extensions")
        )
    except (ImportError, RuntimeError):
        return None
    torch.manual_seed(0)
    model = backpack.extend(digits_cnn.task.model())
    loss = backpack.extend(nn.CrossEntropyLoss(reduction="sum"))

    def measure_by_backpack() -> tuple[float, float]:
        index = torch.randint(len(x), (512,), generator=generator)
        model.zero_grad()
        with backpack.backpack(extensions.BatchGrad()):
            loss(model(x[index]), y[index]).backward()
        table = torch.cat([p.grad_batch.flatten(1) for p in model.parameters()], dim=1)
        mean = table.mean(0)
        return separate_moments(
            float(table.square().sum(1).mean()), float(mean.dot(mean)), micro_batch=1, count=512
        )

    return measure_by_backpack


def _spread(way: Callable[[], tuple[float, float]]) -> tuple[float, float]:
    """The deviation of each moment over its mean."""
    table = np.array([way() for _ in range(DRAWS)])
    noise, signal = table.std(0) / np.abs(table.mean(0))
    return float(noise), float(signal)


def _milliseconds(way: Callable[[], object]) -> float:
    seconds: list[float] = []
    for _ in range(5):
        began = time.perf_counter()
        way()
        seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds)
