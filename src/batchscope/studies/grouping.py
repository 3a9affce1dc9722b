"""Which of the runs that are wanted share a program."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from batchscope.records import Configuration
from batchscope.studies.progress import Watcher
from batchscope.task import Task
from batchscope.training.devices import choose_device
from batchscope.training.evaluation import horizon_examples
from batchscope.training.together import Together, measure_together, trial_examples
from batchscope.workers.pool import Pool

# Beyond, a member costs hardly less, and the weights of all no longer stay near the core.
_MOST_MEMBERS = 24
# A trial of more would cost more and tell little more.
_MOST_TRIED = 16
# What a measurement of a few steps cannot tell from nothing.
_LEAST_GAIN = 1.15
# Of the time of the runs, what the least gain saves: a trial that costs more does not pay.
_LARGEST_TRIAL = 1 - 1 / _LEAST_GAIN
_LEAST_MEMBERS = 2
# Fewer that are left of a larger program leave a worker idle for little.
_LEAST_LEFT = 3

Job = tuple[Configuration, ...]


def form_jobs(
    wanted: Sequence[Configuration],
    together: Mapping[int, int],
    *,
    cost: Callable[[Configuration], float],
) -> list[Job]:
    """The wanted runs as jobs for workers, the longest first.

    Groups are cut from the front, so that those which are left when some are done are the same
    groups again.

    Args:
        together: batch size -> how many of its runs share a program.
        cost: seconds of one run.
    """
    jobs: list[Job] = []
    for size in dict.fromkeys(c.batch_size for c in wanted):
        runs = [c for c in wanted if c.batch_size == size]
        members = together.get(size, 1)
        if len(runs) < min(members, _LEAST_LEFT):
            members = 1
        jobs += [tuple(runs[i : i + members]) for i in range(0, len(runs), members)]
    return sorted(jobs, key=lambda job: (-sum(map(cost, job)), job[0].key))


def find_together(
    pool: Pool,
    wanted: Sequence[Configuration],
    *,
    train_size: int,
    device_name: str | None,
    watcher: Watcher,
) -> tuple[dict[int, int], int]:
    """The batch sizes whose runs are trained sooner by one program than one after another.

    Larger batches gain less, so that the sizes are tried upwards until one gains nothing. Where
    a trial takes a large part of what these runs do, there is none. Later rounds have few runs of a
    size, which share what was found for the first. Where there are fewer batch sizes than workers,
    each size has as many programs as leave none idle.

    Returns:
        Batch size -> how many of its runs share a program, and the examples that were processed to
        find that.
    """
    by_size: dict[int, list[Configuration]] = {}
    for configuration in wanted:
        by_size.setdefault(configuration.batch_size, []).append(configuration)
    together: dict[int, int] = {}
    examples = 0
    for size, runs in sorted(by_size.items()):
        members = count_members(len(runs), sizes=len(by_size), workers=pool.free)
        whole = sum(horizon_examples(run.budget, train_size, size) for run in runs)
        tried = min(members, _MOST_TRIED)
        if members < _LEAST_MEMBERS or trial_examples(tried, size) > _LARGEST_TRIAL * whole:
            continue
        label = f"trying batch {size} together"
        watcher.begin(label)
        asked = pool.ask(label, try_together, tuple(runs[:tried]), device_name)
        found = cast(Together, asked)
        examples += found.examples
        watcher.end(label)
        if found.reason is not None:
            watcher.say(f"Runs are trained one by one: {found.reason}.")
        if found.gain < _LEAST_GAIN:
            break
        together[size] = members
    return together, examples


def count_members(runs: int, *, sizes: int, workers: int) -> int:
    """How many runs of a batch size would share a program, so that no worker is left idle.

    Example:
        >>> count_members(12, sizes=1, workers=2), count_members(12, sizes=2, workers=2)
        (6, 12)
        >>> count_members(35, sizes=2, workers=2)
        18
    """
    share = math.ceil(min(1.0, sizes / max(1, workers)) * runs)
    return math.ceil(share / math.ceil(share / _MOST_MEMBERS))


def try_together(
    task: Task,
    configurations: tuple[Configuration, ...],
    device_name: str | None,
    *,
    report: Callable[[object], None],
) -> Together:
    """Measure in a worker what sharing a program gains."""
    device = choose_device(device_name)
    return measure_together(task, configurations, device=device, least_gain=_LEAST_GAIN)
