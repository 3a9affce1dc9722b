"""What holds a step up: each phase of it, and whether the loader or the computing is slower."""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from torch import distributed
from torch.utils import data as torch_data

from batchscope.estimate import Estimate, Interval, NotIdentified
from batchscope.findings.seeds import estimate_median
from batchscope.optimizers import starting_rate
from batchscope.records import Precision
from batchscope.task import Task, tensors_of
from batchscope.training.batches import move
from batchscope.training.devices import autocast, choose_device, synchronize
from batchscope.training.seeding import draw_order, keep_randomness, seed_everything
from batchscope.training.stepper import compute_loss

PHASES = ("loading", "to device", "forward", "backward", "optimizer")
_WARM_UP = 3
_LEAST_STEPS = 12
_SECONDS = 0.4
_MOST_WORKERS = 8
# A loader that keeps the step within a twentieth of what tensors at hand give is no bottleneck.
_TOLERATED = 1.05
_UNIT = "s/step"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bottleneck:
    """Where the seconds of a step go at one batch size.

    Attributes:
        phases: phase -> seconds per step, each synchronised, loading in this process.
        at_hand: seconds per step with batches that are already on the device.
        loaded: loader processes -> seconds per step with batches from a DataLoader; 0 is this one.
        workers: loader processes that remove the bottleneck; None where none of those tried does.
        all_reduce: seconds that averaging the gradients over the ranks takes.
        verdict: a sentence.
    """

    task: str
    batch_size: int
    device: str
    phases: Mapping[str, Estimate]
    at_hand: Estimate
    loaded: Mapping[int, Estimate]
    workers: int | None
    all_reduce: Estimate
    verdict: str

    def to_dict(self) -> dict[str, object]:
        """The measurement as JSON."""
        return {
            "task": self.task,
            "batch_size": self.batch_size,
            "device": self.device,
            "phases": {name: estimate.to_dict() for name, estimate in self.phases.items()},
            "at_hand": self.at_hand.to_dict(),
            "loaded": [
                {"workers": count, "step_seconds": estimate.to_dict()}
                for count, estimate in self.loaded.items()
            ],
            "workers": self.workers,
            "all_reduce": self.all_reduce.to_dict(),
            "verdict": self.verdict,
        }

    def __repr__(self) -> str:
        return f"Bottleneck of {self.task} at batch size {self.batch_size}: {self.verdict}"


def find_bottleneck(
    task: Task,
    batch_size: int,
    precision: Precision,
    device_name: str | None,
    *,
    report: Callable[[object], None],
) -> Bottleneck:
    """Time the same steps with batches at hand and with a loader of several worker counts.

    Args:
        report: told how many parts are done, as (done, all).
    """
    device = choose_device(device_name)
    counts = _worker_counts()
    parts = len(counts) + 2
    with keep_randomness():
        seed_everything(0)
        training = _Training(task, precision, device)
        at_hand = training.time(_repeat(next(_load(task, batch_size, 0)), device))
        report((1, parts))
        phases = training.split(_load(task, batch_size, 0))
        report((2, parts))
        loaded: dict[int, Estimate] = {}
        for place, count in enumerate(counts, start=3):
            loaded[count] = training.time(
                move(batch, device) for batch in _load(task, batch_size, count)
            )
            report((place, parts))
        all_reduce = time_all_reduce(sum(p.numel() for p in training.parameters), device)
    are_tensors = tensors_of(task.datasets["train"]) is not None and task.collate is None
    verdict, workers = judge(at_hand, loaded, are_tensors=are_tensors)
    return Bottleneck(
        task=task.name,
        batch_size=batch_size,
        device=str(device),
        phases=phases,
        at_hand=at_hand,
        loaded=loaded,
        workers=workers,
        all_reduce=all_reduce,
        verdict=verdict,
    )


def judge(
    at_hand: Estimate, loaded: Mapping[int, Estimate], *, are_tensors: bool = False
) -> tuple[str, int | None]:
    """Loader or compute, in words, and the worker count that removes the bottleneck.

    Args:
        are_tensors: whether the data are in memory as tensors.
    """
    if not isinstance(at_hand, Interval):
        return "the steps were too few to tell", None
    known = {c: e for c, e in loaded.items() if isinstance(e, Interval)}
    ratios = {count: estimate.value / at_hand.value for count, estimate in known.items()}
    enough = [count for count, ratio in ratios.items() if ratio <= _TOLERATED]
    if 0 in enough:
        return (
            "computing takes the time: loading in the training process adds "
            f"{100 * max(0.0, ratios[0] - 1):.0f}%",
            0,
        )
    own = 100 * (ratios[0] - 1)
    if enough:
        return (
            f"loading holds it up: in the training process it adds {own:.0f}%, and "
            f"{enough[0]} worker{'s' if enough[0] > 1 else ''} remove that",
            enough[0],
        )
    best = min(ratios, key=lambda count: ratios[count])
    remedy = (
        "the data are tensors already: take whole batches of rows from them, as runs here do, "
        "instead of single examples"
        if are_tensors
        else "hold the data in memory as tensors, or do less per example"
    )
    if best == 0:
        return (
            f"loading holds it up: in the training process it adds {own:.0f}%, and worker "
            f"processes take longer still; {remedy}",
            None,
        )
    return (
        f"loading holds it up: in the training process it adds {own:.0f}%, and with {best} "
        f"workers, the best of those tried, still {100 * (ratios[best] - 1):.0f}%; {remedy}",
        None,
    )


