"""How long a training step would take on a device, from what it computes and moves.

A step cannot be faster than its arithmetic at the device's peak, nor than its memory traffic at the
device's bandwidth (the roofline of Williams, Waterman and Patterson 2009), nor than its kernels one
after another. How much slower it is, one timing tells.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from batchscope.decisions.hardware.table import Device
from batchscope.estimate import Interval

# Between the starts of two kernels, in seconds: below it no framework launches them one by one.
_LAUNCH = 5e-6
# A step takes one to ten times its floor, as a 95% range of a log-normal: the geometric mean, and
# deviations of what a task's kernels reach on any device, and of what one device makes of them.
_MEAN = math.log(10) / 2
_TASK_SD, _DEVICE_SD = 0.5, 0.3
# Of one timing in the log, and more for each doubling between the batch sizes.
_TIMING_SD, _SD_PER_DOUBLING = 0.05, 0.1
_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDemand:
    """What one forward and backward pass takes of a device, and the update after it.

    Attributes:
        examples: in the pass.
        products, convolutions: operations of arithmetic in matrix products, and in convolutions.
        bytes_moved: that the pass reads and writes, each operation by itself.
        kernels: that the pass starts.
        update_bytes: that the optimizer reads and writes.
    """

    examples: int
    products: float
    convolutions: float
    bytes_moved: float
    kernels: int
    update_bytes: float

    def floor(self, device: Device, precision: str, *, parts: int = 1) -> float:
        """Seconds of so many passes and an update, which no step goes below."""
        peak = convolving = device.arithmetic[precision]
        if precision == "float32":
            convolving = device.arithmetic.get("tf32", peak)
        one = max(
            self.products / peak + self.convolutions / convolving,
            self.bytes_moved / device.bandwidth,
            self.kernels * _LAUNCH,
        )
        return parts * one + self.update_bytes / device.bandwidth


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What a step took on a device."""

    device: str
    batch_size: int
    seconds: float


class StepGuess:
    """Seconds per step on any device, narrower with every timing.

    The log of a step over its floor is the sum of what the task's kernels do everywhere and of what
    one device makes of them, both normal; timings condition it.

    Args:
        demand: of a pass over so many examples.
        timings: of whole batches, on devices of the table.
    """

    def __init__(
        self,
        demand: Callable[[int], StepDemand],
        devices: Iterable[Device],
        precision: str,
        timings: Sequence[Timing],
    ) -> None:
        self._demand = demand
        self._precision = precision
        by_name = {device.name: device for device in devices}
        # Device -> batch size -> log of what was measured over the floor.
        self._measured: dict[str, dict[int, float]] = {}
        for timing in timings:
            floor = demand(timing.batch_size).floor(by_name[timing.device], precision)
            ratios = self._measured.setdefault(timing.device, {})
            ratios[timing.batch_size] = math.log(timing.seconds / floor)

    def is_measured(self, device: Device) -> bool:
        """Whether a timing on that device is known."""
        return device.name in self._measured

    def predict(self, device: Device, micro_batch: int, parts: int) -> Interval:
        """Seconds of a step of so many passes, with their 95% interval."""
        floor = self._demand(micro_batch).floor(device, self._precision, parts=parts)
        own = self._measured.get(device.name)
        mean, deviation = self._elsewhere() if own is None else _nearest(own, micro_batch)
        centre = math.log(floor) + mean
        low, value, high = (math.exp(centre + z * deviation) for z in (-_Z, 0.0, _Z))
        return Interval(value=value, low=low, high=high, unit="s/step")

    def _elsewhere(self) -> tuple[float, float]:
        """Mean and deviation of the log over the floor on a device without a timing."""
        ratios = [_mean(own) for own in self._measured.values()]
        precision = 1 / _TASK_SD**2 + len(ratios) / _DEVICE_SD**2
        moved = sum(ratio - _MEAN for ratio in ratios) / _DEVICE_SD**2
        return _MEAN + moved / precision, math.sqrt(1 / precision + _DEVICE_SD**2)


def _nearest(own: Mapping[int, float], size: int) -> tuple[float, float]:
    doublings, ratio = min((abs(math.log2(size / b)), ratio) for b, ratio in own.items())
    return ratio, math.hypot(_TIMING_SD, _SD_PER_DOUBLING * doublings)


def _mean(own: Mapping[int, float]) -> float:
    return sum(own.values()) / len(own)
