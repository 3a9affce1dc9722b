"""The largest batch that fits in memory, found by running it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from scipy import stats

from batchscope.errors import CannotTell, InvalidTask, WorkerDied
from batchscope.estimate import Estimate, Interval, NotIdentified, write_number
from batchscope.instruments.memory.limits import MemoryLimit
from batchscope.instruments.memory.probing import (
    Anatomy,
    Mode,
    ProbeReading,
    probe_memory,
    read_start,
)
from batchscope.instruments.memory.search import Probe, say_bound, search_largest
from batchscope.records import Precision
from batchscope.task import Examples, Task, tensors_of
from batchscope.training.devices import count_cores
from batchscope.workers.forking import can_fork
from batchscope.workers.pool import ProcessPool
from batchscope.workers.travel import TaskSource

_UNIT = "bytes/example"
_CHECKPOINTED = 0.5
# Signals with which a kernel ends a process that takes too much: KILL and BUS.
_KILLED = (-9, -7)
# Those with which a library ends its process that does not check what it was given: SEGV and ABRT.
_CRASHED = (-11, -6)
_PARTS: Mapping[Mode, str] = {"training": "train", "evaluation": "val"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The largest batches that fit, every one of them run.

    Attributes:
        max_batch_size: that can be trained on; 0 where nothing fits.
        bounded_by: what ended the search: "memory", "data", or "largest", the size that was
            asked for at most.
        eval_batch_size: that can be evaluated; 0 where nothing fits.
        tried: what each batch size did, in order.
        limit: of the memory.
        anatomy: what the training of one batch of `anatomy_at` examples holds on to; None where
            nothing fits.
        bytes_per_example: that the peak grows by.
    """

    task: str
    unit: str
    device: str
    max_batch_size: int
    bounded_by: str
    eval_batch_size: int
    tried: tuple[ProbeReading, ...]
    limit: MemoryLimit
    anatomy: Anatomy | None
    anatomy_at: int
    bytes_per_example: Estimate

    @property
    def max_multiple_of_8(self) -> int:
        """The largest multiple of 8 that was run and fits; 0 where there is none."""
        return self.max_batch_size // 8 * 8

    @property
    def with_checkpointing(self) -> float | None:
        """A prediction: the batch that would fit if half of the activations were recomputed."""
        slope = self.bytes_per_example
        if self.anatomy is None or not isinstance(slope, Interval) or self.bounded_by != "memory":
            return None
        kept = self.anatomy.activations / self.anatomy_at
        left = max(slope.value - _CHECKPOINTED * kept, 0.1 * slope.value)
        return self.max_batch_size * slope.value / left

    def to_dict(self) -> dict[str, object]:
        """The answer as JSON."""
        return {
            "task": self.task,
            "unit": self.unit,
            "device": self.device,
            "max_batch_size": self.max_batch_size,
            "max_multiple_of_8": self.max_multiple_of_8,
            "bounded_by": self.bounded_by,
            "eval_batch_size": self.eval_batch_size,
            "tried": [
                {
                    "batch_size": reading.batch_size,
                    "mode": reading.mode,
                    "outcome": reading.outcome,
                    "peak_bytes": reading.peak,
                }
                for reading in self.tried
            ],
            "memory": self._describe_memory(),
        }

    def __repr__(self) -> str:
        return (
            f"Fit of {self.task} on {self.device}: {self.max_batch_size} {self.unit} to train on, "
            f"{self.eval_batch_size} to evaluate"
        )

    def _describe_memory(self) -> dict[str, object]:
        parts = self.anatomy
        return {
            "limit_bytes": self.limit.amount,
            "limit": f"{self.limit.kind}: {self.limit.words}",
            "bytes_per_example": self.bytes_per_example.to_dict(),
            "weights_bytes": None if parts is None else parts.weights,
            "buffers_bytes": None if parts is None else parts.buffers,
            "gradients_bytes": None if parts is None else parts.gradients,
            "optimizer_bytes": None if parts is None else parts.optimizer_state,
            "activation_bytes_per_example": None
            if parts is None
            else parts.activations / self.anatomy_at,
            "predicted_with_checkpointing": self.with_checkpointing,
        }


