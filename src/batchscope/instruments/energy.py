"""Joules per step and per example, from whatever counts energy here."""

import importlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import psutil
import torch

from batchscope.errors import InvalidInput
from batchscope.estimate import Estimate, Interval, NotIdentified
from batchscope.findings.seeds import estimate_over_seeds
from batchscope.optimizers import starting_rate
from batchscope.records import Precision
from batchscope.task import Task
from batchscope.training.batches import Batches
from batchscope.training.devices import choose_device, count_cores, synchronize
from batchscope.training.seeding import draw_order, keep_randomness, seed_everything
from batchscope.training.stepper import Stepper

_POWERCAP = Path("/sys/class/powercap")
_WINDOW_NAME = "batchscope"
_WINDOWS = 8
_WINDOW_SECONDS = 0.5


class EnergyCounter(Protocol):
    """Joules so far."""

    words: str
    is_measured: bool

    def read(self) -> float:
        """Joules since some time in the past."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """The energy of a task's training at one batch size.

    Attributes:
        joules_per_step, joules_per_example: of what `source` counts.
        watts: mean power while it trained.
        source: what counted.
        is_measured: by a counter of the device; otherwise from a stated power and the share of the
            processors that was busy, which is an estimate only.
        examples: that were processed for it.
    """

    task: str
    unit: str
    batch_size: int
    device: str
    joules_per_step: Estimate
    joules_per_example: Estimate
    watts: Estimate
    source: str
    is_measured: bool
    examples: int

    def to_dict(self) -> dict[str, object]:
        """The measurement as JSON."""
        return {
            "task": self.task,
            "unit": self.unit,
            "batch_size": self.batch_size,
            "device": self.device,
            "joules_per_step": self.joules_per_step.to_dict(),
            "joules_per_example": self.joules_per_example.to_dict(),
            "watts": self.watts.to_dict(),
            "source": self.source,
            "is_measured": self.is_measured,
            "examples": self.examples,
        }

    def __repr__(self) -> str:
        kind = "" if self.is_measured else ", an estimate"
        return (
            f"energy of {self.task} at batch size {self.batch_size}: {self.joules_per_step} by "
            f"{self.source}{kind}"
        )


@dataclass(frozen=True, slots=True)
class EnergyBySize:
    """The energy of a task's training at several batch sizes, by one counter."""

    sizes: tuple[Energy, ...]

    @property
    def watts(self) -> dict[int, float]:
        """Batch size -> mean power while it trained; empty where nothing counts."""
        return {
            one.batch_size: one.watts.value for one in self.sizes if isinstance(one.watts, Interval)
        }

    def to_dict(self) -> dict[str, object]:
        """The measurements as JSON."""
        return {"task": self.sizes[0].task, "batch_sizes": [one.to_dict() for one in self.sizes]}


class RaplCounter:
    """The processor packages' own counters, where the kernel lets them be read."""

    is_measured = True

    def __init__(self, folder: Path = _POWERCAP) -> None:
        self._zones = sorted(
            zone for zone in folder.glob("intel-rapl:*") if zone.name.count(":") == 1
        )
        self._last = [self._read_zone(zone) for zone in self._zones]
        self._total = 0.0
        if not self._zones:
            raise OSError(f"no RAPL zone in {folder}")
        self.words = f"RAPL, {len(self._zones)} packages"

    def read(self) -> float:
        """Joules since the counter was made; each zone's own counter wraps around at times."""
        for place, zone in enumerate(self._zones):
            now = self._read_zone(zone)
            step = now - self._last[place]
            if step < 0:
                step += int((zone / "max_energy_range_uj").read_text())
            self._total += step / 1e6
            self._last[place] = now
        return self._total

    def _read_zone(self, zone: Path) -> int:
        return int((zone / "energy_uj").read_text())


class NvmlCounter:
    """An NVIDIA device's own counter."""

    is_measured = True

    def __init__(self, device: torch.device) -> None:
        self._nvml: Any = importlib.import_module("pynvml")
        self._nvml.nvmlInit()
        self._handle = self._nvml.nvmlDeviceGetHandleByIndex(device.index or 0)
        self.words = "NVML"

    def read(self) -> float:
        """Joules since the driver was loaded."""
        return self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) / 1000


class ZeusCounter:
    """Zeus, where the user has it."""

    is_measured = True

    def __init__(self) -> None:
        self._monitor: Any = importlib.import_module("zeus.monitor").ZeusMonitor()
        if not (self._monitor.gpu_indices or self._monitor.cpu_indices):
            raise OSError("Zeus counts nothing on this machine")
        self.words = "Zeus"
        self._total = 0.0
        self._monitor.begin_window(_WINDOW_NAME)

    def read(self) -> float:
        """Joules since the counter was made."""
        found = self._monitor.end_window(_WINDOW_NAME)
        gpu, cpu = (
            cast(dict[int, float], found.gpu_energy),
            cast(dict[int, float], found.cpu_energy or {}),
        )
        self._total += sum(gpu.values()) + sum(cpu.values())
        self._monitor.begin_window(_WINDOW_NAME)
        return self._total


