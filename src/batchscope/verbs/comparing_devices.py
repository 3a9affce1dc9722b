"""Compare devices that one may not have: does a training fit, how long does it take, what does it
cost there.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from contextlib import closing

from batchscope.budget import Target
from batchscope.decisions.cost import Prices
from batchscope.decisions.hardware.comparing import (
    DeviceComparison,
    StepMemory,
    compare_devices,
)
from batchscope.decisions.hardware.roofline import StepGuess, Timing
from batchscope.decisions.hardware.table import Device, read_devices
from batchscope.decisions.terms import check_deadline, parse_deadline
from batchscope.errors import CannotTell, InvalidInput, suggest
from batchscope.estimate import Estimate, Interval
from batchscope.findings.analysis import Analysis
from batchscope.instruments.arithmetic import count_demand
from batchscope.instruments.memory.predicting import predict_line
from batchscope.records import count_devices
from batchscope.studies.progress import Unwatched, Watcher
from batchscope.studies.speed import median_seconds
from batchscope.studies.store import Store
from batchscope.task import Task
from batchscope.training.seeding import keep_randomness
from batchscope.verbs.analyzing import analyze
from batchscope.verbs.fitting import can_split
from batchscope.verbs.preparing import Prepared, prepare


def devices(
    task: Task | str,
    *,
    store: str | None = None,
    which: str | None = None,
    batch_sizes: Sequence[int] | None = None,
    target: Target | str | None = None,
    precision: str | None = None,
    table: str | None = None,
    prices: Mapping[str, float] | None = None,
    electricity: Prices | None = None,
    measured: Sequence[Timing] = (),
    deadline: float | str | None = None,
    watcher: Watcher | None = None,
) -> DeviceComparison:
    """Say on which devices a task fits, about how long its training takes, and what it costs.

    Nothing is trained: tensors without data say what a step holds, computes and moves. Without a
    timing the seconds are guesses from the data sheets; each timing narrows them, those that the
    store has from a device of the table included.

    Args:
        store: with a study of the task, whose steps to its target count; None for one epoch.
        which: a study's id; None for the latest of this task.
        batch_sizes: None for those of the study, or the usual ones.
        table: a TOML file of further devices.
        prices: device -> price of an hour.
        electricity: its price and its carbon; what it says of devices does not count.
        measured: steps of whole batches timed on devices of the table.
        deadline: in seconds, or as text such as "2h"; None for none.

    Raises:
        InvalidInput: a device, price, timing or batch size that makes no sense.
        StoreError: there is no such store or study.
        CannotTell: the study does not say how many steps its target takes, or the task asks
            tensors without data for their values.
    """
    watcher = watcher or Unwatched()
    if isinstance(deadline, str):
        deadline = parse_deadline(deadline)
    if deadline is not None:
        check_deadline(deadline)
    if store is None and (target is not None or which is not None):
        raise InvalidInput(
            "a target or a study, and no store to read its steps from",
            where="--target, --study",
            expected="a store with a study of the task",
            do="add --store batchscope.db, or leave them out for the time of an epoch",
        )
    known = read_devices(table, prices=prices)
    prepared = prepare(
        task,
        watcher=watcher,
        device="cpu",
        batch_sizes=batch_sizes,
        precision=precision,
        compute=False,
    )
    made, chosen = prepared.task, prepared.plan.precision
    _check_timings(measured, known, chosen, made.train_size)
    timings: list[Timing] = []
    if store is None:
        goal = "through one epoch"
        steps = _steps_of_an_epoch(made.train_size, prepared.plan.batch_sizes)
    else:
        goal, steps = _steps_to_target(store, which, prepared, target, batch_sizes)
        timings = _timings_kept(store, prepared, known)
    with keep_randomness():
        fixed, per_example = predict_line(made, max(steps), precision=chosen)
        memory = StepMemory(fixed=fixed, per_example=per_example, can_split=can_split(made))
        count = functools.cache(functools.partial(count_demand, made, precision=chosen))
        return compare_devices(
            known,
            StepGuess(count, known, chosen, [*timings, *measured]),
            task=made.name,
            goal=goal,
            steps=steps,
            memory=memory,
            precision=chosen,
            prices=electricity or Prices(),
            deadline=deadline,
        )


def _check_timings(
    measured: Sequence[Timing], known: Sequence[Device], precision: str, train_size: int
) -> None:
    names = [device.name for device in known if precision in device.arithmetic]
    for timing in measured:
        if timing.device not in names:
            raise InvalidInput(
                f"there is no device {timing.device!r} that computes in {precision}",
                where="--measured",
                expected=f"one of {', '.join(names)}",
                do=suggest(timing.device, names, "add the device with --table"),
            )
        if not 1 <= timing.batch_size <= train_size or not 0 < timing.seconds < math.inf:
            raise InvalidInput(
                f"a step of {timing.batch_size} examples in {timing.seconds:g} s",
                where="--measured",
                expected=f"a batch size up to the {train_size:,} examples there are, and seconds "
                "above 0",
                do="write for example A100-80GB:256:0.012",
            )


def _steps_of_an_epoch(train_size: int, sizes: Sequence[int]) -> dict[int, Estimate]:
    counts = {size: float(math.ceil(train_size / size)) for size in sizes}
    return {
        size: Interval(value=count, low=count, high=count, unit="steps")
        for size, count in counts.items()
    }


def _steps_to_target(
    place: str,
    which: str | None,
    prepared: Prepared,
    target: Target | str | None,
    batch_sizes: Sequence[int] | None,
) -> tuple[str, dict[int, Estimate]]:
    """What a study says of the batch sizes asked for, by its curve where it ran them never."""
    found = analyze(place, which=which or _find_study(place, prepared), target=target)
    # What the other seeds took is no time of getting there.
    ran = {
        size.batch_size: size.steps if size.reached == size.seeds else None for size in found.sizes
    }
    steps = {
        size: ran[size] if size in ran else _by_curve(found, size) for size in batch_sizes or ran
    }
    steps = {size: taken for size, taken in steps.items() if isinstance(taken, Interval)}
    if not steps:
        raise CannotTell(
            f"study {found.study} does not say how many steps {found.target or 'a target'} takes",
            where=f"devices for {prepared.task.name}",
            expected="batch sizes that reach it with every seed",
            do="name an easier --target, or leave --store out for the time of an epoch",
        )
    return f"to {found.target}", dict(sorted(steps.items()))


def _find_study(place: str, prepared: Prepared) -> str:
    with closing(Store(place, create=False)) as store:
        digest = prepared.fingerprint.digest
        for study in store.list_studies():
            if study["fingerprint"] == digest:
                return str(study["id"])
        return str(store.find_study(prepared.task.name)["id"])


def _by_curve(found: Analysis, batch_size: int) -> Estimate | None:
    """Steps at a batch size that was never run."""
    fit = None if found.critical is None else found.critical.fit
    return None if fit is None else fit.predict(batch_size)


def _timings_kept(place: str, prepared: Prepared, known: Sequence[Device]) -> list[Timing]:
    """What the store has of this task on devices of the table, each alone."""
    names = {
        device.reported_as: device.name
        for device in known
        if device.reported_as and prepared.plan.precision in device.arithmetic
    }
    with closing(Store(place, create=False)) as store:
        measurements = store.read_measurements(prepared.fingerprint.digest)
    return [
        Timing(device=names[measurement.provenance.device], batch_size=size, seconds=seconds)
        # The latest is told last, so that it is the one that counts.
        for measurement in reversed(measurements)
        if measurement.precision == prepared.plan.precision
        and measurement.provenance.device in names
        and count_devices(measurement.device_kind) == 1
        for size, seconds in median_seconds(measurement).items()
    ]