def find_largest(
    task: Task,
    source: TaskSource,
    *,
    limit: MemoryLimit,
    headroom: float,
    precision: Precision,
    device_name: str | None,
    device_words: str,
    largest: int | None = None,
    report: Callable[[ProbeReading], None] = lambda _: None,
) -> Fit:
    """Search the largest batch for training and for evaluation, each probe in a process of its own.

    Args:
        headroom: share of the limit that stays free, in [0, 1).
        largest: that may be tried; the data set's size by default, which also bounds it.

    Raises:
        InvalidTask: a batch fails for another reason than memory.
        CannotTell: not even the smallest batch fits.
    """
    kept = replace(limit, amount=int(limit.amount * (1 - headroom)))
    tried: list[ProbeReading] = []
    orders: dict[Mode, list[int] | None] = {}
    # The addresses of a forked process are not those of a plain script.
    is_forked = kept.kind == "resident" and can_fork()
    start = _read_start(source) if is_forked else None

    def run(mode: Mode, size: int) -> ProbeReading:
        if mode not in orders:
            orders[mode] = order_by_size(task, task.datasets[_PARTS[mode]])
        order = orders[mode]
        worst = None if order is None else order[:size]
        has_fitted = any(r.mode == mode and r.outcome == "fits" for r in tried)
        reading = _probe_in_child(
            source, size, mode, kept, precision, device_name, worst, start, may_crash=has_fitted
        )
        tried.append(reading)
        report(reading)
        return reading

    def search(mode: Mode) -> int:
        size = len(task.datasets[_PARTS[mode]])
        most, smallest = min(size, largest or size), 1

        def probe(size: int) -> Probe:
            reading = run(mode, size)
            if reading.outcome == "refused":
                raise _Refused
            return Probe(batch_size=size, fits=reading.outcome == "fits", peak=reading.peak)

        while True:
            try:
                probes = search_largest(
                    probe, smallest=smallest, largest=most, cap=float(kept.amount)
                )
            except _Refused:
                if smallest == 2 or most < 2:
                    raise _cannot_train_one(task) from None
                smallest = 2
                continue
            return max((p.batch_size for p in probes if p.fits), default=0)

    trained = search("training")
    if trained == 0:
        raise CannotTell(
            f"nothing fits: one batch of {tried[-1].batch_size} needs more than there is",
            where=f"{task.name}, {write_number(kept.amount / 2**20)} MiB ({kept.words})",
            expected="a limit above what the weights, their gradients and one example need",
            do="give more with --memory, or train a smaller model",
        )
    multiple = trained // 8 * 8
    if multiple and multiple not in {reading.batch_size for reading in tried}:
        run("training", multiple)
    evaluated = search("evaluation")
    readings = [r for r in tried if r.mode == "training" and r.outcome == "fits"]
    last = readings[-1]
    most = min(task.train_size, largest or task.train_size)
    return Fit(
        task=task.name,
        unit=task.unit,
        device=device_words,
        max_batch_size=trained,
        bounded_by=say_bound(trained, most=most, train_size=task.train_size),
        eval_batch_size=evaluated,
        tried=tuple(tried),
        limit=kept,
        anatomy=last.anatomy,
        anatomy_at=last.batch_size,
        bytes_per_example=estimate_slope(readings),
    )


def estimate_slope(readings: Sequence[ProbeReading]) -> Estimate:
    """Bytes that the peak grows by per example, from the batches that fitted."""
    known = [(r.batch_size, r.peak) for r in readings if r.peak is not None]
    if len({size for size, _ in known}) < 3:
        return NotIdentified(
            reason="fewer than three batch sizes fitted", remedy="give more memory", unit=_UNIT
        )
    sizes, peaks = zip(*known, strict=True)
    line: Any = stats.linregress(sizes, peaks)
    half = float(stats.t.ppf(0.975, len(known) - 2)) * float(line.stderr)
    slope = float(line.slope)
    return Interval(value=slope, low=slope - half, high=slope + half, unit=_UNIT)


def order_by_size(task: Task, data: Examples) -> list[int] | None:
    """Indices of a data set, the largest examples first; None where all are alike.

    By the task's `length`, or else by the numbers that an example holds.
    """
    if task.length is not None:
        sizes = torch.tensor([float(task.length(data[i])) for i in range(len(data))])
    elif tensors_of(data) is not None:
        return None
    else:
        sizes = torch.tensor([float(_count_numbers(data[i])) for i in range(len(data))])
    if bool((sizes == sizes[0]).all()):
        return None
    return cast(list[int], sizes.argsort(descending=True).tolist())


def _count_numbers(example: Any) -> int:
    if isinstance(example, torch.Tensor):
        return example.numel()
    if isinstance(example, dict):
        return sum(_count_numbers(value) for value in cast(dict[Any, Any], example).values())
    if isinstance(example, (tuple, list)):
        return sum(_count_numbers(value) for value in cast(Sequence[Any], example))
    return len(example) if isinstance(example, (str, bytes)) else 1


class _Refused(Exception):
    """A batch norm wants more than one example."""


def _read_start(source: TaskSource) -> int:
    with ProcessPool(source, count=1, threads=count_cores(), once=True) as pool:
        return cast(int, pool.ask("the memory of a process", read_start))


def _probe_in_child(
    source: TaskSource,
    size: int,
    mode: Mode,
    limit: MemoryLimit,
    precision: Precision,
    device_name: str | None,
    order: list[int] | None,
    start: int | None,
    *,
    may_crash: bool,
) -> ProbeReading:
    """Run one size; a crash where smaller ones ran tells of memory, and else of a bug."""
    arguments = (size, mode, limit, precision, device_name, order, start)
    with ProcessPool(source, count=1, threads=count_cores(), once=start is None) as pool:
        try:
            return cast(ProbeReading, pool.ask(f"batch size {size}", probe_memory, *arguments))
        except WorkerDied as died:
            error, code = died, died.worker_exit_code
    if code in _KILLED:
        return ProbeReading(batch_size=size, mode=mode, outcome="out of memory")
    if code in _CRASHED and may_crash:
        return ProbeReading(batch_size=size, mode=mode, outcome="crashed")
    raise error


def _cannot_train_one(task: Task) -> InvalidTask:
    return InvalidTask(
        "a batch norm refuses a batch of one example, and there are no two",
        where=task.name,
        expected="at least two examples",
        do="give the task more data",
    )
