"""Seconds per step on a number of devices that a study did not have."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from batchscope.decisions.step_time import Placement, StepTimes
from batchscope.estimate import Estimate, Interval
from batchscope.findings.seeds import estimate_median
from batchscope.instruments.speed.foreseeing import MissedStep, StepForecast
from batchscope.records import Measurement, count_devices

# Devices and batch size -> seconds of each timed step.
_Timed = Mapping[tuple[int, int], Sequence[float]]


def foresee_on_devices(
    measurements: Sequence[Measurement], devices: int, batch_sizes: Sequence[int]
) -> StepForecast:
    """The median step as it was timed there, or as the timings on each number of devices say.

    By the law of `StepTimes`, which is fitted without each batch size that was timed on as many
    devices, or on the most that were, to show how far it is off.

    Args:
        measurements: of one task in one precision on one machine's devices of one kind, the latest
            first.
    """
    timed = _read(measurements)
    law = _fit(timed)
    foreseen = law.predict([_place(devices, size) for size in batch_sizes])
    by_size: dict[int, Estimate] = dict(zip(batch_sizes, foreseen, strict=True))
    for size in batch_sizes:
        own = estimate_median(timed.get((devices, size), ()), unit="s/step")
        if isinstance(own, Interval):
            by_size[size] = own
    counts = {count for count, _ in timed}
    shown = devices if devices in counts else max(counts, default=devices)
    return StepForecast(by_size=by_size, left_out=tuple(_leave_out(timed, shown)))


def _read(measurements: Sequence[Measurement]) -> _Timed:
    return {
        (count_devices(measured.device_kind), step.batch_size): step.seconds
        for measured in reversed(measurements)
        for step in measured.steps
        if step.seconds
    }


def _place(devices: int, batch_size: int) -> Placement:
    """Of one machine."""
    return Placement(
        local_batch=batch_size / devices, nodes=1, devices=devices, most=devices, fewest=devices
    )


def _fit(timed: _Timed) -> StepTimes:
    return StepTimes([(_place(*setting), median(seconds)) for setting, seconds in timed.items()])


def _leave_out(timed: _Timed, devices: int) -> Iterator[MissedStep]:
    for count, size in sorted(timed):
        if count != devices:
            continue
        others = {setting: own for setting, own in timed.items() if setting != (count, size)}
        (predicted,) = _fit(others).predict([_place(count, size)])
        if isinstance(predicted, Interval):
            yield MissedStep(
                batch_size=size,
                measured=median(timed[count, size]),
                predicted=predicted.value,
            )
