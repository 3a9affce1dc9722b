"""Train a pick again, with seeds that no search has seen."""

import batchscope as bs
from batchscope.records import Run
from batchscope.task import Task

SEEDS, FIRST = 10, 1000


def train_afresh(task: Task | str, batch_size: int, rate: float, folder: str) -> list[Run]:
    """The runs of a setting, one per seed, in the order of seeds."""
    done = bs.study(
        task,
        batch_sizes=[batch_size],
        learning_rates=[rate],
        seed=FIRST,
        seeds=SEEDS,
        store=f"{folder}/fresh.db",
    )
    return sorted(done.runs, key=lambda run: run.configuration.seed)
