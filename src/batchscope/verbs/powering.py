"""Measure the energy of training at batch sizes, and know it again."""

import socket
import sys
from collections.abc import Sequence
from contextlib import closing, nullcontext, redirect_stdout
from typing import overload

from batchscope.decisions.cost import Prices
from batchscope.errors import InvalidInput, StoreError
from batchscope.estimate import Interval
from batchscope.instruments.energy import Energy, EnergyBySize, measure_energy
from batchscope.records import PowerReading
from batchscope.studies.progress import Unwatched, Watcher, showing
from batchscope.studies.store import Store
from batchscope.task import Task
from batchscope.training.provenance import describe_machine, find_origin
from batchscope.verbs.importing import is_table
from batchscope.verbs.opening import find_row, open_study
from batchscope.verbs.preparing import Prepared, introduce, prepare
from batchscope.verbs.studying import Study
from batchscope.verbs.timings import read_measurement

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
    with nullcontext() if store is None else closing(Store(store, create=True)) as opened:
        found = [_measure(prepared, size, watts, opened, watcher) for size in sizes]
    return found[0] if isinstance(batch_size, int) else EnergyBySize(tuple(found))


def _measure(
    prepared: Prepared, size: int, watts: float | None, store: Store | None, watcher: Watcher
) -> Energy:
    """Measure one batch size, and keep its power where there is a store for it."""
    label = f"measuring energy at batch size {size}"
    with showing(watcher, label) as report, redirect_stdout(sys.stderr):
        found = measure_energy(
            prepared.task,
            size,
            prepared.plan.precision,
            prepared.device_name,
            watts,
            report=report,
        )
    if store is None:
        return found
    if not isinstance(found.watts, Interval):
        watcher.say("Nothing here counts energy: there is no power to keep.")
        return found
    introduce(store, prepared)
    store.save_power(
        PowerReading(
            task=prepared.task.name,
            fingerprint=prepared.fingerprint.digest,
            precision=prepared.plan.precision,
            device_kind=prepared.device.type,
            batch_size=size,
            watts=found.watts.value,
            source=found.source,
            is_measured=found.is_measured,
            examples=found.examples,
            provenance=describe_machine(prepared.device, find_origin(), seconds=0.0),
        )
    )
    return found


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
    try:
        opened = Store(place, create=False)
    except StoreError:
        # The study that follows makes it, or says what is wrong with it.
        return None
    with closing(opened) as store:
        prepared = prepare(task, watcher=watcher, device=device, precision=precision, compute=False)
        return find_watts(
            store,
            prepared.fingerprint.digest,
            precision=prepared.plan.precision,
            device=prepared.device.type,
            host=socket.gethostname(),
        )


def find_study_watts(study: Study | str, which: str | None) -> dict[int, float] | None:
    """The watts that the store of a study has of its task, on the machine that timed its steps."""
    if isinstance(study, str) and is_table(study):
        return None
    with open_study(study) as store:
        row = find_row(store, study, which)
        plan, measured = row["plan"], read_measurement(store, row)
        return find_watts(
            store,
            row["fingerprint"],
            precision=plan["precision"],
            device=plan["device_kind"].partition(" ")[0],
            host=None if measured is None else measured.provenance.host,
        )


def check_powerless(prices: Prices) -> None:
    """See that nothing is paid for electricity where nobody knows how much there is of it.

    Raises:
        InvalidInput: it is.
    """
    for option, price in (
        ("--kilowatt-hour", prices.kilowatt_hour),
        ("--carbon", prices.grams_per_kilowatt_hour),
    ):
        if price > 0:
            raise InvalidInput(
                "how many watts a device takes is not known",
                where=option,
                expected="--watts beside it",
                do="add --watts, or measure them: batchscope energy TASK --store STORE",
            )
