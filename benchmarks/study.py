"""A grid of runs through the executor, against the same grid in a plain DataLoader loop."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import batchscope as bs
from batchscope.gallery.digits_cnn import make_model, task
from batchscope.records import Configuration
from batchscope.studies.local import LocalExecutor
from batchscope.studies.plan import configure, make_plan
from batchscope.studies.progress import Unwatched
from batchscope.studies.store import Store
from batchscope.training.evaluation import evaluation_marks
from batchscope.training.provenance import find_origin
from batchscope.workers.pool import ProcessPool
from batchscope.workers.travel import ModuleTask
from benchmarks.row import Row, compare

SIZES = (16, 64, 256, 1024)
RATES = (0.01, 0.032)
EPOCHS = 10


def measure() -> list[Row]:
    return [
        compare(
            "study",
            module="study",
            what=f"digits-cnn, {len(SIZES)} sizes x {len(RATES)} rates x {EPOCHS} epochs, start-up "
            "included",
            against=f"DataLoader loop, one run after another, torch {torch.__version__}",
            unit="s",
            ours=lambda: _seconds("ours"),
            theirs=lambda: _seconds("theirs"),
            pairs=3,
        )
    ]


def _seconds(which: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "benchmarks.study", which], check=True)
    return time.perf_counter() - began


def train_ours() -> None:
    plan = make_plan(task, device=torch.device("cpu"), budget=bs.epochs(EPOCHS))
    grid = [
        configure(task, plan, "0" * 16, batch_size=size, lr=rate, seed=0)
        for size in SIZES
        for rate in RATES
    ]
    source = ModuleTask(module="batchscope.gallery.digits_cnn", name="task", label="digits-cnn")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(str(Path(folder) / "runs.db"), create=True)
        executor = LocalExecutor(
            store,
            pool := ProcessPool(source, count=2, threads=1),
            device_name="cpu",
            origin=find_origin(),
            watcher=Unwatched(),
            cost=lambda c: 1 / c.batch_size,
        )

        def missing() -> list[Configuration]:
            done = {run.key for run in store.read_runs(c.key for c in grid)}
            return [c for c in grid if c.key not in done]

        with pool:
            executor.train_all(missing)
        assert len(store.read_runs()) == len(grid)
        store.close()


def train_theirs() -> None:
    """The same grid as people write it, with the same evaluations."""
    torch.set_num_threads(1)
    parts = {name: data.tensors for name, data in task.datasets.items()}
    train_set = TensorDataset(*parts["train"])
    subset = torch.arange(len(parts["val"][0])) * len(train_set) // len(parts["val"][0])
    parts["train"] = tuple(x[subset] for x in parts["train"])
    for size in SIZES:
        for rate in RATES:
            torch.manual_seed(0)
            model = make_model()
            optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
            marks = evaluation_marks(len(train_set), EPOCHS * len(train_set))
            mark, seen = next(marks), 0
            for _ in range(EPOCHS):
                for inputs, classes in DataLoader(train_set, batch_size=size, shuffle=True):
                    optimizer.zero_grad()
                    nn.functional.cross_entropy(model(inputs), classes).backward()
                    optimizer.step()
                    seen += len(inputs)
                    if seen >= mark:
                        _evaluate(model, parts)
                        while mark <= seen:
                            mark = next(marks)


def _evaluate(model: nn.Module, parts: dict[str, tuple[torch.Tensor, ...]]) -> None:
    model.eval()
    with torch.no_grad():
        for inputs, classes in parts.values():
            logits = model(inputs)
            float(nn.functional.cross_entropy(logits, classes))
            float((logits.argmax(-1) != classes).float().mean())
    model.train()


if __name__ == "__main__":
    train_ours() if sys.argv[1] == "ours" else train_theirs()
