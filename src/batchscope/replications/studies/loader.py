"""A forum's advice: time a batch size with pre-allocated tensors, or the loader hides its speed."""

import math
import tempfile
import zlib
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from batchscope.errors import CannotTell
from batchscope.estimate import Interval
from batchscope.findings.claims import Claim, Seen, exactly
from batchscope.optimizers import SGD
from batchscope.replications.lab import Lab
from batchscope.replications.published import Figure, Line, Measured, Published
from batchscope.task import Task
from batchscope.verbs.profiling import profile

_SMALL, _LARGE = 8, 64
_ALL = (8, 16, 32, 64, 128, 256)
_ITEMS, _FEATURES, _CLASSES = 1024, 256, 10
# Of noise that hardly shrinks: unpacking so many bytes takes about a tenth of a millisecond.
_PACKED_BYTES = 40_000

CLAIMS = (
    Claim(
        id="C1",
        name="from 8 to 64 examples per second grow more than twice as much with pre-allocated "
        "tensors as through the loader",
        kind="claim",
        direction="above",
        margin=2.0,
        is_ratio=True,
    ),
)


class Packed:
    """Examples that are unpacked each time they are asked for."""

    def __init__(self, inputs: torch.Tensor, classes: torch.Tensor) -> None:
        noise = np.random.default_rng(0).integers(0, 16, _PACKED_BYTES, dtype=np.uint8).tobytes()
        self._items = [zlib.compress(row.numpy().tobytes() + noise) for row in inputs]
        self._classes = classes

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One example, from its bytes."""
        whole = np.frombuffer(zlib.decompress(self._items[index]), dtype=np.uint8)
        values = whole[: 4 * _FEATURES].view(np.float32)
        return torch.from_numpy(values.copy()), self._classes[index]


def make_model() -> nn.Module:
    """A small perceptron."""
    return nn.Sequential(nn.Linear(_FEATURES, 64), nn.ReLU(), nn.Linear(64, _CLASSES))


def _loss(model: nn.Module, batch: Any) -> torch.Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def make_task(*, is_packed: bool) -> Task:
    """Random inputs and classes: only the time of a step is looked at."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(_ITEMS, _FEATURES, generator=generator)
    classes = torch.randint(0, _CLASSES, (_ITEMS,), generator=generator)
    return Task(
        name="items-packed" if is_packed else "items-pre-allocated",
        model=make_model,
        loss=_loss,
        train=Packed(inputs, classes) if is_packed else (inputs, classes),
        val=(inputs[:_LARGE], classes[:_LARGE]),
        optimizer=SGD(lr=0.01),
        unit="items",
    )


def measure(lab: Lab) -> Measured:
    """Both ways in turns, the order reversed from one repeat to the next."""
    sizes = (_SMALL, _LARGE) if lab.is_quick else _ALL
    tasks = {
        "pre-allocated": make_task(is_packed=False),
        "loader": make_task(is_packed=not lab.is_control),
    }
    rates: dict[str, list[dict[int, float]]] = {name: [] for name in tasks}
    for repeat in lab.seeds:
        order = list(tasks)[:: 1 if repeat % 2 == 0 else -1]
        for name in order:
            rates[name].append(_time(lab, tasks[name], sizes))
    gains = {
        name: [math.log(one[_LARGE] / one[_SMALL]) for one in found]
        for name, found in rates.items()
    }
    seen: list[Seen] = exactly(
        [a - b for a, b in zip(gains["pre-allocated"], gains["loader"], strict=True)]
    )
    lines = tuple(
        Line(
            name=name,
            places=list(sizes),
            values=[math.exp(float(np.mean([math.log(one[b]) for one in found]))) for b in sizes],
        )
        for name, found in rates.items()
    )
    figure = Figure(
        title="Examples per second, geometric mean over repeats",
        x="batch size",
        y="items per second",
        lines=lines,
        logarithmic=(True, True),
    )
    return Measured(
        seen={"C1": seen},
        figures=(figure,),
        notes=("Where others tell of seeds, these are repeats of a timing, in turns.",),
    )


def _time(lab: Lab, task: Task, sizes: tuple[int, ...]) -> dict[int, float]:
    """Items per second at each batch size, timed now."""
    # A store would answer with its first timing.
    with tempfile.TemporaryDirectory() as folder:
        found = profile(
            task, batch_sizes=sizes, device="cpu", store=f"{folder}/timing.db", watcher=lab.watcher
        )
    rates = {
        size.batch_size: size.batch_size / size.step_seconds.value
        for size in found.sizes
        if isinstance(size.step_seconds, Interval)
    }
    if set(rates) < set(sizes):
        raise CannotTell(
            "a step of the small perceptron could not be timed",
            where="reproduce loader",
            expected=f"step times at batch sizes {', '.join(map(str, sizes))}",
            do="run it again on a machine that is less busy",
        )
    return rates


STUDY = Published(
    name="loader",
    title="What a slow loader hides",
    source="advice in the PyTorch forum (thread not located, unverified)",
    data="No data are published: 1,024 generated items of 256 numbers, each packed with zlib so "
    "that unpacking takes about 0.1 ms, and a small perceptron.",
    claims=CLAIMS,
    control="both ways pre-allocated: loading is free",
    kills=("C1",),
    seeds={"quick": 5, "standard": 10},
    minutes={"quick": 1, "standard": 2},
    measure=measure,
)
