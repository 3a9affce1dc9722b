"""Asking and telling with 1,000 runs in the history: in memory beside in a file."""

import statistics
import tempfile
import time

import numpy as np

from batchscope.verbs.advising import Advisor
from benchmarks.row import Row, compare

RUNS, TIMES = 1000, 50
SIZES = [2**power for power in range(4, 14)]


def measure() -> list[Row]:
    return [
        compare(
            "advisor",
            module="advisor",
            what=f"ask and tell with {RUNS:,} runs told before, in memory",
            against="the same in a file",
            unit="ms",
            ours=lambda: _time(None),
            theirs=_time_file,
            pairs=3,
        )
    ]


def _time_file() -> float:
    with tempfile.TemporaryDirectory() as folder:
        return _time(f"{folder}/advisor.db")


def _time(state: str | None) -> float:
    """Milliseconds of an ask and of a tell together, median."""
    advisor = Advisor(SIZES, default=256, max_epochs=600, recurrences=10_000, state=state)
    rng = np.random.default_rng(0)
    for size in SIZES:
        advisor.timed(size, 100 / size + 1)
    asks, tells = [], []
    for number in range(RUNS + TIMES):
        if number < RUNS:
            size = int(rng.choice(SIZES))
            epochs, cost = _run(size, rng)
            advisor.record(size, cost=cost, reached=True, epochs=epochs)
            continue
        began = time.perf_counter()
        trial = advisor.ask()
        asks.append(time.perf_counter() - began)
        epochs, cost = _run(trial.batch_size, rng)
        began = time.perf_counter()
        advisor.tell(trial, cost=cost, reached=True, epochs=epochs)
        tells.append(time.perf_counter() - began)
    ask, tell = 1000 * statistics.median(asks), 1000 * statistics.median(tells)
    place = "memory" if state is None else "file"
    print(f"{place}: ask {ask:.2f} ms, tell {tell:.2f} ms", flush=True)
    advisor.close()
    return ask + tell


def _run(size: int, rng: np.random.Generator) -> tuple[float, float]:
    """Epochs and cost of a run to the target."""
    epochs = 10 * (1 + size / 300) * float(np.exp(0.1 * rng.standard_normal()))
    return epochs, epochs * (100 / size + 1)
