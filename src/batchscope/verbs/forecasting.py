"""What batch sizes need that were never run: examples, steps, seconds, energy, money, memory."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from batchscope.budget import Target, parse_target
from batchscope.decisions.choosing import check_target
from batchscope.decisions.cost import Cost, Prices, Use, cost_of
from batchscope.decisions.other_tasks import History, OtherTask, read_history
from batchscope.decisions.power import power_of
from batchscope.decisions.steps import (
    ExamplesForecast,
    LeftOut,
    forecast_examples,
    is_too_few,
    observe_sizes,
)
from batchscope.errors import CannotTell, InvalidInput
from batchscope.estimate import Estimate, Interval, NotIdentified, scale
from batchscope.findings.analysis import Analysis
from batchscope.findings.seeds import LEAST_REPEATS
from batchscope.instruments.speed.foreseeing import StepForecast, read_or_foresee
from batchscope.records import StepTime, count_devices
from batchscope.task import Task
from batchscope.verbs.analyzing import analyze, analyze_row
from batchscope.verbs.foreseeing_memory import foresee_memory
from batchscope.verbs.importing import is_table
from batchscope.verbs.opening import find_row, open_study
from batchscope.verbs.other_devices import foresee_on_devices
from batchscope.verbs.powering import check_powerless, find_study_watts
from batchscope.verbs.studying import Study
from batchscope.verbs.timings import read_measurement, read_timings


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What batch sizes need to a target.

    Attributes:
        to_target: examples.
        step_seconds: seconds per step, on the device of the study or on so many of its kind.
        costs: what one training takes at each batch size, by the two.
        memory: batch size -> bytes of a step's tensors on each device, the least that it takes;
            empty where no task was named.
    """

    to_target: ExamplesForecast
    step_seconds: StepForecast
    costs: tuple[Cost, ...]
    memory: Mapping[int, NotIdentified]

    @property
    def target(self) -> Target:
        """That runs of the study reached."""
        return self.to_target.target

    @property
    def examples(self) -> Mapping[int, Estimate]:
        """Batch size -> examples."""
        return self.to_target.examples

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Of each batch size that was run, what the others predict of its examples."""
        return self.to_target.left_out

    @property
    def error(self) -> float | None:
        """The median of what that is off by, as a share; None where nothing was left out."""
        return self.to_target.error

    def to_dict(self) -> dict[str, object]:
        """The forecast as JSON."""
        return self.to_target.to_dict() | {
            "step_seconds": self.step_seconds.to_dict(),
            "costs": [cost.to_dict() for cost in self.costs],
            "memory": {str(size): need.to_dict() for size, need in self.memory.items()},
        }


def forecast(
    study: Study | str,
    batch_sizes: Sequence[int],
    *,
    which: str | None = None,
    target: Target | str | None = None,
    prices: Prices | None = None,
    watts: float | Mapping[int, float] | None = None,
    devices: int | None = None,
    task: Task | str | None = None,
) -> Forecast:
    """Predict what batch sizes need that were never run, and how far such predictions are off.

    Args:
        study: what `study` returned, or what `analyze` reads.
        batch_sizes: to predict.
        which: a study's id or its task's name; None for the latest.
        target: None for the study's own, or one derived from its runs.
        prices: None for time alone.
        watts: of each device while it trains, at every batch size or by batch size; None for what
            `energy` has kept in the store.
        devices: of the study's kind that share each step, at numbers of which `profile` has timed
            the steps; None for as many as the study had.
        task: that was studied, to predict what memory its steps take; None for no such prediction.

    Raises:
        InvalidInput: a batch size is no whole number from 1 to the size of the training set, a
            price or the number of devices makes no sense, electricity has a price and the watts
            are not known, a table has no timings of devices, or the task is another one.
        CannotTell: there is no target that runs reached, most had it untrained, or the task cannot
            be laid out without data.
    """
    _check_sizes(batch_sizes)
    prices = prices or Prices()
    power = power_of(watts if watts is not None else find_study_watts(study, which))
    if power is None:
        check_powerless(prices)
    wanted = parse_target(target) if isinstance(target, str) else target
    analysis = analyze(study, which=which, target=wanted)
    if analysis.target is None:
        raise CannotTell(
            f"study {analysis.study} has no target that its runs reached",
            where="forecast",
            expected="runs that reach a target",
            do="name one with --target",
        )
    check_target(analysis, where="forecast")
    _check_data(study, which, batch_sizes)
    history = None
    if is_too_few(observe_sizes(analysis.tuned, analysis.target)):
        history = _read_other_tasks(study, which)
    to_target = forecast_examples(analysis.tuned, analysis.target, batch_sizes, history=history)
    timing = _read_timing(study, which, analysis)
    if devices in (None, timing.devices):
        devices, step_seconds = timing.devices, timing.foresee(batch_sizes)
    else:
        step_seconds = _foresee_elsewhere(study, which, devices, batch_sizes)
    costs = tuple(
        cost_of(
            Use(
                batch_size=size,
                devices=devices,
                steps=scale(to_target.examples[size], 1 / size, unit="steps"),
                step_seconds=step_seconds.by_size[size],
                watts=None if power is None else power.at(size),
            ),
            prices,
        )
        for size in batch_sizes
    )
    memory: Mapping[int, NotIdentified] = {}
    if task is not None:
        memory = _foresee_memory(study, which, task, batch_sizes, devices)
    return Forecast(to_target=to_target, step_seconds=step_seconds, costs=costs, memory=memory)


def _foresee_memory(
    study: Study | str,
    which: str | None,
    task: Task | str,
    batch_sizes: Sequence[int],
    devices: int,
) -> Mapping[int, NotIdentified]:
    """In the precision of the study; a table says nothing of its task."""
    studied = fingerprint = precision = None
    if not (isinstance(study, str) and is_table(study)):
        with open_study(study) as store:
            row = find_row(store, study, which)
        studied, fingerprint = row["task"], row["fingerprint"]
        precision = row["plan"]["precision"]
    return foresee_memory(
        task,
        batch_sizes,
        studied=studied,
        fingerprint=fingerprint,
        precision=precision,
        devices=devices,
    )


def _check_sizes(batch_sizes: Sequence[int]) -> None:
    if not batch_sizes or any(size < 1 or not float(size).is_integer() for size in batch_sizes):
        raise InvalidInput(
            f"batch sizes {', '.join(map(str, batch_sizes))}"
            if batch_sizes
            else "no batch size to predict",
            where="--batch-sizes",
            expected="whole numbers from 1 on, such as 48,4096",
            do="name the batch sizes to predict",
        )


def _check_data(study: Study | str, which: str | None, batch_sizes: Sequence[int]) -> None:
    """See that there are as many examples, where that is known."""
    if isinstance(study, str) and is_table(study):
        return
    with open_study(study) as store:
        row = find_row(store, study, which)
        train_size = store.read_task(row["fingerprint"])["facts"]["train_size"]
    if max(batch_sizes) > train_size:
        raise InvalidInput(
            f"a batch of {max(batch_sizes):,} of {train_size:,} training examples",
            where=f"forecast of {row['task']}, --batch-sizes",
            expected=f"batch sizes up to {train_size:,}",
            do="leave larger ones out",
        )


def _read_other_tasks(study: Study | str, which: str | None) -> History | None:
    """From the latest study of each other task in the store that bounds its critical batch size.

    Of a table there are none, and an earlier version of the task itself is no other one.
    """
    if isinstance(study, str) and is_table(study):
        return None
    with open_study(study) as store:
        own = find_row(store, study, which)["task"]
        tasks: dict[str, OtherTask] = {}
        for row in store.list_studies():
            name = row["task"]
            if name == own or (name in tasks and tasks[name].critical is not None):
                continue
            try:
                analysis = analyze_row(store, row)
            except CannotTell:
                continue
            if analysis.target is not None:
                runs = observe_sizes(analysis.tuned, analysis.target)
                tasks[name] = OtherTask.of([run for some in runs.values() for run in some])
    return read_history(tasks)


def _foresee_elsewhere(
    study: Study | str, which: str | None, devices: int, batch_sizes: Sequence[int]
) -> StepForecast:
    """On another number of devices, by all timings of the study's task on its kind of them."""
    if devices < 1 or (isinstance(study, str) and is_table(study)):
        raise InvalidInput(
            f"{devices} devices",
            where="forecast, --devices",
            expected="a number from 1 on, and a study's store with timings on several numbers",
            do="batchscope profile TASK --devices 2, into the study's store; or leave it out",
        )
    with open_study(study) as store:
        row = find_row(store, study, which)
        kept = store.read_measurements(row["fingerprint"])
        measured = read_measurement(store, row)
    precision, kind = row["plan"]["precision"], row["plan"]["device_kind"].partition(" ")[0]
    alike = [
        one
        for one in kept
        if one.precision == precision
        and one.device_kind.partition(" ")[0] == kind
        and (measured is None or one.provenance.host == measured.provenance.host)
    ]
    return foresee_on_devices(alike, devices, batch_sizes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timing:
    """The steps that were timed of a study's task on its devices.

    Attributes:
        steps: of one machine, the latest of each batch size.
        too_large: the smallest batch size that ran out of memory; infinite where none did.
    """

    steps: tuple[StepTime, ...]
    devices: int = 1
    too_large: float = math.inf

    def foresee(self, batch_sizes: Sequence[int]) -> StepForecast:
        """Seconds per step, as they were timed or as the law says."""
        found = read_or_foresee(self.steps, batch_sizes)
        out = NotIdentified(
            reason=f"memory ran out at batch size {self.too_large:g}",
            remedy="batchscope fit",
            unit="s/step",
        )
        by_size = {
            size: out if size >= self.too_large else found.by_size[size] for size in batch_sizes
        }
        return replace(found, by_size=by_size)


def _read_timing(study: Study | str, which: str | None, analysis: Analysis) -> _Timing:
    if isinstance(study, str) and is_table(study):
        return _Timing(
            steps=tuple(
                StepTime(
                    batch_size=size.batch_size, seconds=(size.seconds.value / size.steps.value,)
                )
                for size in analysis.sizes
                if isinstance(size.seconds, Interval) and isinstance(size.steps, Interval)
            )
        )
    with open_study(study) as store:
        row = find_row(store, study, which)
        kept = store.read_measurements(row["fingerprint"])
        measured = read_measurement(store, row)
        drift = read_timings(store, row).drift
    plan = row["plan"]
    devices = count_devices(plan["device_kind"])
    if measured is None:
        return _Timing(steps=(), devices=devices)
    place = (plan["precision"], plan["device_kind"], measured.provenance.host)
    # At the speed of all times that the study's steps were timed.
    own = [replace(s, seconds=tuple(drift * one for one in s.seconds)) for s in measured.steps]
    # The study's own timing says of every batch size something, and of some another one says more.
    steps = {step.batch_size: step for step in own}
    # The latest comes first, and counts.
    for other in reversed(kept):
        if (other.precision, other.device_kind, other.provenance.host) == place:
            steps |= {
                step.batch_size: step
                for step in (own if other == measured else other.steps)
                if not step.seconds or len(step.seconds) >= LEAST_REPEATS
            }
    return _Timing(
        steps=tuple(steps.values()),
        devices=devices,
        too_large=min((s.batch_size for s in steps.values() if not s.seconds), default=math.inf),
    )