class StatedPower:
    """A stated power times the share of the processors that is busy: an estimate."""

    is_measured = False

    def __init__(self, watts: float) -> None:
        if not watts > 0:
            raise InvalidInput(
                f"a power of {watts} W",
                where="--watts",
                expected="what the processor takes at full load, above 0",
                do="look it up for your processor, for example 65",
            )
        self._watts = watts
        self._process = psutil.Process()
        self.words = f"{watts:g} W at full load, times the share of {count_cores()} cores in use"

    def read(self) -> float:
        """Joules of this process so far."""
        times = self._process.cpu_times()
        return self._watts * (times.user + times.system) / count_cores()


def find_counter(device: torch.device, watts: float | None) -> EnergyCounter | None:
    """The best counter that works here: Zeus, the device's own, or the stated power.

    Args:
        watts: of the processor at full load; None where nobody knows.
    """
    ways: list[Callable[[], EnergyCounter]] = [ZeusCounter]
    ways += [lambda: NvmlCounter(device)] if device.type == "cuda" else [RaplCounter]
    for way in ways:
        # A counter may be absent in as many ways as there are libraries and drivers.
        try:
            return way()
        except (ImportError, OSError, RuntimeError, ValueError, AttributeError, KeyError):
            continue
        except Exception as error:
            if "NVML" not in type(error).__name__:
                raise
    return None if watts is None else StatedPower(watts)


def measure_energy(
    task: Task,
    batch_size: int,
    precision: Precision,
    device_name: str | None,
    watts: float | None,
    *,
    report: Callable[[float], None] = lambda _: None,
) -> Energy:
    """Train for eight windows of half a second, and read the counter around each.

    Args:
        watts: of the processor at full load, for where nothing counts.
    """
    device = choose_device(device_name)
    counter = find_counter(device, watts)
    windows: list[tuple[float, float, int]] = []
    steps = 0
    if counter is not None:
        with keep_randomness():
            windows, steps = _measure_windows(
                task, batch_size, precision, device, counter, report=report
            )
    return Energy(
        task=task.name,
        unit=task.unit,
        batch_size=batch_size,
        device=device.type,
        joules_per_step=_estimate([j / n for j, _, n in windows], "J/step"),
        joules_per_example=_estimate(
            [j / n / batch_size for j, _, n in windows], f"J per one of {task.unit}"
        ),
        watts=_estimate([j / s for j, s, _ in windows], "W"),
        source="nothing" if counter is None else counter.words,
        is_measured=counter is not None and counter.is_measured,
        examples=steps * batch_size,
    )


def _measure_windows(
    task: Task,
    batch_size: int,
    precision: Precision,
    device: torch.device,
    counter: EnergyCounter,
    *,
    report: Callable[[float], None],
) -> tuple[list[tuple[float, float, int]], int]:
    """Joules, seconds and steps of each window, and the steps of all, the first one included."""
    seed_everything(0)
    model = task.model().to(device)
    spec = task.optimizer_spec
    rate = starting_rate(spec, model.parameters())
    stepper = Stepper(
        task,
        model,
        hyper_parameters=spec.hyper_parameters(batch_size=batch_size, lr=rate),
        precision=precision,
        device=device,
    )
    batches = Batches(task, task.datasets["train"], device)
    order = draw_order(len(batches), seed=0, epoch=0)[:batch_size]
    (micro_batches,) = batches.stream(order, batch_size=batch_size, micro_batch=batch_size)
    windows: list[tuple[float, float, int]] = []
    taken = 0
    # The first window warms caches and clocks up.
    for place in range(_WINDOWS + 1):
        steps, began, before = 0, time.perf_counter(), counter.read()
        while time.perf_counter() - began < _WINDOW_SECONDS:
            stepper.accumulate(micro_batches, after_each=lambda _: None)
            stepper.apply()
            synchronize(device)
            steps += 1
        seconds = time.perf_counter() - began
        taken += steps
        if place > 0:
            windows.append((counter.read() - before, seconds, steps))
        report(place / _WINDOWS)
    return windows, taken


def _estimate(values: Sequence[float], unit: str) -> Estimate:
    if not values:
        return NotIdentified(
            reason="nothing here counts energy",
            remedy="state the processor's power at full load with --watts, or run it on a device "
            "that counts",
            unit=unit,
        )
    return estimate_over_seeds(values, unit=unit, bounds=(0.0, float("inf")))
