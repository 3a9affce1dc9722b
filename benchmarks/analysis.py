"""All findings of 100,000 runs with 50 points each, as JSON and as a page, against 1,000 such runs.

One study of 10 batch sizes x 100 rates x 100 seeds, and the same runs as 1,000 studies of 100. The
ratio is of seconds for each run: at 1 or above the cost grows no faster than the number of runs.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.row import Row, compare

_POINTS = 50


def measure() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        many, few = Path(folder) / "many.csv", Path(folder) / "few.csv"
        write_runs(many, rates=100, seeds=100)
        write_runs(few, rates=10, seeds=10)
        rows = [
            _compare("analysis", "100,000 runs analyzed, JSON and page", many, few, []),
            _compare(
                "analysis-groups",
                "the same runs as 1,000 studies of 100, JSON and page",
                many,
                few,
                ["--group", "study"],
            ),
        ]
        most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        print(f"at most {most:.1f} GiB in one process", flush=True)
        return rows


def write_runs(path: Path, *, rates: int, seeds: int) -> None:
    """Losses that fall with the effective number of steps of a critical batch size of 256."""
    rng = np.random.default_rng(0)
    axes = (2 ** np.arange(4, 14), np.arange(rates), np.arange(seeds))
    size, place, seed = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    rate = np.logspace(-3, 0, rates).round(6)[place]
    examples = np.linspace(0, 1, _POINTS) ** 2 * 3_200_000
    steps = np.ceil(examples / size[:, None])
    fit = np.exp(-0.3 * np.log(rate / (0.02 * np.sqrt(size / 64))) ** 2)
    luck = np.exp(0.05 * rng.standard_normal(len(size)))
    progress = steps / (1 + 256 / size[:, None]) * (fit * luck)[:, None]
    loss = 2.3 / (1 + progress / 300) + 0.02
    long = {
        "run": np.arange(len(size)),
        "study": place * 10 // rates * seeds + seed,
        "batch_size": size,
        "learning_rate": rate,
        "seed": seed,
    }
    pl.DataFrame(
        {
            **{name: np.repeat(values, _POINTS) for name, values in long.items()},
            "step": steps.ravel().astype(int),
            "train_loss": loss.ravel().round(5),
            "val_loss": (1.02 * loss).ravel().round(5),
        }
    ).write_csv(path)


def _compare(name: str, what: str, many: Path, few: Path, options: list[str]) -> Row:
    return compare(
        name,
        module="analysis",
        what=what,
        against="a hundred times 1,000 runs",
        unit="s",
        ours=lambda: _time(many, options),
        theirs=lambda: 100 * _time(few, options),
        pairs=3,
    )


def _time(table: Path, options: list[str]) -> float:
    page = table.with_suffix(".html")
    began = time.perf_counter()
    subprocess.run(
        [
            sys.executable,
            "-m",
            "batchscope",
            "analyze",
            str(table),
            "--json",
            *options,
            "-o",
            str(page),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    seconds = time.perf_counter() - began
    assert page.stat().st_size < 10 * 2**20
    return seconds
