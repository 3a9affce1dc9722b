"""What a training may take, and what is to be little: time, money, energy or carbon."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from batchscope.budget import parse_budget
from batchscope.decisions.cost import Prices, Usage, price_per_second, usage_of
from batchscope.decisions.power import Power, power_of
from batchscope.errors import InvalidInput, check_above_zero, suggest
from batchscope.estimate import Estimate, write_number

# What counts seconds, by what a second takes of it.
PRICED = ("cost", "energy", "carbon")
# What each of them is read on.
AXES = {"examples": "examples"} | dict.fromkeys(("time", *PRICED), "seconds")
OBJECTIVES = ("time", *PRICED, "examples", "quality")
# What may be weighed against one another.
_WEIGHED = ("time", *PRICED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Seconds that one training may take, and why.

    Attributes:
        words: how it is said, after "within".
        per_second: turns seconds into what is limited.
        unit: of that.
    """

    seconds: float
    words: str
    per_second: float = 1.0
    unit: str = "s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what terms a batch size is chosen.

    Attributes:
        objective: what is to be little, one of "time", "cost", "energy", "carbon" and "examples",
            or "quality"; or several of the first four with their weights, such as
            "time=2,energy=1": then the mean of their logarithms, so that one percent of what weighs
            two counts as two percent of what weighs one.
        watts: of each device while it trains, at every batch size or by batch size; None where
            unknown.
        deadline: seconds that one training may take; None for no limit.
        max_cost: what it may cost, in the currency of the prices; None for no limit.
        devices: that share each step.

    Raises:
        InvalidInput: the objective or a limit cannot be worked out of what is known, or a limit
            leaves nothing.
    """

    objective: str = "time"
    prices: Prices = field(default_factory=Prices)
    watts: float | Mapping[int, float] | None = None
    deadline: float | None = None
    max_cost: float | None = None
    devices: int = 1

    def __post_init__(self) -> None:
        weights = _read_weights(self.objective)
        power_of(self.watts)
        if self.deadline is not None:
            check_deadline(self.deadline)
        if self.max_cost is not None:
            check_above_zero(
                self.max_cost,
                f"a cost of at most {self.max_cost:g} pays for no training",
                where="--max-cost",
                expected="an amount above 0, in the currency of the prices",
                do="leave it out for no limit",
            )
            self._need_known("cost", where="--max-cost")
        for name in weights:
            if name in PRICED:
                self._need_known(name, where=f"--objective {self.objective}")

    def to_dict(self) -> dict[str, object]:
        """What a second takes of the objective, as JSON: limits and devices left out."""
        power = self.power
        watts = {} if power is None else {str(b): each for b, each in power.by_size.items()}
        return {"objective": self.objective, "prices": asdict(self.prices), "watts": watts}

    @classmethod
    def from_dict(cls, said: Mapping[str, Any], *, devices: int) -> Self:
        """What `to_dict` has written, or an objective alone."""
        watts = {int(size): float(each) for size, each in said.get("watts", {}).items()}
        return cls(
            objective=said["objective"],
            prices=Prices(**said.get("prices", {})),
            watts=watts or None,
            devices=devices,
        )

    @property
    def weights(self) -> dict[str, float]:
        """What is to be little -> its weight; of one objective alone 1."""
        return _read_weights(self.objective)

    @property
    def power(self) -> Power | None:
        """What each device takes while it trains; None where unknown."""
        return power_of(self.watts)

    @property
    def ranked_by(self) -> str:
        """What runs are compared by: "time" also where each second counts as `second_cost` says."""
        return self.objective if self.objective in ("examples", "quality") else "time"

    @property
    def is_alike(self) -> bool:
        """Whether a second counts alike at all batch sizes, so that the fastest is the best."""
        if self.power is None:
            return True
        return len({self.second_cost(size) for size in self.power.by_size}) == 1

    @property
    def is_limited(self) -> bool:
        """Whether there is anything that one training must keep to."""
        return self.deadline is not None or self.max_cost is not None

    @property
    def least(self) -> str:
        """What the best choice takes the least of, for a reader."""
        if self.ranked_by != "time":
            return self.objective
        if self.is_alike:
            return "time"
        if len(self.weights) == 1:
            return next(iter(self.weights))
        each = [
            name if weight == 1 else f"{name} (weight {weight:g})"
            for name, weight in self.weights.items()
        ]
        return f"weighted mean of {', '.join(each[:-1])} and {each[-1]}"

    def second_cost(self, batch_size: int) -> float:
        """What a second of training takes of the objective: money, joules, grams, or their mean."""
        weights = self.weights
        logs = [
            weight * math.log(self._taken_per_second(name, batch_size))
            for name, weight in weights.items()
        ]
        return math.exp(sum(logs) / sum(weights.values()))

    def limits_at(self, batch_size: int) -> Iterator[Limit]:
        """What one training at a batch size must keep to."""
        if self.deadline is not None:
            words = f"the deadline of {write_number(self.deadline)} s"
            yield Limit(seconds=self.deadline, words=words)
        if self.max_cost is not None:
            price = self._price(batch_size)
            assert price is not None
            words = f"the cost of {write_number(self.max_cost)}"
            yield Limit(
                seconds=self.max_cost / price, words=words, per_second=price, unit="in money"
            )

    def usage(self, seconds: Estimate, batch_size: int) -> Usage:
        """What so many seconds of training at a batch size take."""
        return usage_of(
            seconds, self.prices, devices=self.devices, watts=self._watts_at(batch_size)
        )

    def _need_known(self, what: str, *, where: str) -> None:
        """See that what a training takes of it can be worked out."""
        missing = {
            "cost": [] if self._price(1) else ["--device-hour, or --kilowatt-hour and --watts"],
            "energy": [] if self.watts else ["--watts"],
            "carbon": [
                *([] if self.watts else ["--watts"]),
                *([] if self.prices.grams_per_kilowatt_hour else ["--carbon"]),
            ],
        }[what]
        if missing:
            raise InvalidInput(
                f"what a training takes in {'money' if what == 'cost' else what} is not known",
                where=where,
                expected=" and ".join(missing),
                do="give it as well; batchscope energy --store measures watts and keeps them",
            )

    def _taken_per_second(self, name: str, batch_size: int) -> float:
        """Of what is weighed, or 1 of anything else."""
        if name not in PRICED:
            return 1.0
        if name == "cost":
            price = self._price(batch_size)
            assert price is not None
            return price
        watts = self._watts_at(batch_size)
        assert watts is not None
        return (
            self.devices
            * watts
            * (self.prices.grams_per_kilowatt_hour if name == "carbon" else 1.0)
        )

    def _price(self, batch_size: int) -> float | None:
        return price_per_second(self.prices, devices=self.devices, watts=self._watts_at(batch_size))

    def _watts_at(self, batch_size: int) -> float | None:
        return None if self.power is None else self.power.at(batch_size)


def _read_weights(objective: str) -> dict[str, float]:
    if "=" not in objective:
        _check_name(objective, OBJECTIVES)
        return {objective: 1.0}
    weights: dict[str, float] = {}
    for part in objective.split(","):
        name, _, number = (word.strip() for word in part.partition("="))
        _check_name(name, _WEIGHED)
        weight = _read_weight(number)
        if weight is None or name in weights:
            raise InvalidInput(
                f"{part.strip()!r} is no weight" if weight is None else f"{name} is weighed twice",
                where=f"--objective {objective}",
                expected="each name once, with a number above 0",
                do="write for example time=2,energy=1",
            )
        weights[name] = weight
    return weights


def _read_weight(text: str) -> float | None:
    try:
        weight = float(text)
    except ValueError:
        return None
    return weight if 0 < weight < math.inf else None


def _check_name(name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        what = f"there is no objective {name!r}"
        if name in OBJECTIVES:
            what = f"{name} cannot be weighed against others"
        raise InvalidInput(
            what,
            where="--objective",
            expected=f"one of {', '.join(known)}",
            do="name it alone" if name in OBJECTIVES else suggest(name, known),
        )


def check_deadline(seconds: float, text: str = "") -> None:
    """See that a deadline leaves time to train.

    Args:
        text: as it was written; empty where it was not.

    Raises:
        InvalidInput: it is not above 0.
    """
    check_above_zero(
        seconds,
        f"a deadline of {text or f'{seconds:g} s'} leaves no time to train",
        where="--deadline",
        expected="a time above 0",
        do="write for example 90s, 20min or 2h",
    )


def parse_deadline(text: str) -> float:
    """Seconds of text.

    Raises:
        InvalidInput: it is no time, or leaves none.

    Example:
        >>> parse_deadline("20min")
        1200.0
    """
    amount = re.match(r"\s*-?\d+(\.\d*)?", text)
    if amount and float(amount[0]) <= 0:
        check_deadline(float(amount[0]), text.strip())
    try:
        budget = parse_budget(text)
    except InvalidInput:
        budget = None
    if budget is None or budget.kind != "seconds" or budget.until is not None:
        raise InvalidInput(
            f"{text!r} is no time",
            where="--deadline",
            expected="a number and s, min or h",
            do="write for example 90s, 20min or 2h",
        )
    return budget.amount
