"""The speed of a task on this machine: measured once while nothing else of ours runs, then kept."""

import socket
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import torch

from batchscope.instruments.speed.steps import WHOLE_STEPS
from batchscope.records import Measurement, Precision, StepTime, name_kind
from batchscope.studies.claims import claim, release
from batchscope.studies.in_workers import time_on_devices
from batchscope.studies.progress import Watcher
from batchscope.studies.store import Store
from batchscope.task import Task
from batchscope.training.devices import choose_device, count_busy, count_cores, count_free_cores
from batchscope.training.provenance import Origin, describe_machine
from batchscope.workers.keeping import open_processes
from batchscope.workers.pool import OwnProcess
from batchscope.workers.travel import TaskSource

_SECONDS_BETWEEN_LOOKS = 0.3
_LABEL = "timing steps at each batch size"


def measure_step_times(
    task: Task,
    source: TaskSource | None,
    store: Store,
    fingerprint: str,
    *,
    batch_sizes: Sequence[int],
    precision: Precision,
    device_name: str | None,
    devices: int = 1,
    examples: float | None = None,
    origin: Origin,
    watcher: Watcher,
) -> Measurement:
    """The step times of a task, from the store where this machine has measured them.

    A worker with as many threads as there are free cores times them: threads that share a core with
    another program wait for one another a hundred times longer than a small step takes.

    Args:
        source: None for a task that stays in this process.
        devices: that share each step.
        examples: to process, about; None for as many as a good median takes.
    """
    device = choose_device(device_name)
    kind = name_kind(device.type, devices)

    def find() -> Measurement | None:
        return find_measurement(
            store,
            fingerprint,
            precision=precision,
            device_kind=kind,
            batch_sizes=batch_sizes,
            host=socket.gethostname(),
            least_steps=1 if examples is not None else WHOLE_STEPS,
        )

    # Two processes that time steps at once would each time the other.
    key = f"speed-{fingerprint}"
    while (known := find()) is None and not claim(store, key):
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    if known is not None:
        return known
    threads = torch.get_num_threads() if source is None else _count_threads(watcher)
    try:
        provenance = replace(
            describe_machine(device, origin, seconds=0.0),
            threads=threads,
        )
        arguments = (tuple(batch_sizes), precision, device_name, devices, examples)
        steps, processed = _time_now(task, source, arguments, watcher, threads=threads)
        measurement = Measurement(
            task=task.name,
            fingerprint=fingerprint,
            precision=precision,
            device_kind=kind,
            steps=steps,
            examples=processed,
            provenance=provenance,
        )
        store.save_measurement(measurement)
    finally:
        release(store, [key])
    return measurement


def time_again(
    task: Task,
    source: TaskSource | None,
    batch_size: int,
    *,
    precision: Precision,
    device_name: str | None,
    devices: int,
    examples: float,
    watcher: Watcher,
) -> tuple[StepTime, int]:
    """The steps of one batch size at another time, and the examples processed.

    Args:
        examples: to process, about.
    """
    # Seconds ago it may have been another machine: that is what is asked here.
    count_busy.cache_clear()
    threads = torch.get_num_threads() if source is None else _count_threads(watcher)
    arguments = ((batch_size,), precision, device_name, devices, examples)
    (step,), processed = _time_now(task, source, arguments, watcher, threads=threads)
    return step, processed


def find_measurement(
    store: Store,
    fingerprint: str,
    *,
    precision: str,
    device_kind: str,
    batch_sizes: Sequence[int],
    host: str | None = None,
    least_steps: int = 1,
) -> Measurement | None:
    """The latest measurement that has all of these sizes, of one machine or of any.

    Args:
        least_steps: timed at every size that fits in memory.
    """
    for measurement in store.read_measurements(fingerprint):
        sizes = {
            step.batch_size
            for step in measurement.steps
            if not step.seconds or len(step.seconds) >= least_steps
        }
        same = (measurement.precision, measurement.device_kind) == (precision, device_kind)
        if same and host in (None, measurement.provenance.host) and sizes.issuperset(batch_sizes):
            return measurement
    return None


def median_seconds(measurement: Measurement | None) -> Mapping[int, float]:
    """Batch size -> median seconds per step; sizes that ran out of memory are left out."""
    steps = () if measurement is None else measurement.steps
    return {step.batch_size: statistics.median(step.seconds) for step in steps if step.seconds}


def _count_threads(watcher: Watcher) -> int:
    free, cores = count_free_cores(), count_cores()
    if free < cores:
        watcher.say(
            f"Other programs keep {cores - free} of {cores} cores busy: steps are timed on "
            f"{free}, and may take longer than on a machine of their own."
        )
    return free


def _time_now(
    task: Task,
    source: TaskSource | None,
    arguments: tuple[object, ...],
    watcher: Watcher,
    *,
    threads: int,
) -> tuple[tuple[StepTime, ...], int]:
    pool = OwnProcess(task) if source is None else open_processes(source, count=1, threads=threads)

    def hear(progress: object) -> None:
        done, of = cast(tuple[int, int], progress)
        watcher.advance(_LABEL, 1.0)
        watcher.expect(float(of - done))

    with pool:
        watcher.begin(_LABEL)
        timed = pool.ask(_LABEL, time_on_devices, *arguments, hear=hear)
        watcher.end(_LABEL)
    return cast(tuple[tuple[StepTime, ...], int], timed)
