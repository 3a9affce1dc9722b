"""The speed of a task on this machine: measured once while nothing else of ours runs, then kept."""

import socket
import statistics
from collections.abc import Mapping, Sequence

import psutil

from batchscope.instruments.speed import time_steps
from batchscope.records import Measurement, Precision, StepTime
from batchscope.studies.progress import Watcher
from batchscope.studies.store import Store
from batchscope.task import Task
from batchscope.training.devices import choose_device, count_cores
from batchscope.training.provenance import Origin, describe_machine
from batchscope.workers.pool import Answer, OwnProcess, Pool, ProcessPool
from batchscope.workers.travel import TaskSource

_BUSY = 0.5


def measure_step_times(
    task: Task,
    source: TaskSource | None,
    store: Store,
    fingerprint: str,
    *,
    batch_sizes: Sequence[int],
    precision: Precision,
    device_name: str | None,
    origin: Origin,
    watcher: Watcher,
) -> Measurement:
    """The step times of a task, from the store where this machine has measured them.

    A worker with as many threads as there are cores times them, as a training of one's own would
    have the machine to itself.

    Args:
        source: None for a task that stays in this process.
    """
    device = choose_device(device_name)
    known = find_measurement(store, fingerprint, precision=precision, batch_sizes=batch_sizes)
    if known is not None:
        return known
    load = psutil.getloadavg()[0]
    if load > _BUSY * count_cores():
        watcher.say(f"This machine is busy (load average {load:.1f}): times will be too long.")
    pool = (
        OwnProcess(task) if source is None else ProcessPool(source, count=1, threads=count_cores())
    )
    provenance = describe_machine(device, origin, seconds=0.0)
    with pool:
        watcher.begin("timing steps at each batch size")
        pool.submit("speed", time_steps, tuple(batch_sizes), precision, device_name)
        steps, examples = _await(pool, watcher)
        watcher.end("timing steps at each batch size")
    measurement = Measurement(
        task=task.name,
        fingerprint=fingerprint,
        precision=precision,
        steps=steps,
        examples=examples,
        provenance=provenance,
    )
    store.save_measurement(measurement)
    return measurement


def find_measurement(
    store: Store,
    fingerprint: str,
    *,
    precision: Precision | None = None,
    batch_sizes: Sequence[int] = (),
) -> Measurement | None:
    """The latest measurement of this machine that has all of these sizes."""
    for measurement in store.read_measurements(fingerprint):
        sizes = {step.batch_size for step in measurement.steps}
        same_host = measurement.provenance.host == socket.gethostname()
        same_precision = precision in (None, measurement.precision)
        if same_host and same_precision and sizes.issuperset(batch_sizes):
            return measurement
    return None


def median_seconds(measurement: Measurement | None) -> Mapping[int, float]:
    """Batch size -> median seconds per step."""
    steps = () if measurement is None else measurement.steps
    return {step.batch_size: statistics.median(step.seconds) for step in steps}


def _await(pool: Pool, watcher: Watcher) -> tuple[tuple[StepTime, ...], int]:
    while True:
        answer = pool.wait(None)
        match answer:
            case Answer(kind="result", value=value):
                return value  # pyright: ignore[reportReturnType]
            case Answer(kind="error", value=error):
                raise error  # pyright: ignore[reportGeneralTypeIssues]
            case Answer(kind="progress", value=(done, of)):
                watcher.expect(float(of - done))  # pyright: ignore
            case _:
                pass
