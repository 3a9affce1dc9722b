"""Profile a task: seconds per step at each batch size."""

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from batchscope.estimate import Estimate
from batchscope.findings.seeds import estimate_median
from batchscope.instruments.speed.law import StepTimeLaw, fit_step_times
from batchscope.instruments.speed.steps import smallest_efficient
from batchscope.records import Measurement
from batchscope.studies.progress import Unwatched, Watcher
from batchscope.studies.speed import measure_step_times
from batchscope.studies.store import DEFAULT_STORE, Store
from batchscope.task import Task
from batchscope.training.provenance import find_origin
from batchscope.verbs.preparing import Prepared, introduce, prepare


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedAtSize:
    """The speed at one batch size.

    Attributes:
        step_seconds: median over the timed steps.
        examples_per_second: from that median.
    """

    batch_size: int
    step_seconds: Estimate
    examples_per_second: Estimate
    timed_steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The speed of a task on this machine.

    Attributes:
        smallest_efficient: the smallest batch size with 95% of the best examples per second.
        law: that seconds per step follow, with its knee and jumps.
        load_average: of the last minute when it began; NaN where the system has none.
    """

    task: str
    device: str
    threads: int
    load_average: float
    sizes: tuple[SpeedAtSize, ...]
    smallest_efficient: int
    law: StepTimeLaw
    unit: str

    def to_dict(self) -> dict[str, object]:
        """The profile as JSON."""
        return {
            "task": self.task,
            "device": self.device,
            "threads": self.threads,
            "load_average": None if math.isnan(self.load_average) else self.load_average,
            "unit": self.unit,
            "smallest_efficient": self.smallest_efficient,
            "law": self.law.to_dict(),
            "batch_sizes": [
                {
                    "batch_size": size.batch_size,
                    "step_seconds": size.step_seconds.to_dict(),
                    "examples_per_second": size.examples_per_second.to_dict(),
                    "timed_steps": size.timed_steps,
                }
                for size in self.sizes
            ],
        }

    def __repr__(self) -> str:
        return (
            f"Profile of {self.task} on {self.device}: batch size {self.smallest_efficient} is the "
            "smallest with 95% of the best throughput"
        )


def profile(
    task: Task | str,
    *,
    batch_sizes: Sequence[int] | None = None,
    device: str | None = None,
    precision: str | None = None,
    devices: int = 1,
    store: str = DEFAULT_STORE,
    watcher: Watcher | None = None,
) -> Profile:
    """Measure seconds per step at each batch size, and keep them in the store.

    A store that has them from this machine answers at once.

    Args:
        devices: of this machine that share each step.

    Raises:
        InvalidInput: a batch size or device that there is not.
        InvalidTask: the task cannot be trained.
        StoreError: the store cannot be used.
    """
    watcher = watcher or Unwatched()
    prepared = prepare(
        task,
        watcher=watcher,
        device=device,
        batch_sizes=batch_sizes,
        precision=precision,
        devices=devices,
    )
    with closing(Store(store, create=True)) as opened:
        introduce(opened, prepared)
        measurement = measure(opened, prepared, watcher)
    wanted = prepared.plan.batch_sizes
    steps = [step for step in measurement.steps if step.batch_size in wanted]
    sizes = tuple(_describe(step.batch_size, step.seconds, prepared.task.unit) for step in steps)
    return Profile(
        task=prepared.task.name,
        device=measurement.provenance.device,
        threads=measurement.provenance.threads,
        load_average=measurement.provenance.load_average,
        sizes=sizes,
        smallest_efficient=smallest_efficient(steps),
        law=fit_step_times(steps, unit=prepared.task.unit),
        unit=prepared.task.unit,
    )


def measure(
    store: Store, prepared: Prepared, watcher: Watcher, *, examples: float | None = None
) -> Measurement:
    """The step times of a prepared task, from the store or measured now with so many examples."""
    return measure_step_times(
        prepared.task,
        prepared.source,
        store,
        prepared.fingerprint.digest,
        batch_sizes=prepared.plan.batch_sizes,
        precision=prepared.plan.precision,
        device_name=prepared.device_name,
        devices=prepared.plan.devices,
        examples=examples,
        origin=find_origin(),
        watcher=watcher,
    )


def _describe(batch_size: int, seconds: Sequence[float], unit: str) -> SpeedAtSize:
    step = estimate_median(seconds, unit="s/step")
    rate = estimate_median(batch_size / np.array(seconds), unit=f"{unit}/s")
    return SpeedAtSize(
        batch_size=batch_size, step_seconds=step, examples_per_second=rate, timed_steps=len(seconds)
    )