def time_all_reduce(numbers: int, device: torch.device) -> Estimate:
    """Seconds to average so many gradients over the ranks there are."""
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return NotIdentified(
            reason="there is one process only",
            remedy="run it under torchrun with two or more",
            unit=_UNIT,
        )
    buffer = torch.zeros(numbers, device=device)
    seconds: list[float] = []
    for count in range(_WARM_UP + _LEAST_STEPS):
        distributed.barrier()
        synchronize(device)
        began = time.perf_counter()
        distributed.all_reduce(buffer)
        synchronize(device)
        if count >= _WARM_UP:
            seconds.append(time.perf_counter() - began)
    return estimate_median(seconds, unit=_UNIT)


class _Training:
    """Steps of a task whose phases can be timed."""

    def __init__(self, task: Task, precision: Precision, device: torch.device) -> None:
        self._task = task
        self._device = device
        self._precision: Precision = precision
        self._model = task.model().to(device)
        self.parameters = [p for p in self._model.parameters() if p.requires_grad]
        spec = task.optimizer_spec
        # Steps without effect: a rate that trained would end in NaN on one batch repeated.
        rate = 1e-6 * starting_rate(spec, self.parameters)
        self._optimizer = spec.build(self.parameters, spec.hyper_parameters(batch_size=1, lr=rate))

    def time(self, batches: Iterator[Any]) -> Estimate:
        """Seconds per step over these batches, the wait for each included."""
        seconds: list[float] = []
        began = time.perf_counter()
        for count, batch in enumerate(batches):
            self._loss(batch).backward()
            self._optimizer.step()
            self._optimizer.zero_grad()
            synchronize(self._device)
            now = time.perf_counter()
            if count >= _WARM_UP:
                seconds.append(now - began)
            began = now
            if len(seconds) >= _LEAST_STEPS and sum(seconds) > _SECONDS:
                break
        return _estimate_mean_step(seconds)

    def split(self, batches: Iterator[Any]) -> Mapping[str, Estimate]:
        """Seconds of each phase, the device synchronised between them."""
        table: dict[str, list[float]] = {phase: [] for phase in PHASES}
        count = 0
        while count < _WARM_UP + _LEAST_STEPS:
            marks = [time.perf_counter()]
            batch = next(batches)
            self._mark(marks)
            batch = move(batch, self._device)
            self._mark(marks)
            loss = self._loss(batch)
            self._mark(marks)
            loss.backward()
            self._mark(marks)
            self._optimizer.step()
            self._optimizer.zero_grad()
            self._mark(marks)
            count += 1
            if count > _WARM_UP:
                for phase, low, high in zip(PHASES, marks[:-1], marks[1:], strict=True):
                    table[phase].append(high - low)
        return {phase: estimate_median(values, unit=_UNIT) for phase, values in table.items()}

    def _loss(self, batch: Any) -> torch.Tensor:
        with autocast(self._device, self._precision):
            return compute_loss(self._task.loss, self._model, batch)

    def _mark(self, marks: list[float]) -> None:
        synchronize(self._device)
        marks.append(time.perf_counter())


def _estimate_mean_step(seconds: Sequence[float]) -> Estimate:
    """Means of eight stretches: with workers batches come in bursts, which a median would miss."""
    edges = [round(i * len(seconds) / 8) for i in range(9)]
    stretches = [statistics.mean(seconds[low:high]) for low, high in pairwise(edges) if high > low]
    return estimate_median(stretches, unit=_UNIT)


def _load(task: Task, batch_size: int, workers: int) -> Iterator[Any]:
    loader = cast(Any, torch_data.DataLoader)(
        task.datasets["train"],
        batch_sampler=_Batches(task.train_size, batch_size),
        collate_fn=task.collate or torch_data.default_collate,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    while True:
        yield from loader


class _Batches(torch_data.Sampler[list[int]]):
    """Whole batches of one epoch."""

    def __init__(self, size: int, batch_size: int) -> None:
        self._size, self._batch_size = size, batch_size

    def __iter__(self) -> Iterator[list[int]]:
        order = cast(list[int], draw_order(self._size, seed=0, epoch=0).tolist())
        for low in range(0, self._size - self._batch_size + 1, self._batch_size):
            yield order[low : low + self._batch_size]


def _repeat(batch: Any, device: torch.device) -> Iterator[Any]:
    placed = move(batch, device)
    while True:
        yield placed


def _worker_counts() -> list[int]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [0, *(2**power for power in range(4) if 2**power <= min(_MOST_WORKERS, cores or 1))]
