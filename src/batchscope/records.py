"""What is stored: configurations, runs, trajectories, measurements, and where they came from."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Literal

from batchscope.budget import Budget

Status = Literal["finished", "diverged", "out_of_memory"]
Precision = Literal["float32", "bf16", "fp16"]
HyperParameters = Mapping[str, float | bool | str]


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Everything that decides a run's trajectory.

    Attributes:
        fingerprint: of the task, as 16 hexadecimal digits.
        batch_size, micro_batch: in examples, at least 1.
        optimizer: its name.
        hyper_parameters: all of them as they are used at this batch size, "lr" among them.
        seed: of the initial weights, the example order and dropout.
        schedule: of the learning rate.
        also_read: smaller budgets, as text, at whose ends the run is evaluated as well.
        evaluate_every: as text, what a run is trained on between two evaluations; empty for the
            usual ones.
        device_kind: "cpu", "cuda" or "mps"; "cuda x4" where four share each step.
        torch_version: of the library that trains it.
    """

    fingerprint: str
    batch_size: int
    micro_batch: int
    optimizer: str
    hyper_parameters: HyperParameters
    seed: int
    budget: Budget
    precision: Precision
    device_kind: str
    torch_version: str
    schedule: str = "constant"
    also_read: tuple[str, ...] = ()
    evaluate_every: str = ""

    @property
    def devices(self) -> int:
        """How many share each step."""
        return count_devices(self.device_kind)

    @property
    def learning_rate(self) -> float:
        """The rate of the optimizer's first parameter group."""
        return float(self.hyper_parameters["lr"])

    @cached_property
    def key(self) -> str:
        """The run's name: two configurations with the same key train the same run."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def to_dict(self) -> dict[str, object]:
        """The configuration as JSON."""
        values: dict[str, object] = {
            **{field.name: getattr(self, field.name) for field in fields(self)},
            "hyper_parameters": dict(self.hyper_parameters),
            "budget": str(self.budget),
            "also_read": list(self.also_read),
        }
        # So that the runs of a store from before these could be asked for keep their keys.
        later = ("also_read", "evaluate_every")
        return {name: value for name, value in values.items() if value or name not in later}


def name_kind(device_type: str, devices: int) -> str:
    """The kind of so many devices that share each step.

    Example:
        >>> name_kind("cuda", 4), name_kind("cpu", 1)
        ('cuda x4', 'cpu')
    """
    return device_type if devices == 1 else f"{device_type} x{devices}"


def count_devices(device_kind: str) -> int:
    """How many devices a kind names.

    Example:
        >>> count_devices("cuda x4"), count_devices("cpu")
        (4, 1)
    """
    return int(device_kind.partition(" x")[2] or 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """What a run looked like at each evaluation.

    Attributes:
        columns: names to values, all of one length. Always `step`, `examples`, `seconds`
            (training only), `train_loss`, `val_loss`, `gradient_norm` (NaN before the first
            step) and `learning_rate`; then each metric on validation under its own name, on
            training data with "train_" and on test data with "test_" before it.
    """

    columns: Mapping[str, tuple[float, ...]]

    def __len__(self) -> int:
        return len(self.columns["step"])

    def last(self, name: str) -> float:
        """The value at the last evaluation."""
        return self.columns[name][-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """On what something was measured.

    Attributes:
        device: in words.
        threads: that torch computed with.
        load_average: of the last minute when it began; NaN where the system has none.
        seconds: that the run's training took there, a matter of record only.
    """

    device: str
    host: str
    threads: int
    python_version: str
    torch_version: str
    batchscope_version: str
    command: str
    commit: str
    started: str
    load_average: float
    seconds: float

    def to_dict(self) -> dict[str, object]:
        """The record as JSON."""
        load = self.load_average
        return {**asdict(self), "load_average": None if math.isnan(load) else load}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training from one seed with one configuration.

    Attributes:
        status: how it ended.
        steps: taken until then.
    """

    task: str
    configuration: Configuration
    status: Status
    steps: int
    trajectory: Trajectory
    provenance: Provenance

    @property
    def key(self) -> str:
        """The configuration's key."""
        return self.configuration.key


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """Seconds per step at one batch size.

    Attributes:
        seconds: of each timed step, in order; empty where memory ran out.
    """

    batch_size: int
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Seconds per step of one task on one machine.

    Attributes:
        examples: that were processed to measure it, warm-up included.
    """

    task: str
    fingerprint: str
    precision: Precision
    device_kind: str
    steps: tuple[StepTime, ...]
    examples: int
    provenance: Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerReading:
    """The mean power of one device while it trained a task at one batch size.

    Attributes:
        source: what counted.
        is_measured: by a counter of the device; otherwise it is an estimate.
        examples: that were processed to measure it.
    """

    task: str
    fingerprint: str
    precision: Precision
    device_kind: str
    batch_size: int
    watts: float
    source: str
    is_measured: bool
    examples: int
    provenance: Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        share: of its budget that is spent, in [0, 1].
        loss: on training data when it was last evaluated; None before.
    """

    share: float
    loss: float | None
