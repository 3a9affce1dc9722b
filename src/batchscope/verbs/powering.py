"""Measure the energy of training at batch sizes, and know it again."""

import socket
import sys
from collections.abc import Sequence
from contextlib import closing, redirect_stdout
from pathlib import Path
from typing import overload

from batchscope.errors import InvalidInput
from batchscope.estimate import Interval
from batchscope.instruments.energy import Energy, EnergyBySize, measure_energy
from batchscope.records import PowerReading
from batchscope.studies.connection import path_of
from batchscope.studies.progress import Unwatched, Watcher, showing
from batchscope.studies.store import Store
from batchscope.task import Task
from batchscope.training.provenance import describe_machine, find_origin
from batchscope.verbs.importing import is_table
from batchscope.verbs.opening import find_row, open_study
from batchscope.verbs.preparing import Prepared, introduce, prepare
from batchscope.verbs.studying import Study

_BATCH_SIZE = 32


@overload
def energy(
    task: Task | str,
    *,
    batch_size: int = ...,
    watts: float | None = ...,
    device: str | None = ...,
    precision: str | None = ...,
    store: str | None = ...,
    watcher: Watcher | None = ...,
) -> Energy: ...


@overload
def energy(
    task: Task | str,
    *,
    batch_size: Sequence[int],
    watts: float | None = ...,
    device: str | None = ...,
    precision: str | None = ...,
    store: str | None = ...,
    watcher: Watcher | None = ...,
) -> EnergyBySize: ...


def energy(
    task: Task | str,
    *,
    batch_size: int | Sequence[int] = _BATCH_SIZE,
    watts: float | None = None,
    device: str | None = None,
    precision: str | None = None,
    store: str | None = None,
    watcher: Watcher | None = None,
) -> Energy | EnergyBySize:
    """Measure joules per step and per example.

    Args:
        batch_size: or several, which are measured one after another.
        watts: of the processor at full load, for machines where nothing counts energy.
        store: where the power is kept, for `recommend`, `cost` and `forecast` to find where they
            are given no watts; None to keep nothing.

    Raises:
        InvalidInput: an argument that there is not.
        InvalidTask: the task cannot be trained.
        StoreError: the store cannot be used.
    """
    watcher = watcher or Unwatched()
    sizes = [batch_size] if isinstance(batch_size, int) else sorted(set(batch_size))
    if not sizes:
        raise InvalidInput(
            "no batch size",
            where="batch_size",
            expected="one, or several",
            do="write for example 32,128,512",
        )
    prepared = prepare(task, watcher=watcher, device=device, precision=precision, batch_sizes=sizes)
    found: list[Energy] = []
    for size in sizes:
        label = f"measuring energy at batch size {size}"
        with showing(watcher, label) as report, redirect_stdout(sys.stderr):
            found.append(
                measure_energy(
                    prepared.task,
                    size,
                    prepared.plan.precision,
                    prepared.device_name,
                    watts,
                    report=report,
                )
            )
    if store is not None:
        _keep(store, prepared, found)
    return found[0] if isinstance(batch_size, int) else EnergyBySize(tuple(found))


def find_watts(
    store: Store,
    fingerprint: str,
    *,
    precision: str,
    device: str,
    host: str | None = None,
) -> dict[int, float] | None:
    """Batch size -> watts, as a store has them of a task; None where it has none.

    The latest of each batch size, and no estimate where a counter has measured.

    Args:
        device: its type, "cpu" or "cuda".
        host: None for any machine.
    """
    alike = [
        reading
        for reading in store.read_powers(fingerprint)
        if (reading.precision, reading.device_kind) == (precision, device)
        and host in (None, reading.provenance.host)
    ]
    measured = [reading for reading in alike if reading.is_measured]
    # The latest comes first, and counts.
    found = {reading.batch_size: reading.watts for reading in reversed(measured or alike)}
    # As it is written in a command, which then asks for the same.
    return {size: float(f"{watts:.4g}") for size, watts in sorted(found.items())} or None


def find_watts_here(
    place: str,
    task: Task | str,
    *,
    device: str | None,
    precision: str | None,
    watcher: Watcher,
) -> dict[int, float] | None:
    """The watts that a store has of a task on this machine; None where it has none."""
    path = path_of(place)
    if path is not None and not Path(path).exists():
        return None
    prepared = prepare(task, watcher=watcher, device=device, precision=precision, compute=False)
    with closing(Store(place, create=False)) as store:
        return find_watts(
            store,
            prepared.fingerprint.digest,
            precision=prepared.plan.precision,
            device=prepared.device.type,
            host=socket.gethostname(),
        )


def find_study_watts(study: Study | str, which: str | None) -> dict[int, float] | None:
    """The watts that the store of a study has of its task, wherever measured; None where none."""
    if isinstance(study, str) and is_table(study):
        return None
    with open_study(study) as store:
        row = find_row(store, study, which)
        plan = row["plan"]
        return find_watts(
            store,
            row["fingerprint"],
            precision=plan["precision"],
            device=plan["device_kind"].partition(" ")[0],
        )


def _keep(place: str, prepared: Prepared, found: Sequence[Energy]) -> None:
    """Write down what was counted; where nothing counts, there is nothing to keep."""
    known = [(one, one.watts) for one in found if isinstance(one.watts, Interval)]
    if not known:
        return
    provenance = describe_machine(prepared.device, find_origin(), seconds=0.0)
    with closing(Store(place, create=True)) as store:
        introduce(store, prepared)
        for one, watts in known:
            store.save_power(
                PowerReading(
                    task=prepared.task.name,
                    fingerprint=prepared.fingerprint.digest,
                    precision=prepared.plan.precision,
                    device_kind=prepared.device.type,
                    batch_size=one.batch_size,
                    watts=watts.value,
                    source=one.source,
                    is_measured=one.is_measured,
                    examples=one.examples,
                    provenance=provenance,
                )
            )
