"""How long the steps of a study took, as its store has them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import sqlalchemy as sa

from batchscope.decisions.memory import MemoryNeed
from batchscope.decisions.timings import Timings
from batchscope.estimate import Estimate
from batchscope.instruments.speed.foreseeing import foresee_slowdown
from batchscope.records import Measurement
from batchscope.studies.speed import find_measurement
from batchscope.studies.store import Store


def read_measurement(store: Store, row: sa.RowMapping) -> Measurement | None:
    """The step times of a study's task at all of its sizes, the latest, wherever measured."""
    plan = row["plan"]
    return find_measurement(
        store,
        row["fingerprint"],
        precision=plan["precision"],
        device_kind=plan["device_kind"],
        batch_sizes=plan["batch_sizes"],
    )


def read_step_seconds(store: Store, row: sa.RowMapping) -> Mapping[int, float]:
    """Batch size -> median seconds per step at the speed of all times that the study's steps were
    timed; sizes that ran out of memory are left out.
    """
    steps = read_timings(store, row).settled
    return {size: median(seconds) for size, seconds in steps.items()}


def read_timings(store: Store, row: sa.RowMapping, memory: MemoryNeed | None = None) -> Timings:
    """The timed steps of a study.

    Args:
        memory: within which a batch is split; None for no limit.
    """
    plan = row["plan"]
    measured = read_measurement(store, row)
    asked = set(plan["batch_sizes"])
    steps = () if measured is None else measured.steps
    timings = Timings(
        seconds={
            step.batch_size: step.seconds
            for step in steps
            if step.seconds and step.batch_size in asked
        },
        again=_read_again(plan),
    )
    if memory is None:
        return timings
    splits = {size: memory.split(size) for size in asked}
    slowdowns: dict[int, Estimate] = {
        size: foresee_slowdown(steps, size, part=part * memory.devices, parts=parts)
        for size, (part, parts) in splits.items()
        if parts > 1
    }
    return replace(timings, slowdowns=slowdowns)


def _read_again(plan: Mapping[str, Any]) -> list[dict[int, Sequence[float]]]:
    """At each time after the last run, batch size -> its steps, of the one that was timed."""
    noted = plan.get("timed_again", {})
    times = [noted.get(name, []) for name in ("seconds", "once_more")]
    return [{noted["batch_size"]: seconds} for seconds in times if seconds]
