"""The batch that would fit on a device that is not here, counted on tensors without data."""

import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from batchscope.errors import CannotTell
from batchscope.estimate import NotIdentified
from batchscope.instruments.memory.limits import MemoryLimit
from batchscope.instruments.memory.probing import Mode
from batchscope.instruments.memory.search import Probe, say_bound, search_largest
from batchscope.instruments.without_data import lay_out, make_stepper, refusing_values
from batchscope.records import Precision
from batchscope.task import Task
from batchscope.training.batches import MicroBatch
from batchscope.training.devices import autocast

_CPU = torch.device("cpu")
# The second step holds what the optimizer has made in the first beside all activations.
_STEPS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FitPrediction:
    """The largest batches whose tensors would fit; nothing was run.

    Attributes:
        at_most, eval_at_most: examples, to train on and to evaluate. Allocators and libraries take
            memory that tensors do not show, so the largest that fits is no larger.
        fixed_bytes: that a training step holds without any example.
        bytes_per_example: that it holds for each, near `at_most`.
    """

    task: str
    unit: str
    device: str
    limit: MemoryLimit
    at_most: int
    eval_at_most: int
    bounded_by: str
    fixed_bytes: int
    bytes_per_example: float

    def to_dict(self) -> dict[str, object]:
        """The prediction as JSON, with the keys of a fit that was run."""
        return {
            "task": self.task,
            "unit": self.unit,
            "device": self.device,
            "source": "a prediction from fake tensors: nothing was run",
            "max_batch_size": None,
            "max_multiple_of_8": None,
            "eval_batch_size": None,
            "tried": [],
            "predicted_max_batch_size": self._bound(self.at_most).to_dict(),
            "predicted_eval_batch_size": self._bound(self.eval_at_most).to_dict(),
            "bounded_by": self.bounded_by,
            "memory": {
                "limit_bytes": self.limit.amount,
                "limit": f"{self.limit.kind}: {self.limit.words}",
                "predicted_fixed_bytes": self.fixed_bytes,
                "predicted_bytes_per_example": self.bytes_per_example,
            },
        }

    def __repr__(self) -> str:
        return (
            f"Prediction for {self.task} on {self.device}: at most {self.at_most} {self.unit} to "
            f"train on, at most {self.eval_at_most} to evaluate; nothing was run"
        )

    @property
    def estimates(self) -> tuple[tuple[str, NotIdentified], ...]:
        """The two bounds by name."""
        return (
            ("largest batch to train on", self._bound(self.at_most)),
            ("largest batch to evaluate", self._bound(self.eval_at_most)),
        )

    def _bound(self, examples: int) -> NotIdentified:
        return NotIdentified(
            reason="predicted: fake tensors show no allocator and no library's workspace",
            remedy=f"run batchscope fit where there is a {self.device} device",
            unit=self.unit,
            high=float(examples),
        )


def predict_largest(
    task: Task,
    *,
    limit: MemoryLimit,
    headroom: float,
    precision: Precision,
    device: str,
    largest: int | None = None,
) -> FitPrediction:
    """Search the batch whose step would fill the limit, without computing one.

    Raises:
        CannotTell: not even one example would fit, or the task asks tensors for their values.
    """
    cap = limit.amount * (1 - headroom)

    def search(mode: Mode) -> tuple[int, tuple[Probe, ...]]:
        most = min(len(task.datasets["train" if mode == "training" else "val"]), largest or 2**31)

        def probe(size: int) -> Probe:
            peak = predict_peak(task, size, mode=mode, precision=precision)
            return Probe(batch_size=size, fits=peak <= cap, peak=float(peak))

        probes = search_largest(probe, largest=most, cap=cap)
        return max((p.batch_size for p in probes if p.fits), default=0), probes

    trained, probes = search("training")
    if trained == 0:
        raise CannotTell(
            f"nothing would fit: one example needs {probes[0].peak or 0:,.0f} bytes",
            where=f"{task.name}, {cap:,.0f} bytes ({limit.words})",
            expected="a limit above what the weights, their gradients and one example need",
            do="give more with --memory, or train a smaller model",
        )
    fixed, slope = predict_line(task, trained, precision=precision)
    return FitPrediction(
        task=task.name,
        unit=task.unit,
        device=device,
        limit=limit,
        at_most=trained,
        eval_at_most=search("evaluation")[0],
        bounded_by=say_bound(
            trained, most=min(task.train_size, largest or 2**31), train_size=task.train_size
        ),
        fixed_bytes=round(fixed),
        bytes_per_example=slope,
    )


def predict_line(task: Task, largest: int, *, precision: Precision) -> tuple[float, float]:
    """Bytes that a training step holds without any example, and for each near the largest."""
    half = max(1, largest // 2)
    low, high = (
        predict_peak(task, size, mode="training", precision=precision) for size in (half, largest)
    )
    slope = (high - low) / (largest - half) if largest > half else 0.0
    return high - slope * largest, slope


def predict_peak(task: Task, batch_size: int, *, mode: Mode, precision: Precision) -> int:
    """Bytes that all tensors of a training step, or of an evaluation, take at once.

    The batch is the worst: the longest examples, where they differ.

    Raises:
        CannotTell: the task asks a tensor for its value, which it has not.
    """
    fake, model, piece = lay_out(task, batch_size, split="train" if mode == "training" else "val")
    live = _LiveBytes()
    live.add([*model.parameters(), *model.buffers(), *tree_leaves(piece.batch)])
    run = _train if mode == "training" else _evaluate
    with refusing_values(task), fake, live:
        run(task, model, piece, precision)
    return live.peak


def _train(task: Task, model: nn.Module, piece: MicroBatch, precision: Precision) -> None:
    stepper = make_stepper(task, model, piece.size, precision)
    for _ in range(_STEPS):
        stepper.accumulate([piece], after_each=lambda _: None)
        stepper.apply()


def _evaluate(task: Task, model: nn.Module, piece: MicroBatch, precision: Precision) -> None:
    model.eval()
    with torch.no_grad(), autocast(_CPU, precision):
        for function in (task.loss, *task.metrics.values()):
            function(model, piece.batch)


class _LiveBytes(TorchDispatchMode):
    """The bytes of all storages that are alive, each counted once, and the most at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self._alive: set[int] = set()

    def add(self, values: Iterable[object]) -> None:
        """Count the storages of these tensors until they are freed."""
        for value in values:
            if isinstance(value, torch.Tensor):
                self._add_storage(value.untyped_storage())

    def _add_storage(self, storage: torch.UntypedStorage) -> None:
        key = id(storage)
        if key in self._alive:
            return
        self._alive.add(key)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, key, storage.nbytes())

    def _free(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.now -= size

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.add(tree_leaves(result))
        return result
