"""Seconds per step of one core, and of two that share each step."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import cast

import torch

from batchscope.instruments.speed.steps import time_steps
from batchscope.records import StepTime
from batchscope.studies.progress import Watcher
from batchscope.task import Task
from batchscope.training.ranks import Ranks
from batchscope.training.spread import call_on_ranks
from batchscope.workers.pool import ProcessPool
from batchscope.workers.travel import pack_task

CORES = (1, 2)


@dataclass(frozen=True, slots=True)
class Way:
    """A batch size on so many cores."""

    size: int
    cores: int


# Seconds per step.
Times = Mapping[Way, float]
# Of one core, and of two.
_Timing = tuple[tuple[StepTime, ...], tuple[StepTime, ...]]


def time_ways(task: Task, ways: Set[Way], *, count: int, watcher: Watcher) -> list[Times]:
    """So many timings of all these ways, made now."""
    sizes = [tuple(sorted(way.size for way in ways if way.cores == cores)) for cores in CORES]
    label = "timing steps on one core and on two"
    watcher.begin(label)
    with ProcessPool(pack_task(task), count=1, threads=max(CORES)) as pool:
        answer = pool.ask(label, time_in_turn, *sizes, count, hear=_ignore)
    watcher.end(label)
    return [
        {
            Way(one.batch_size, cores): median(one.seconds)
            for cores, found in zip(CORES, timing, strict=True)
            for one in found
        }
        for timing in cast(list[_Timing], answer)
    ]


def time_in_turn(
    task: Task,
    on_one: Sequence[int],
    on_two: Sequence[int],
    count: int,
    *,
    report: Callable[[object], None],
) -> list[_Timing]:
    """So many timings of some sizes on one core and of some on two, one after the other.

    All by one pair of processes, which takes seconds to start.
    """
    return call_on_ranks(
        task, _time_on_pair, (on_one, on_two, count), device_name="cpu", count=2, report=report
    )


def _time_on_pair(
    task: Task,
    on_one: Sequence[int],
    on_two: Sequence[int],
    count: int,
    *,
    device: torch.device,
    ranks: Ranks,
    report: Callable[[object], None],
) -> list[_Timing]:
    timing = partial(time_steps, task, precision="float32", device=device, report=report)
    found: list[_Timing] = []
    for _ in range(count):
        # The other process waits.
        alone, _ = ranks.on_first(lambda: timing(batch_sizes=on_one))
        together, _ = timing(batch_sizes=on_two, ranks=ranks)
        found.append((alone, together))
    return found


def _ignore(_: object) -> None:
    """How far a timing has come is not shown."""
