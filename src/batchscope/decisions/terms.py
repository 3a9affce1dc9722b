"""What a training may take, and what is to be little: time, money, energy or carbon."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from batchscope.decisions.cost import Prices, price_per_second
from batchscope.errors import InvalidInput, check_above_zero, suggest
from batchscope.estimate import write_number

# What counts seconds, at one price per hour and one power.
PRICED = ("cost", "energy", "carbon")
# What each of them is read on.
AXES = {"examples": "examples"} | dict.fromkeys(("time", *PRICED), "seconds")
OBJECTIVES = ("time", *PRICED, "examples", "quality")


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
            or "quality".
        watts: of each device while it trains; None where unknown.
        deadline: seconds that one training may take; None for no limit.
        max_cost: what it may cost, in the currency of the prices; None for no limit.
        devices: that share each step.

    Raises:
        InvalidInput: the objective or a limit cannot be worked out of what is known, or a limit
            leaves nothing.
    """

    objective: str = "time"
    prices: Prices = field(default_factory=Prices)
    watts: float | None = None
    deadline: float | None = None
    max_cost: float | None = None
    devices: int = 1

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise InvalidInput(
                f"there is no objective {self.objective!r}",
                where="--objective",
                expected=f"one of {', '.join(OBJECTIVES)}",
                do=suggest(self.objective, OBJECTIVES),
            )
        if self.watts is not None:
            check_above_zero(
                self.watts,
                f"a power of {self.watts:g} W",
                where="--watts",
                expected="what a device takes while it trains, above 0",
                do="batchscope energy measures it",
            )
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
        if self.objective in PRICED:
            self._need_known(self.objective, where=f"--objective {self.objective}")

    @property
    def ranked_by(self) -> str:
        """What runs are compared by: with one price and one power the cheapest is the fastest."""
        return "time" if self.objective in PRICED else self.objective

    @property
    def limits(self) -> Iterator[Limit]:
        """What one training must keep to."""
        if self.deadline is not None:
            words = f"the deadline of {write_number(self.deadline)} s"
            yield Limit(seconds=self.deadline, words=words)
        if self.max_cost is not None:
            price = self._price
            assert price is not None
            words = f"the cost of {write_number(self.max_cost)}"
            yield Limit(
                seconds=self.max_cost / price, words=words, per_second=price, unit="in money"
            )

    def _need_known(self, what: str, *, where: str) -> None:
        """See that what a training takes of it can be worked out."""
        missing = {
            "cost": [] if self._price else ["--device-hour, or --kilowatt-hour and --watts"],
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
                do="give it as well; batchscope energy measures watts",
            )

    @property
    def _price(self) -> float | None:
        return price_per_second(self.prices, devices=self.devices, watts=self.watts)


def check_deadline(seconds: float) -> None:
    """See that a deadline leaves time to train.

    Raises:
        InvalidInput: it is not above 0.
    """
    check_above_zero(
        seconds,
        f"a deadline of {seconds:g} s leaves no time to train",
        where="--deadline",
        expected="a time above 0",
        do="write for example 90s, 20min or 2h",
    )
