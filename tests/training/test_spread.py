from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import batchscope as bs
from batchscope.records import Configuration, Run
from batchscope.studies.in_workers import train_job
from batchscope.studies.plan import configure, make_plan
from batchscope.training.loop import train
from batchscope.training.provenance import Origin

from ..conftest import make_task

CPU = torch.device("cpu")


def configuration_of(task: bs.Task, *, micro_batch: int = 7, **options: object) -> Configuration:
    plan = make_plan(task, device=CPU, devices=2, **options)  # type: ignore[arg-type]
    whole = configure(task, plan, "0" * 16, batch_size=7, lr=0.05, seed=1)
    return replace(whole, micro_batch=micro_batch)


def spread(task: bs.Task, configuration: Configuration) -> tuple[Run, list[object]]:
    told: list[object] = []
    (run,) = train_job(task, (configuration,), "cpu", Origin("test", ""), report=told.append)
    return run, told


def lengths(x: torch.Tensor) -> torch.Tensor:
    """Units of each example, from 1 to 5."""
    return 1 + x[:, 0].abs() % 4


def mean_over_units(model: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    losses = F.cross_entropy(model(batch[0]), batch[1], reduction="none")
    return (losses * lengths(batch[0])).sum() / lengths(batch[0]).sum()


@pytest.mark.parametrize("micro_batch", [pytest.param(7, marks=pytest.mark.slow), 3])
def test_two_ranks_train_what_one_process_does(micro_batch: int) -> None:
    # 64 examples in sevens: of the last step's single one the second rank has none.
    task = make_task(
        optimizer=bs.SGD(lr=0.05, momentum=0.9),
        length=lambda example: float(lengths(example[0][None])),
        loss=mean_over_units,
    )
    configuration = configuration_of(task, micro_batch=micro_batch, budget=bs.epochs(3))

    run, told = spread(task, configuration)

    alone = train(task, configuration, device=CPU)
    assert (run.status, run.steps) == (alone.status, alone.steps)
    for name, values in alone.trajectory.columns.items():
        if name != "seconds":
            # Only the order of floating-point sums differs, some 1e-7 a step.
            np.testing.assert_allclose(
                run.trajectory.columns[name], values, rtol=1e-4, atol=1e-5, err_msg=name
            )
    assert len(told) == len(alone.trajectory)


def test_a_task_that_fails_in_a_rank_fails_with_its_own_words() -> None:
    def loss(model: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        if model.training and len(batch[0]) < 7:
            raise ValueError("no share for me")
        return F.cross_entropy(model(batch[0]), batch[1])

    task = make_task(loss=loss)

    with pytest.raises(bs.BatchscopeError, match="no share for me"):
        spread(task, configuration_of(task))


def test_memory_that_runs_out_in_a_rank_is_data() -> None:
    def loss(model: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        if model.training:
            raise MemoryError
        return F.cross_entropy(model(batch[0]), batch[1])

    task = make_task(loss=loss)

    run, _ = spread(task, configuration_of(task))

    assert run.status == "out_of_memory"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"devices": 0}, "0 devices"),
        ({"devices": 4096}, "4096 devices"),
        ({"devices": 2, "batch_sizes": [1, 8]}, "a batch of 1 cannot be shared"),
    ],
)
def test_devices_that_cannot_share_a_step_are_refused(
    options: dict[str, object], says: str
) -> None:
    with pytest.raises(bs.InvalidInput, match=says):
        make_plan(make_task(), device=CPU, **options)  # type: ignore[arg-type]
