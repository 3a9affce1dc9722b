"""Sizes tried until the largest batch is known, against other finders at the same hidden limits.

Finders of other packages take part where these are installed: pip install accelerate lightning.
"""

import importlib
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from batchscope.instruments.memory.search import Probe, search_largest
from benchmarks.row import Row, compare

LIMITS = list(
    dict.fromkeys(
        [777, *np.exp(np.random.default_rng(0).uniform(0, np.log(4_096), 24)).astype(int).tolist()]
    )
)
DATA = 100_000


def measure() -> list[Row]:
    torch.set_num_threads(1)
    finders: dict[str, Callable[[int], tuple[int, int]] | None] = {
        "doubling and bisection from 1": _double_and_bisect,
        "Accelerate's find_executable_batch_size from 1024": _accelerate(),
        "Lightning's batch-size finder, power": _lightning("power"),
        "Lightning's batch-size finder, binsearch": _lightning("binsearch"),
    }
    rows: list[Row] = []
    for place, (name, finder) in enumerate(finders.items()):
        # Lightning takes a second and more for each size.
        limits = LIMITS[:3] if name.startswith("Lightning") else LIMITS
        if finder is None:
            print(f"{name}: not installed here", flush=True)
            continue
        answers = {limit: finder(limit) for limit in limits}
        exact = sum(found == limit for limit, (found, _) in answers.items())
        found, tried = answers[777]
        rows.append(
            compare(
                f"largest-{place}",
                module="largest",
                what=f"{len(limits)} hidden limits, nothing readable: all exact; 777 in "
                f"{_ours(777)[1]}",
                against=f"{name}: {exact} exact; at 777 it gives {found} after {tried}",
                unit="sizes tried on average",
                ours=lambda limits=limits: float(np.mean([_ours(limit)[1] for limit in limits])),
                theirs=lambda answers=answers: float(np.mean([n for _, n in answers.values()])),
                pairs=1,
            )
        )
    return rows


def _ours(limit: int) -> tuple[int, int]:
    probes = search_largest(lambda size: Probe(batch_size=size, fits=size <= limit), largest=DATA)
    found = max(p.batch_size for p in probes if p.fits)
    assert found == limit
    return found, len(probes)


def _double_and_bisect(limit: int) -> tuple[int, int]:
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
    return low, tried


def _accelerate() -> Callable[[int], tuple[int, int]] | None:
    try:
        memory = importlib.import_module("accelerate.utils.memory")
    except ImportError:
        return None

    def find(limit: int) -> tuple[int, int]:
        tried: list[int] = []

        def run(batch_size: int) -> int:
            tried.append(batch_size)
            if batch_size > limit:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return batch_size

        found = memory.find_executable_batch_size(run, starting_batch_size=1024)()
        return found, len(tried)

    return find


def _lightning(mode: str) -> Callable[[int], tuple[int, int]] | None:
    try:
        pl = importlib.import_module("lightning.pytorch")
        tuner = importlib.import_module("lightning.pytorch.tuner")
    except ImportError:
        return None

    class Limited(pl.LightningModule):
        def __init__(self, limit: int) -> None:
            super().__init__()
            self.batch_size, self.limit, self.tried = 2, limit, set[int]()
            self.line = nn.Linear(1, 1)

        def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
            self.tried.add(self.batch_size)
            if self.batch_size > self.limit:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return self.line(batch[0]).square().mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.01)

        def train_dataloader(self) -> object:
            data = torch.utils.data.TensorDataset(torch.zeros(DATA, 1))
            return torch.utils.data.DataLoader(data, batch_size=self.batch_size)

    def find(limit: int) -> tuple[int, int]:
        model = Limited(limit)
        trainer = pl.Trainer(
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator="cpu",
        )
        found = tuner.Tuner(trainer).scale_batch_size(model, mode=mode, init_val=2)
        return int(found or 0), len(model.tried)

    return find
