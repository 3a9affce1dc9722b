"""Sizes tried until the largest batch is known, against other finders at the same hidden limits.

Finders of other packages take part where these are installed:
pip install accelerate lightning batch-probe.
"""

import hashlib
import importlib
import logging
import random
import tempfile
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

import batchscope as bs
from batchscope.instruments.memory.search import Probe, search_largest
from benchmarks.row import Row, compare

LIMITS = list(
    dict.fromkeys(
        [777, *np.exp(np.random.default_rng(0).uniform(0, np.log(4_096), 24)).astype(int).tolist()]
    )
)
DATA = 100_000


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a finder said of one hidden limit.

    Attributes:
        tried: sizes that it ran, one that it ran twice counted twice.
        changed: what was no longer as before in the caller's process, in words.
    """

    found: int
    tried: int
    changed: str = "nothing"


Finder = Callable[[int], Answer]


def measure() -> list[Row]:
    torch.set_num_threads(1)
    finders: dict[str, Finder | None] = {
        "doubling and bisection from 1": _double_and_bisect,
        "Accelerate's find_executable_batch_size from 1024": _accelerate(),
        "Lightning's batch-size finder, power": _lightning("power"),
        "Lightning's batch-size finder, binsearch": _lightning("binsearch"),
        "batch-probe without headroom": _batch_probe(),
    }
    ours_at_777 = _fit_in_children(777)
    return [
        _compare(place, name, finder, ours_at_777)
        for place, (name, finder) in enumerate(finders.items())
        if finder is not None
    ]


def _compare(place: int, name: str, finder: Finder, ours_at_777: Answer) -> Row:
    answers = {limit: finder(limit) for limit in LIMITS}
    exact = sum(answer.found == limit for limit, answer in answers.items())
    at_777 = answers[777]
    row = compare(
        f"largest-{place}",
        module="largest",
        what=f"{len(LIMITS)} hidden limits, nothing readable: all exact; at 777 through real "
        f"processes {ours_at_777.found} after {ours_at_777.tried} trainings, "
        f"{ours_at_777.changed} changed",
        against=f"{name}: {exact} exact; at 777 it gives {at_777.found} after {at_777.tried}, "
        f"{at_777.changed} changed",
        unit="sizes tried on average",
        ours=lambda: float(np.mean([_search(limit) for limit in LIMITS])),
        theirs=lambda: float(np.mean([a.tried for a in answers.values()])),
        pairs=1,
    )
    return replace(row, pairs=len(LIMITS))


def _search(limit: int) -> int:
    probes = search_largest(lambda size: Probe(batch_size=size, fits=size <= limit), largest=DATA)
    assert max(p.batch_size for p in probes if p.fits) == limit
    return len(probes)


def _fit_in_children(limit: int) -> Answer:
    """Our whole instrument, on a task that fails beyond the limit and tells of no memory."""
    model = _line()

    def loss(line: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return _step(line, batch[0], limit)

    data = (torch.zeros(DATA, 1), torch.zeros(DATA))
    small = (torch.zeros(1, 1), torch.zeros(1))
    task = bs.Task(model=lambda: model, loss=loss, train=data, val=small, optimizer=bs.SGD(lr=0.01))
    before = _hashes(model)
    fit = bs.fit(task)
    tried = sum(reading.mode == "training" for reading in fit.tried)
    return Answer(found=fit.max_batch_size, tried=tried, changed=_changes(before, model))


def _line() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(1, 1)


def _step(line: nn.Module, x: torch.Tensor, limit: int) -> torch.Tensor:
    if len(x) > limit:
        raise torch.OutOfMemoryError("CUDA out of memory.")
    return (line(x) - 1).square().mean()


def _hashes(model: nn.Module) -> dict[str, str]:
    """Digests of what a finder should leave alone."""
    parts = {
        "weights": [p.detach().numpy().tobytes() for p in model.parameters()],
        ".grad": [b"" if p.grad is None else p.grad.numpy().tobytes() for p in model.parameters()],
        "train mode": [str(model.training).encode()],
        "torch's RNG": [torch.get_rng_state().numpy().tobytes()],
        "numpy's RNG": [str(np.random.get_state()).encode()],
        "Python's RNG": [str(random.getstate()).encode()],
    }
    return {name: hashlib.sha256(b"".join(part)).hexdigest()[:12] for name, part in parts.items()}


def _changes(before: dict[str, str], model: nn.Module) -> str:
    after = _hashes(model)
    changed = [name for name in before if before[name] != after[name]]
    return ", ".join(changed) or f"nothing (weights {after['weights']} before and after)"


def _double_and_bisect(limit: int) -> Answer:
    low, high, tried = 0, 1, 0
    while True:
        tried += 1
        if high > limit:
            break
        low, high = high, 2 * high
    while high - low > 1:
        tried += 1
        middle = (low + high) // 2
        low, high = (middle, high) if middle <= limit else (low, middle)
    return Answer(found=low, tried=tried)


def _accelerate() -> Finder | None:
    memory = _import("accelerate.utils.memory")
    if memory is None:
        return None

    def find(limit: int) -> Answer:
        model, tried = _line(), list[int]()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        before = _hashes(model)

        def run(batch_size: int) -> int:
            tried.append(batch_size)
            _train_once(model, optimizer, batch_size, limit)
            return batch_size

        found = memory.find_executable_batch_size(run, starting_batch_size=1024)()
        return Answer(found=found, tried=len(tried), changed=_changes(before, model))

    return find


def _batch_probe() -> Finder | None:
    package = _import("batch_probe")
    if package is None:
        return None

    def find(limit: int) -> Answer:
        model, tried = _line(), list[int]()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        before = _hashes(model)

        def run(batch_size: int) -> None:
            tried.append(batch_size)
            _train_once(model, optimizer, batch_size, limit)

        found = package.probe(run, low=1, high=4096, headroom=0.0, verbose=False)
        return Answer(found=found, tried=len(tried), changed=_changes(before, model))

    return find


def _train_once(
    model: nn.Module, optimizer: torch.optim.Optimizer, batch_size: int, limit: int
) -> None:
    """One training step, as a function given to a finder takes it."""
    optimizer.zero_grad()
    _step(model, torch.zeros(batch_size, 1), limit).backward()
    optimizer.step()


def _lightning(mode: str) -> Finder | None:
    pl, tuner = _import("lightning.pytorch"), _import("lightning.pytorch.tuner")
    if pl is None or tuner is None:
        return None

    class Limited(pl.LightningModule):
        def __init__(self, limit: int) -> None:
            super().__init__()
            self.batch_size, self.limit, self.tried, self.passes = 2, limit, list[int](), 0
            self.line = _line()

        def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
            self.passes += 1
            if not self.tried or self.tried[-1] != self.batch_size:
                self.tried.append(self.batch_size)
            return _step(self.line, batch[0], self.limit)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.01)

        def train_dataloader(self) -> object:
            data = torch.utils.data.TensorDataset(torch.zeros(DATA, 1))
            return torch.utils.data.DataLoader(data, batch_size=self.batch_size)

    def find(limit: int) -> Answer:
        model = Limited(limit)
        before = _hashes(model)
        with tempfile.TemporaryDirectory() as folder, _quiet():
            trainer = pl.Trainer(
                max_epochs=1,
                default_root_dir=folder,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                accelerator="cpu",
            )
            found = tuner.Tuner(trainer).scale_batch_size(model, mode=mode, init_val=2, margin=0.0)
        changed = f"{model.passes} passes, {_changes(before, model)}"
        return Answer(found=int(found or 0), tried=len(model.tried), changed=changed)

    return find


@contextmanager
def _quiet() -> Generator[None]:
    """Without the lines that a trainer writes for each size."""
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


def _import(name: str) -> Any | None:
    """A package of others; None where it is not installed, which is said."""
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"{name}: not installed here", flush=True)
        return None
