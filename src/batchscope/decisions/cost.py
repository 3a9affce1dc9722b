"""What a batch size costs: consumption per step times steps, and what had to be bought before."""

import math
from dataclasses import dataclass

from batchscope.errors import InvalidInput
from batchscope.estimate import (
    Estimate,
    Interval,
    NotIdentified,
    multiply,
    scale,
    shift,
    write_number,
)

_HOUR = 3600.0
_JOULES = 3.6e6
# More time per step than this is no longer "little".
_LITTLE = 0.1
_NO_CARBON = NotIdentified(
    reason="the carbon of a kilowatt-hour is not known", remedy="--carbon", unit="g CO2"
)
_NO_WATTS = NotIdentified(reason="watts are not known", remedy="batchscope energy", unit="kWh")
_NO_PRICE = NotIdentified(reason="nothing has a price", remedy="--device-hour")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What is paid, in one currency.

    Attributes:
        device_hour: of one device for an hour, electricity apart.
        kilowatt_hour: of electricity.
        grams_per_kilowatt_hour: of CO2.
        waiting_hour: what an hour until the training is done is worth, however many devices work on
            it: the weight of time against money.
        hardware, engineering: paid once, before the first run.
        runs: over which what is paid once is spread.

    Raises:
        InvalidInput: a price is below 0, or the runs are no whole number from 1 on.
    """

    device_hour: float = 0.0
    kilowatt_hour: float = 0.0
    grams_per_kilowatt_hour: float = 0.0
    waiting_hour: float = 0.0
    hardware: float = 0.0
    engineering: float = 0.0
    runs: int = 1

    @property
    def has_usage(self) -> bool:
        """Whether what a run takes has a price, apart from what is paid once."""
        return max(self.device_hour, self.kilowatt_hour, self.waiting_hour) > 0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            least = 1 if name == "runs" else 0
            is_count = name == "runs"
            if not least <= value < math.inf or (is_count and value != int(value)):
                option = "carbon" if name.startswith("grams") else name.replace("_", "-")
                raise InvalidInput(
                    f"{name} of {value}",
                    where=f"Prices, --{option}",
                    expected=f"a {'whole ' * is_count}number from {least} on",
                    do="leave it out where nothing is paid",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What one training takes.

    Attributes:
        steps: to the target.
        step_seconds: of one step.
        watts: of each device; None where unknown.
        is_present: whether the hardware is there already.
    """

    batch_size: int
    devices: int
    steps: Estimate
    step_seconds: Estimate
    watts: float | None = None
    is_present: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What so many seconds of training take.

    Attributes:
        money: for device-hours, electricity and waiting, in the currency of the prices.
    """

    device_hours: Estimate
    kilowatt_hours: Estimate
    carbon_grams: Estimate
    money: Estimate

    @property
    def by_name(self) -> dict[str, Estimate]:
        """Each by what a choice may be made to take little of."""
        return {"cost": self.money, "energy": self.kilowatt_hours, "carbon": self.carbon_grams}

    @property
    def shown(self) -> list[tuple[str, Interval]]:
        """What is known and not nothing, by the names of readers."""
        named = {
            "Money": self.money,
            "Energy": self.kilowatt_hours,
            "Carbon": self.carbon_grams,
        }
        return [
            (name, taken)
            for name, taken in named.items()
            if isinstance(taken, Interval) and taken.value > 0
        ]

    def to_dict(self) -> dict[str, object]:
        """The usage as JSON."""
        return {name: getattr(self, name).to_dict() for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one training costs; money in the currency of the prices.

    Attributes:
        usage: device-hours, electricity and waiting of one run.
        upfront: what was paid once, per run; 0 where the hardware is there already.
    """

    use: Use
    examples: Estimate
    seconds: Estimate
    device_hours: Estimate
    kilowatt_hours: Estimate
    carbon_grams: Estimate
    usage: Estimate
    upfront: float
    total: Estimate

    def to_dict(self) -> dict[str, object]:
        """The cost as JSON."""
        estimates: dict[str, object] = {
            name: getattr(self, name).to_dict()
            for name in self.__slots__
            if name not in {"use", "upfront"}
        }
        for name in ("steps", "step_seconds"):
            estimates[name] = getattr(self.use, name).to_dict()
        return {
            "batch_size": self.use.batch_size,
            "devices": self.use.devices,
            "watts": self.use.watts,
            "upfront": self.upfront,
        } | estimates


def cost_of(use: Use, prices: Prices) -> Cost:
    """The cost of one training: consumption per step times steps.

    The intervals of steps and of seconds per step are taken as of independent log-normals.
    """
    seconds = multiply([use.steps, use.step_seconds], unit="s")
    taken = usage_of(seconds, prices, devices=use.devices, watts=use.watts)
    once = 0.0 if use.is_present else (prices.hardware + prices.engineering) / prices.runs
    return Cost(
        use=use,
        examples=scale(use.steps, use.batch_size, unit="examples"),
        seconds=seconds,
        device_hours=taken.device_hours,
        kilowatt_hours=taken.kilowatt_hours,
        carbon_grams=taken.carbon_grams,
        usage=taken.money,
        upfront=once,
        total=shift(taken.money, once),
    )


