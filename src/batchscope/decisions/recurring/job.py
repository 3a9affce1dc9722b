"""A job that runs again and again: what is on offer, and what its runs may have come to."""

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from batchscope.errors import InvalidInput

Direction = Literal["max", "min"]

# Of a stop: rounding of the epoch that would have passed it, and of a first one what its cost may
# differ by from the cost that is known.
_SLACK, _FIRST_SLACK = 1e-6, 0.1
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
        for limit in self.power_limits or []:
            if not 0 < limit < math.inf:
                raise refuse(
                    f"a power limit of {limit} W", "power_limits", "watts above 0", "mend it"
                )
        if self.target is not None and not math.isfinite(self.target):
            raise refuse(
                f"a target of {self.target}", "target", "a level of the metric", "leave it out"
            )
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

    def changed_from(self, kept: Mapping[str, Any]) -> dict[str, Any]:
        """What a state has to keep of the job: all at first, then what is said anew."""
        said = self.to_dict()
        if not kept:
            return said
        return {
            name: said[name]
            for name in _OWN
            if said[name] is not None and said[name] != kept.get(name)
        }

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
        self,
        *,
        cost: float,
        reached: bool,
        epochs: float,
        stop_cost: float | None,
        epoch_cost: float | None,
    ) -> bool:
        """Whether a run without the target ended for its cost, before its epochs were over.

        One that ended before its first epoch failed, as where memory runs out, if that is known to
        cost less.

        Args:
            epoch_cost: that is known of its setting; None where it is not.
        """
        if reached or stop_cost is None or epochs >= self.max_epochs:
            return False
        if epochs > 0:
            return cost + cost / epochs > stop_cost * (1 - _SLACK)
        if cost > 0:
            return cost > stop_cost * (1 - _SLACK)
        return epoch_cost is None or epoch_cost > stop_cost * (1 - _FIRST_SLACK)

    def check_outcome(
        self,
        *,
        cost: float,
        reached: object,
        epochs: float,
        progress: Sequence[tuple[float, float]],
    ) -> dict[str, Any]:
        """What a run came to, as the state keeps it.

        Raises:
            InvalidInput: a number makes no sense, or the target was passed and not reached.
        """
        spent = {"cost": to_number("cost", cost), "epochs": to_number("epochs", epochs)}
        for name, value in spent.items():
            if not 0 <= value < math.inf:
                raise refuse(f"{name} of {value}", name, "a number from 0 on", "mend the number")
        # A job that looks after whole epochs may pass the limit by a part of one.
        if reached and spent["epochs"] >= self.max_epochs + 1:
            raise refuse(
                f"a target reached after {spent['epochs']:g} epochs, and max_epochs of "
                f"{self.max_epochs:g}",
                "epochs",
                f"up to {self.max_epochs:g}",
                "mend the number, or begin a new state with more max_epochs",
            )
        if reached not in (True, False):
            raise refuse(f"reached of {reached!r}", "reached", "True or False", "mend it")
        pairs = _read_pairs(progress, epochs=spent["epochs"])
        for level, _ in pairs:
            if not reached and self._is_target(level):
                raise refuse(
                    f"a level of {level:g}, at the target of {self.target:g}, and not reached",
                    "reached",
                    "reached=True of a run that passed the target",
                    "mend reached or progress",
                )
        return spent | {"reached": bool(reached), "progress": pairs}

    def _is_target(self, level: float) -> bool:
        if self.target is None:
            return False
        return level >= self.target if self.direction == "max" else level <= self.target


def _read_pairs(progress: Sequence[tuple[float, float]], *, epochs: float) -> list[list[float]]:
    try:
        pairs = [[float(level), float(epoch)] for level, epoch in progress]
    except (TypeError, ValueError):
        pairs = [[math.nan, math.nan]]
    before = 0.0
    for level, epoch in pairs:
        # In the epoch after the last whole one a level may be passed too.
        if not (math.isfinite(level) and before <= epoch <= math.ceil(epochs) + 1):
            raise refuse(
                f"progress of {progress!r} in {epochs:g} epochs",
                "progress",
                "pairs of a level and the epoch in which it was passed, one after the other",
                "leave out what was not passed, and say the level first",
            )
        before = epoch
    return pairs


def to_number(name: str, value: object) -> float:
    """A number as Python's own; those of NumPy have no place in the state.

    Raises:
        InvalidInput: it is none.
    """
    if isinstance(value, numbers.Real):
        return float(value)
    raise refuse(f"{name} of {value!r}", name, "a number", "mend it")


def to_whole(name: str, value: object) -> int:
    """The same of a whole number.

    Raises:
        InvalidInput: it is none.
    """
    number = to_number(name, value)
    if not number.is_integer():
        raise refuse(f"{name} of {value}", name, "a whole number", "mend the number")
    return int(number)


def refuse(what: str, where: str, expected: str, do: str) -> InvalidInput:
    """An error to raise."""
    return InvalidInput(what, where=where, expected=expected, do=do)
