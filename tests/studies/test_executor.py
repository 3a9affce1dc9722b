import os
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import batchscope as bs
from batchscope.instruments.memory import limits
from batchscope.records import Run
from batchscope.studies.design import StudyDesign
from batchscope.studies.executor import Executor
from batchscope.studies.plan import make_plan
from batchscope.studies.progress import Unwatched
from batchscope.studies.store import Store
from batchscope.studies.study_runs import StudyRuns
from batchscope.training.provenance import Origin
from batchscope.workers.pool import ProcessPool
from batchscope.workers.travel import pack_task

from ..conftest import make_task

RATES = (0.1, 0.2)


def train_all(
    task: bs.Task, store: Store, *, batch_sizes: list[int], **options: Any
) -> tuple[list[Run], int]:
    """The runs of a small grid, unless asked otherwise; how many of them were trained now."""
    options = options or {"learning_rates": RATES, "seeds": 1}
    plan = make_plan(task, device=torch.device("cpu"), batch_sizes=batch_sizes, **options)
    design = StudyDesign(task=task, plan=plan, fingerprint="0" * 16, earlier=None, start=0.1)
    runs = StudyRuns(store, "study", design)
    with ProcessPool(pack_task(task), count=1, threads=1) as pool:
        executor = Executor(
            store,
            pool,
            task_name=task.name,
            device_name="cpu",
            origin=Origin("test", ""),
            watcher=Unwatched(),
            cost=lambda configuration: float(configuration.batch_size),
            spared=lambda _: 0.0,
        )
        executor.train_all(runs.next_runs)
    return runs.finished, executor.trained


def failing_from(size: int, fail: Callable[[], None]) -> bs.Task:
    """Training on batches of this size and above fails."""

    def loss(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        if model.training and len(batch[0]) >= size:
            fail()
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    return make_task(loss=loss)


def test_a_run_of_which_memory_ran_out_is_kept_and_bounds_its_batch_size(tmp_path: Path) -> None:
    def fail() -> None:
        raise MemoryError("too large for this test")

    task = failing_from(32, fail)
    with closing(Store(f"{tmp_path}/r.db", create=True)) as store:
        runs, trained = train_all(task, store, batch_sizes=[8, 16, 32])
        _, trained_again = train_all(task, store, batch_sizes=[8, 16, 32])

    statuses = {(run.configuration.batch_size, run.status) for run in runs}
    assert statuses == {(8, "finished"), (16, "finished"), (32, "out_of_memory")}
    # At most one that had begun before it was known that memory runs out there.
    assert trained in (5, 6)
    assert trained_again == 0


def test_a_run_that_the_kernel_killed_for_memory_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = tmp_path / "vmstat"
    counts.write_text("pgfault 7\noom_kill 3\n")
    monkeypatch.setattr(limits, "_KERNEL_COUNTS", counts)

    def fail() -> None:
        counts.write_text("pgfault 7\noom_kill 4\n")
        os.kill(os.getpid(), signal.SIGKILL)

    with closing(Store(f"{tmp_path}/r.db", create=True)) as store:
        runs, _ = train_all(failing_from(16, fail), store, batch_sizes=[8, 16])

    assert [(run.configuration.batch_size, run.status) for run in runs] == [
        (8, "finished"),
        (8, "finished"),
        (16, "out_of_memory"),
    ]


def test_a_worker_that_something_else_kills_is_replaced(tmp_path: Path) -> None:
    mark = tmp_path / "was-here"

    def fail() -> None:
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    with closing(Store(f"{tmp_path}/r.db", create=True)) as store:
        runs, _ = train_all(failing_from(16, fail), store, batch_sizes=[8, 16])

    assert mark.exists()
    assert [run.status for run in runs] == ["finished"] * 4


def test_a_race_goes_on_below_the_sizes_at_which_memory_ran_out(tmp_path: Path) -> None:
    def fail() -> None:
        raise MemoryError("too large for this test")

    with closing(Store(f"{tmp_path}/r.db", create=True)) as store:
        runs, _ = train_all(
            failing_from(16, fail),
            store,
            batch_sizes=[4, 8, 16, 32],
            budget=bs.epochs(20),
            target=bs.Target("val_loss", 0.6),
            effort="standard",
            race=True,
        )

    statuses = {(run.configuration.batch_size, run.status) for run in runs}
    assert {size for size, status in statuses if status == "finished"} <= {4, 8}
    assert "out_of_memory" in {status for _, status in statuses}
    repeated = {run.configuration.seed for run in runs if run.status == "finished"}
    assert len(repeated) > 1