def usage_of(
    seconds: Estimate, prices: Prices, *, devices: int = 1, watts: float | None = None
) -> Usage:
    """What so many seconds of training take.

    Args:
        watts: of each device while it trains; None where unknown.
    """
    energy: Estimate = _NO_WATTS
    if watts is not None:
        energy = scale(seconds, devices * watts / _JOULES, unit="kWh")
    carbon: Estimate = _NO_CARBON
    if watts is None or prices.grams_per_kilowatt_hour > 0:
        carbon = scale(energy, prices.grams_per_kilowatt_hour, unit="g CO2")
    money: Estimate = _NO_PRICE
    if prices.has_usage:
        price = price_per_second(prices, devices=devices, watts=watts)
        money = _NO_WATTS if price is None else scale(seconds, price, unit="")
    return Usage(
        device_hours=scale(seconds, devices / _HOUR, unit="device-hours"),
        kilowatt_hours=energy,
        carbon_grams=carbon,
        money=money,
    )


def price_per_second(prices: Prices, *, devices: int, watts: float | None) -> float | None:
    """Of a training; None where electricity is paid for and nobody knows how much it takes."""
    if watts is None and prices.kilowatt_hour > 0:
        return None
    power = 0.0 if watts is None else watts / _JOULES
    each = prices.device_hour / _HOUR + power * prices.kilowatt_hour
    return devices * each + prices.waiting_hour / _HOUR


def rank_seconds(cost: Cost) -> float:
    """Seconds to rank by; infinite where they are not known."""
    return cost.seconds.value if isinstance(cost.seconds, Interval) else math.inf


def rank_total(cost: Cost) -> float:
    """Money to rank by, or device-hours where nothing has a price; infinite where not known."""
    if isinstance(cost.total, Interval) and cost.total.value > 0:
        return cost.total.value
    return cost.device_hours.value if isinstance(cost.device_hours, Interval) else math.inf


def explain_change(small: Cost, large: Cost, prices: Prices) -> str:
    """What going from one batch size to a larger one costs and saves, in a sentence or two.

    The three cases of the Deep Learning Tuning Playbook: it fits the hardware at hand, it takes
    more devices, or something has to be bought first.
    """
    steps = _ratio(large.use.steps, small.use.steps)
    step = _ratio(large.use.step_seconds, small.use.step_seconds)
    if steps is None or step is None:
        return "Steps or seconds per step are not known at both: nothing can be said of the cost."
    size = _name_change(small.use, large.use)
    time = f"the time is {_times(steps * step)}"
    if not large.use.is_present:
        return f"{size} needs an upgrade; {time}. {_pay_back(small, large, prices)}"
    if large.use.devices > small.use.devices:
        more = large.use.devices / small.use.devices
        return (
            f"{size} takes {write_number(more)} times the devices for {_times(steps)} the steps: "
            f"{time}, the device-hours are {_times(steps * step * more)}."
        )
    extra = step - 1
    if extra <= _LITTLE:
        fits = "fits the hardware at hand at little extra time per step"
    else:
        fits = f"fits the hardware at hand at {write_number(100 * extra)}% more time per step"
    return (
        f"{size} {fits} and takes {_times(steps)} the steps: {time}, {_tell_usage(small, large)}."
    )


def _name_change(small: Use, large: Use) -> str:
    if small.devices == large.devices:
        return f"A batch of {large.batch_size:,} instead of {small.batch_size:,}"
    before = "" if small.batch_size == large.batch_size else f"{small.batch_size:,} on "
    return (
        f"A batch of {large.batch_size:,} on {large.devices} devices instead of {before}"
        f"{small.devices}"
    )


def _tell_usage(small: Cost, large: Cost) -> str:
    if small.use.watts == large.use.watts:
        return "and so is the usage"
    told = [
        f"the {name} {_times(ratio)}"
        for name, ratio in (
            ("energy", _ratio(large.kilowatt_hours, small.kilowatt_hours)),
            ("money", _ratio(large.usage, small.usage)),
        )
        if ratio is not None
    ]
    return ", ".join(told)


def break_even_runs(small: Cost, large: Cost, prices: Prices) -> float:
    """Runs after which what is paid once is saved; infinite where usage does not fall.

    Raises:
        InvalidInput: the usage of one of them is not known.
    """
    if not isinstance(small.usage, Interval) or not isinstance(large.usage, Interval):
        raise InvalidInput(
            "the usage of a batch size is not known",
            where="break_even_runs",
            expected="steps and seconds per step of both",
            do="measure them",
        )
    saved = small.usage.value - large.usage.value
    return (prices.hardware + prices.engineering) / saved if saved > 0 else math.inf


def _ratio(large: Estimate, small: Estimate) -> float | None:
    if isinstance(large, NotIdentified) or isinstance(small, NotIdentified):
        return None
    return large.value / small.value if small.value else None


def _times(ratio: float) -> str:
    return f"{write_number(ratio)} times"


def _pay_back(small: Cost, large: Cost, prices: Prices) -> str:
    if prices.hardware + prices.engineering == 0:
        return "Whether it pays back is not known: it has no price (--hardware, --engineering)."
    for cost in (small, large):
        if isinstance(cost.usage, NotIdentified):
            return f"Whether it pays back is not known: {cost.usage.reason} ({cost.usage.remedy})."
    runs = break_even_runs(small, large, prices)
    if math.isinf(runs):
        return "It never pays back: the usage of a run does not fall."
    planned = f"{prices.runs:,} {'run is' if prices.runs == 1 else 'runs are'} planned"
    whole = max(1, math.ceil(runs))
    after = f"after {whole:,} run{'' if whole == 1 else 's'}"
    if whole <= prices.runs:
        return f"It pays back {after}, and {planned}."
    return f"It does not pay back: it would {after}, and {planned}."
