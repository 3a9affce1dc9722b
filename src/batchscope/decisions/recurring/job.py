"""A job that runs again and again: what is on offer, and what its runs may have come to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from batchscope.errors import InvalidInput

Direction = Literal["max", "min"]

# Of a stop: rounding of the epoch that would have passed it.
_SLACK = 1e-6
# What may differ between the runs of one job.
_OWN = ("recurrences", "max_cost", "lease_seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What an advisor is asked about; `Advisor` describes the attributes.

    Raises:
        InvalidInput: they contradict each other.
    """

    batch_sizes: list[int]
    default: int
    power_limits: list[float] | None
    max_epochs: float
    target: float | None
    direction: Direction
    recurrences: int | None
    max_cost: float | None
    lease_seconds: float

    def __post_init__(self) -> None:
        if not self.batch_sizes or self.batch_sizes[0] < 1:
            raise refuse(
                f"batch sizes {self.batch_sizes}",
                "batch_sizes",
                "at least one, from 1 on",
                "name them",
            )
        if self.default not in self.batch_sizes:
            raise refuse(
                f"a default of {self.default}",
                "default",
                f"one of {', '.join(map(str, self.batch_sizes))}",
                "name one that is on offer",
            )
        for name in ("max_epochs", *_OWN):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise refuse(f"{name} of {value}", name, "a number above 0", "mend the number")
        if self.direction not in get_args(Direction):
            raise refuse(
                f"a direction of {self.direction!r}", "direction", "max or min", "choose one"
            )

    def to_dict(self) -> dict[str, Any]:
        """The job as the state keeps it."""
        return asdict(self)

    def check_same(self, kept: Mapping[str, Any], state: str | None) -> None:
        """See that a state was begun for this job.

        Raises:
            InvalidInput: it was not.
        """
        for name, value in self.to_dict().items():
            if name not in _OWN and kept.get(name) != value:
                raise refuse(
                    f"{state} was begun with {name} {kept.get(name)}, not {value}",
                    "Advisor",
                    "one job per state, with the same settings",
                    "name another state, or give the settings that it has",
                )

    def check_setting(self, batch_size: int, power_limit: float | None) -> dict[str, Any]:
        """A setting that is on offer, as the state keeps it.

        Raises:
            InvalidInput: it is not.
        """
        if batch_size not in self.batch_sizes:
            raise refuse(
                f"a batch size of {batch_size}",
                "batch_size",
                f"one of {', '.join(map(str, self.batch_sizes))}",
                "name one of these, or begin a new state with it on offer",
            )
        limits = self.power_limits or []
        if power_limit is not None and power_limit not in limits:
            raise refuse(
                f"a power limit of {power_limit} W",
                "power_limit",
                f"one of {', '.join(map(str, limits or ['none']))}",
                "name one of these, or begin a new state with it on offer",
            )
        # Numbers of NumPy have no place in the state.
        return {
            "batch_size": int(batch_size),
            "power_limit": None if power_limit is None else float(power_limit),
        }

    def was_stopped(
        self, *, cost: float, reached: bool, epochs: float, stop_cost: float | None
    ) -> bool:
        """Whether a run without the target ended for its cost, before its epochs were over."""
        if reached or stop_cost is None or epochs >= self.max_epochs:
            return False
        if epochs > 0:
            return cost + cost / epochs > stop_cost * (1 - _SLACK)
        return stop_cost > 0 and cost == 0


def check_outcome(
    *, cost: float, reached: bool, epochs: float, progress: Sequence[tuple[float, float]]
) -> dict[str, Any]:
    """What a run came to, as the state keeps it.

    Raises:
        InvalidInput: a number makes no sense.
    """
    for name, value in {"cost": cost, "epochs": epochs}.items():
        if not 0 <= value < math.inf:
            raise refuse(f"{name} of {value}", name, "a number from 0 on", "mend the number")
    for level, epoch in progress:
        if not (math.isfinite(level) and 0 <= epoch < math.inf):
            raise refuse(
                f"level {level} passed in epoch {epoch}",
                "progress",
                "pairs of a level and the epoch in which it was passed",
                "leave out what was not passed",
            )
    return {
        "cost": float(cost),
        "epochs": float(epochs),
        "reached": bool(reached),
        "progress": [[float(level), float(epoch)] for level, epoch in progress],
    }


def refuse(what: str, where: str, expected: str, do: str) -> InvalidInput:
    """An error to raise."""
    return InvalidInput(what, where=where, expected=expected, do=do)
