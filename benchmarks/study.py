"""An exhaustive study through the command, against the same grid as people write it."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from batchscope.gallery.digits_cnn import make_model, task
from batchscope.studies.learning_rate import grid_rates
from batchscope.studies.plan import GRID_RATES
from batchscope.training.evaluation import evaluation_marks
from benchmarks.row import Row, compare

SIZES = tuple(2**power for power in range(3, 12))
SEEDS = 3
EPOCHS = 25
TIMED_STEPS = 30
# What else runs would be measured with it.
HIGHEST_LOAD = 0.5
# A pair takes a quarter to half an hour.
KEPT = Path(__file__).parent / "results" / "studies" / "study-pairs.json"


def measure(pairs: int = 3) -> list[Row]:
    load = psutil.getloadavg()[0]
    if load > HIGHEST_LOAD:
        sys.exit(f"load average {load:.2f}: wait until it is below {HIGHEST_LOAD}")
    return [
        compare(
            "study",
            module="study",
            what=f"batchscope study digits-cnn --exhaustive: {len(SIZES)} sizes x {GRID_RATES} "
            f"rates x {SEEDS} seeds x {EPOCHS} epochs, start-up and profile included",
            against=f"DataLoader loop, one run after another, torch {torch.__version__}",
            unit="s",
            ours=lambda: _seconds(
                "batchscope", "study", "digits-cnn", "--exhaustive", "--seeds", str(SEEDS),
                "--batch-sizes", ",".join(map(str, SIZES)), "--budget", f"{EPOCHS}ep",
            ),
            theirs=lambda: _seconds("benchmarks.study"),
            pairs=pairs,
            kept=KEPT,
        )
    ]  # fmt: skip


def _seconds(*module: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        more = ["--store", f"{folder}/runs.db"] if module[0] == "batchscope" else []
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", *module, *more], check=True)
        return time.perf_counter() - began


def train_grid() -> None:
    """The same grid as people write it, with the same evaluations."""
    parts = {name: data.tensors for name, data in task.datasets.items()}
    train_set = TensorDataset(*parts["train"])
    subset = torch.arange(len(parts["val"][0])) * len(train_set) // len(parts["val"][0])
    parts["train"] = tuple(x[subset] for x in parts["train"])
    rate = task.optimizer_spec.lr
    assert rate is not None
    for size in SIZES:
        torch.set_num_threads(_faster_threads(train_set, size))
        for lr in grid_rates(rate, GRID_RATES):
            for seed in range(SEEDS):
                _train(train_set, parts, size=size, lr=lr, seed=seed)


def _train(
    train_set: TensorDataset,
    parts: dict[str, tuple[torch.Tensor, ...]],
    *,
    size: int,
    lr: float,
    seed: int,
    steps: float = float("inf"),
) -> None:
    torch.manual_seed(seed)
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    marks = evaluation_marks(len(train_set), EPOCHS * len(train_set))
    mark, seen, done = next(marks), 0, 0
    _evaluate(model, parts)
    for _ in range(EPOCHS):
        for inputs, classes in DataLoader(train_set, batch_size=size, shuffle=True):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs), classes)
            loss.backward()
            optimizer.step()
            seen += len(inputs)
            done += 1
            # As ours, a run that has diverged is given up.
            if done >= steps or not torch.isfinite(loss):
                return
            if seen >= mark:
                _evaluate(model, parts)
                while mark <= seen:
                    mark = next(marks)


def _faster_threads(train_set: TensorDataset, size: int) -> int:
    seconds: dict[int, float] = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        began = time.perf_counter()
        _train(train_set, {}, size=size, lr=0.001, seed=0, steps=TIMED_STEPS)
        seconds[threads] = time.perf_counter() - began
    return min(seconds, key=lambda threads: seconds[threads])


def _evaluate(model: nn.Module, parts: dict[str, tuple[torch.Tensor, ...]]) -> None:
    model.eval()
    with torch.no_grad():
        for inputs, classes in parts.values():
            logits = model(inputs)
            float(nn.functional.cross_entropy(logits, classes))
            float((logits.argmax(-1) != classes).float().mean())
    model.train()


if __name__ == "__main__":
    train_grid()
