"""One batch size run in a process of its own: what it took, or that memory ran out."""

import importlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from batchscope.instruments.memory.limits import (
    MemoryLimit,
    bound_this_process,
    forget_peak,
    read_status,
)
from batchscope.optimizers import starting_rate
from batchscope.records import Precision
from batchscope.task import Task
from batchscope.training.batches import Batches
from batchscope.training.devices import autocast, choose_device, is_out_of_memory, synchronize
from batchscope.training.seeding import seed_everything
from batchscope.training.stepper import Stepper

Mode = Literal["training", "evaluation"]

# The second step holds what the optimizer has made in the first beside all activations.
_STEPS = 2
# Numbers that all threads work on.
_SHARED_BY_THREADS = 2**20
_BATCH_NORM_REFUSAL = "Expected more than 1 value per channel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """What a model's training holds on to, in bytes.

    Attributes:
        activations: that the backward pass keeps, at this batch size.
    """

    weights: int
    buffers: int
    gradients: int
    optimizer_state: int
    activations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReading:
    """What one batch size did.

    Attributes:
        outcome: "fits", "out of memory", "crashed" where the process ended so and smaller batches
            had fitted, or "refused" where a batch norm wants more examples.
        peak: of the memory that the limit counts, in bytes; None where it cannot be read.
        anatomy: None for an evaluation, or where it did not fit.
    """

    batch_size: int
    mode: Mode
    outcome: Literal["fits", "out of memory", "crashed", "refused"]
    peak: int | None = None
    anatomy: Anatomy | None = None


def read_start(task: Task, *, report: Callable[[object], None]) -> int:
    """Bytes that are resident where a process has the task and is about to train."""
    return _prepare()


def probe_memory(
    task: Task,
    batch_size: int,
    mode: Mode,
    limit: MemoryLimit,
    precision: Precision,
    device_name: str | None,
    largest_examples: Sequence[int] | None,
    start: int | None,
    *,
    report: Callable[[object], None],
) -> ProbeReading:
    """Train two steps on one batch, or evaluate it, under the limit.

    It changes the process that it runs in, which should end afterwards.

    Args:
        largest_examples: indices of the largest first; None where all are alike.
        start: that is read in a process of its own, where this one was forked and has resident only
            what it has touched; None where this is one.
    """
    device = choose_device(device_name)
    touched = _prepare()
    resident = touched if start is None else start
    if limit.kind == "resident" and resident > limit.amount:
        return ProbeReading(batch_size=batch_size, mode=mode, outcome="out of memory")
    bound_this_process(limit, resident=resident)
    try:
        part = "train" if mode == "training" else "val"
        batches = Batches(task, task.datasets[part], device)
        worst = torch.arange(batch_size)
        if largest_examples is not None:
            worst = torch.tensor(largest_examples[:batch_size])
        model = task.model().to(device)
        _forget_peak(device)
        anatomy = None
        if mode == "training":
            anatomy = _train(task, model, batches, worst, precision=precision, device=device)
        else:
            _evaluate(task, model, batches, worst, precision=precision, device=device)
        synchronize(device)
    except (RuntimeError, MemoryError, ImportError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        return ProbeReading(batch_size=batch_size, mode=mode, outcome="out of memory")
    except ValueError as error:
        if _BATCH_NORM_REFUSAL not in str(error):
            raise
        return ProbeReading(batch_size=batch_size, mode=mode, outcome="refused")
    return ProbeReading(
        batch_size=batch_size,
        mode=mode,
        outcome="fits",
        peak=_read_peak(limit, device, untouched=resident - touched),
        anatomy=anatomy,
    )


def _prepare() -> int:
    """Load and start what is so on first use, and return the bytes that are resident then."""
    seed_everything(0)
    # By the first optimizer, in any script.
    importlib.import_module("torch._dynamo")
    # Where a thread cannot be started, its library ends the process.
    torch.ones(_SHARED_BY_THREADS).add_(1)
    return read_status().get("VmRSS", 0)


def _train(
    task: Task,
    model: nn.Module,
    batches: Batches,
    worst: torch.Tensor,
    *,
    precision: Precision,
    device: torch.device,
) -> Anatomy:
    spec = task.optimizer_spec
    rate = starting_rate(spec, model.parameters())
    stepper = Stepper(
        task,
        model,
        hyper_parameters=spec.hyper_parameters(batch_size=len(worst), lr=rate),
        precision=precision,
        device=device,
    )
    kept = _SavedForBackward(model)
    (micro_batches,) = batches.stream(worst, batch_size=len(worst), micro_batch=len(worst))
    for step in range(_STEPS):
        with kept if step == 0 else nullcontext():
            stepper.accumulate(micro_batches, after_each=lambda _: None)
        stepper.apply()
    states: list[dict[Any, Any]] = list(stepper.optimizer.state.values())
    return Anatomy(
        weights=sum(p.nbytes for p in model.parameters()),
        buffers=sum(b.nbytes for b in model.buffers()),
        gradients=sum(p.grad.nbytes for p in model.parameters() if p.grad is not None),
        optimizer_state=sum(
            value.nbytes
            for state in states
            for value in state.values()
            if isinstance(value, torch.Tensor)
        ),
        activations=kept.total,
    )


def _evaluate(
    task: Task,
    model: nn.Module,
    batches: Batches,
    worst: torch.Tensor,
    *,
    precision: Precision,
    device: torch.device,
) -> None:
    model.eval()
    (piece,) = batches.chunks(worst, size=len(worst))
    with torch.no_grad(), autocast(device, precision):
        for function in (task.loss, *task.metrics.values()):
            float(function(model, piece.batch))


class _SavedForBackward(torch.autograd.graph.saved_tensors_hooks):
    """Counts what a forward pass keeps for its backward pass, each piece of memory once."""

    def __init__(self, model: nn.Module) -> None:
        self._storages = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self.total = 0
        super().__init__(self._pack, lambda tensor: tensor)

    def _pack(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._storages:
            self._storages.add(storage.data_ptr())
            self.total += storage.nbytes()
        # An output that is saved with its own history would hold on to itself.
        return tensor.detach()


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        forget_peak()


def _read_peak(limit: MemoryLimit, device: torch.device, *, untouched: int) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if limit.kind == "address space":
        return read_status().get("VmPeak")
    peak = read_status().get("VmHWM")
    return None if peak is None else peak + untouched
