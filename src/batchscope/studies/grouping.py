"""Which of the runs that are wanted share a program."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import cast

from batchscope.records import Configuration
from batchscope.studies.balancing import Workload, balance, count_tried, cut
from batchscope.studies.progress import Watcher
from batchscope.task import Task
from batchscope.training.devices import choose_device
from batchscope.training.evaluation import horizon_examples
from batchscope.training.together import Together, measure_together, trial_examples
from batchscope.workers.pool import Pool

# A trial of more would cost more and tell little more.
_MOST_TRIED = 16
# What a measurement of a few steps cannot tell from nothing.
LEAST_GAIN = 1.15
# Of the time of the runs, what the least gain saves: a trial that costs more does not pay.
_LARGEST_TRIAL = 1 - 1 / LEAST_GAIN
_LEAST_MEMBERS = 2

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
        rest = iter(runs)
        jobs += [tuple(islice(rest, n)) for n in cut(len(runs), together.get(size, 1))]
    return sorted(jobs, key=lambda job: (-sum(map(cost, job)), job[0].key))


def find_together(
    pool: Pool,
    wanted: Sequence[Configuration],
    *,
    train_size: int,
    device_name: str | None,
    cost: Callable[[Configuration], float],
    watcher: Watcher,
) -> tuple[dict[int, int], int]:
    """The batch sizes whose runs are trained sooner by one program than one after another.

    Larger batches gain less, so that the sizes are tried upwards until one gains nothing. Where
    a trial takes a large part of what these runs do, there is none. Later rounds have few runs of a
    size, which share what was found for the first. A size has as many programs as keep all workers
    busy.

    Args:
        cost: seconds of one run.

    Returns:
        Batch size -> how many of its runs share a program, and the examples that were processed to
        find that.
    """
    by_size: dict[int, list[Configuration]] = {}
    for configuration in wanted:
        by_size.setdefault(configuration.batch_size, []).append(configuration)
    workers, examples = pool.free, 0
    found = {
        size: Workload(count=len(runs), seconds=sum(map(cost, runs)) / len(runs))
        for size, runs in by_size.items()
    }
    for size, runs in sorted(by_size.items()):
        members = count_tried(len(runs), sizes=len(by_size), workers=workers)
        whole = sum(horizon_examples(run.budget, train_size, size) for run in runs)
        tried = min(members, _MOST_TRIED)
        if members < _LEAST_MEMBERS or trial_examples(tried, size) > _LARGEST_TRIAL * whole:
            continue
        label = f"trying batch {size} together"
        watcher.begin(label)
        asked = pool.ask(label, try_together, tuple(runs[:tried]), device_name)
        told = cast(Together, asked)
        examples += told.examples
        watcher.end(label)
        if told.reason is not None:
            watcher.say(f"Runs are trained one by one: {told.reason}.")
        if told.gain < LEAST_GAIN:
            break
        found[size] = replace(found[size], tried=tried, gain=told.gain)
    shared = balance(found, workers=workers)
    return {size: members for size, members in shared.items() if members > 1}, examples


def try_together(
    task: Task,
    configurations: tuple[Configuration, ...],
    device_name: str | None,
    *,
    report: Callable[[object], None],
) -> Together:
    """Measure in a worker what sharing a program gains."""
    device = choose_device(device_name)
    return measure_together(task, configurations, device=device, least_gain=LEAST_GAIN)
