"""What a study has its workers do.

Workers are forked from a process that has loaded this module, so nothing here may start threads
when it is loaded, as the libraries of the store do.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from batchscope.instruments.speed.steps import time_steps
from batchscope.records import Configuration, Precision, Progress, Run, StepTime, Trajectory
from batchscope.studies.grouping import Job
from batchscope.task import Task
from batchscope.training.devices import choose_device, is_out_of_memory
from batchscope.training.ensemble import train_together
from batchscope.training.hooks import Hook, RunState
from batchscope.training.loop import Outcome, train
from batchscope.training.provenance import Origin, describe_machine
from batchscope.training.ranks import Ranks
from batchscope.training.spread import call_on_ranks


def time_on_devices(
    task: Task,
    batch_sizes: Sequence[int],
    precision: Precision,
    device_name: str | None,
    devices: int,
    examples: float | None,
    *,
    report: Callable[[object], None],
) -> tuple[tuple[StepTime, ...], int]:
    """The step times of so many devices that share each step, and the examples processed."""
    if devices == 1:
        device = choose_device(device_name)
        return time_steps(task, batch_sizes, precision, device, report=report, examples=examples)
    return call_on_ranks(
        task,
        functools.partial(time_steps, examples=examples),
        (batch_sizes, precision),
        device_name=device_name,
        count=devices,
        report=report,
    )


def train_job(
    task: Task,
    job: Job,
    device_name: str | None,
    origin: Origin,
    *,
    report: Callable[[object], None],
) -> list[Run]:
    """Train one run, or several as one program; `report` is told the share that is spent."""
    device = choose_device(device_name)
    provenance = describe_machine(device, origin, seconds=0.0)
    outcomes: list[Outcome] = []
    if job[0].devices > 1:
        outcomes = [_train_spread(task, c, device_name, report) for c in job]
    elif len(job) > 1:
        try:
            outcomes = train_together(
                task,
                job,
                device=device,
                report=lambda share, loss: report(Progress(share=share, loss=loss)),
            )
        except Exception as error:
            # Too large together: each alone may fit.
            if not is_out_of_memory(error):
                raise
    if not outcomes:
        outcomes = [
            train(task, configuration, device=device, hooks=[_Reporter(report)])
            for configuration in job
        ]
    return [
        Run(
            task=task.name,
            configuration=configuration,
            status=outcome.status,
            steps=outcome.steps,
            trajectory=outcome.trajectory,
            provenance=replace(provenance, seconds=outcome.seconds),
        )
        for configuration, outcome in zip(job, outcomes, strict=True)
    ]


def _train_spread(
    task: Task,
    configuration: Configuration,
    device_name: str | None,
    report: Callable[[object], None],
) -> Outcome:
    """Train one run on several devices of this machine."""
    try:
        return call_on_ranks(
            task,
            _train_on_rank,
            (configuration,),
            device_name=device_name,
            count=configuration.devices,
            report=report,
        )
    except MemoryError:
        nothing = Trajectory(columns={})
        return Outcome(status="out_of_memory", steps=0, trajectory=nothing, seconds=0.0)


def _train_on_rank(
    task: Task,
    configuration: Configuration,
    *,
    device: torch.device,
    ranks: Ranks,
    report: Callable[[object], None],
) -> Outcome:
    return train(task, configuration, device=device, hooks=[_Reporter(report)], ranks=ranks)


class _Reporter(Hook):
    def __init__(self, report: Callable[[object], None]) -> None:
        self._report = report

    def on_evaluation(self, state: RunState, row: Mapping[str, float]) -> None:
        self._report(Progress(share=state.horizon, loss=row["train_loss"]))
