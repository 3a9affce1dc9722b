"""On which device a training fits, how long it takes there, and which is the cheapest."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from batchscope.decisions.cost import Prices, Usage, usage_of
from batchscope.decisions.hardware.roofline import StepGuess
from batchscope.decisions.hardware.table import Device
from batchscope.decisions.limits import chance_within
from batchscope.decisions.memory import MemoryNeed
from batchscope.decisions.terms import Limit
from batchscope.estimate import (
    Estimate,
    Interval,
    NotIdentified,
    multiply,
    scale,
    write_number,
)

# Of a device's memory: what its driver, the allocator and libraries take besides tensors.
_RESERVE = 0.1
# Of the seconds: what no guess tells apart.
_EQUAL = 0.05
_NO_PRICE = NotIdentified(reason="the device has no price", remedy="--price NAME=AMOUNT")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMemory:
    """What the tensors of a training step take, in bytes: without examples, and for each.

    Attributes:
        can_split: whether accumulating over parts of a batch is the same as the whole.
    """

    fixed: float
    per_example: float
    can_split: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDevice:
    """One training on a device, at the batch size that is the fastest there.

    Attributes:
        refusal: why it cannot be trained there, and nothing else is said; None where it can.
        micro_batch, accumulation: within the device's memory.
        is_measured: whether a step was timed there; a guess otherwise.
        seconds: of the training.
        usage: device-hours, energy at full power, money where the device has a price.
        chance: that the training keeps to the deadline; None without one.
    """

    device: str
    refusal: str | None = None
    batch_size: int | None = None
    micro_batch: int | None = None
    accumulation: int | None = None
    is_measured: bool = False
    step_seconds: Estimate | None = None
    seconds: Estimate | None = None
    usage: Usage | None = None
    chance: float | None = None

    def to_dict(self) -> dict[str, object]:
        """The device as JSON."""
        named = {"step_seconds": self.step_seconds, "seconds": self.seconds}
        return {
            "device": self.device,
            "fits": self.refusal is None,
            "refusal": self.refusal,
            "batch_size": self.batch_size,
            "micro_batch": self.micro_batch,
            "accumulation": self.accumulation,
            "source": "one timing there" if self.is_measured else "a guess by its roofline",
            **{name: None if x is None else x.to_dict() for name, x in named.items()},
            "usage": None if self.usage is None else self.usage.to_dict(),
            "meets_deadline": self.chance,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceComparison:
    """A training on each device of a table.

    Attributes:
        goal: what is trained to, in words.
        devices: the fastest first, those that it does not fit last.
        cheapest: of those expected to keep to the deadline; None where none does, or where those
            that do have no price.
        sentences: what follows, in words.
    """

    task: str
    precision: str
    goal: str
    deadline: float | None
    devices: tuple[OnDevice, ...]
    cheapest: str | None
    fastest: str | None
    sentences: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """The comparison as JSON."""
        return {
            "task": self.task,
            "precision": self.precision,
            "goal": self.goal,
            "deadline": self.deadline,
            "devices": [one.to_dict() for one in self.devices],
            "cheapest": self.cheapest,
            "fastest": self.fastest,
            "sentences": list(self.sentences),
        }

    def __repr__(self) -> str:
        return f"Devices for {self.task}: {' '.join(self.sentences)}"


def compare_devices(
    devices: Sequence[Device],
    guess: StepGuess,
    *,
    task: str,
    goal: str,
    steps: Mapping[int, Estimate],
    memory: StepMemory,
    precision: str,
    prices: Prices,
    deadline: float | None,
) -> DeviceComparison:
    """Take the fastest batch size of each device, and of the devices the cheapest in time.

    Args:
        steps: batch size -> steps of the training.
        prices: of electricity and its carbon; the devices have their own.
        deadline: in seconds; None for none.
    """
    found = [
        _train_on(device, guess, steps, memory, precision, prices, deadline) for device in devices
    ]
    ordered = sorted(found, key=_seconds)
    known = [one for one in ordered if math.isfinite(_seconds(one))]
    in_time = [one for one in known if deadline is None or _seconds(one) <= deadline]
    priced = [one for one in in_time if math.isfinite(_money(one))]
    cheapest = min(priced, key=_money, default=None)
    return DeviceComparison(
        task=task,
        precision=precision,
        goal=goal,
        deadline=deadline,
        devices=tuple(ordered),
        cheapest=None if cheapest is None else cheapest.device,
        fastest=known[0].device if known else None,
        sentences=tuple(_say(known, in_time, priced, cheapest, goal=goal, deadline=deadline)),
    )


def _train_on(
    device: Device,
    guess: StepGuess,
    steps: Mapping[int, Estimate],
    memory: StepMemory,
    precision: str,
    prices: Prices,
    deadline: float | None,
) -> OnDevice:
    if precision not in device.arithmetic:
        return _refuse(device, f"no {precision} arithmetic")
    need = _need_on(device, memory, max(steps))
    if need.at_most < 1:
        least = write_number((memory.fixed + memory.per_example) / 1e9)
        return _refuse(device, f"one example needs {least} GB")
    sizes = [size for size in steps if memory.can_split or size <= need.at_most]
    if not sizes:
        return _refuse(device, f"{need.at_most} examples fit, and a batch cannot be split")
    tried = [_at_size(device, guess, size, steps[size], need) for size in sizes]
    best = min(tried, key=_seconds)
    assert best.seconds is not None
    chance = None
    if deadline is not None and isinstance(best.seconds, Interval):
        chance = chance_within(best.seconds, Limit(seconds=deadline, words=""))
    return replace(best, usage=_use(device, best.seconds, prices), chance=chance)


def _at_size(
    device: Device, guess: StepGuess, size: int, steps: Estimate, need: MemoryNeed
) -> OnDevice:
    micro_batch, parts = need.split(size)
    each = guess.predict(device, micro_batch, parts)
    return OnDevice(
        device=device.name,
        batch_size=size,
        micro_batch=micro_batch,
        accumulation=parts,
        is_measured=guess.is_measured(device),
        step_seconds=each,
        seconds=multiply([steps, each], unit="s"),
    )


def _need_on(device: Device, memory: StepMemory, largest: int) -> MemoryNeed:
    room = (1 - _RESERVE) * device.memory - memory.fixed
    at_most = largest if memory.per_example <= 0 else int(room / memory.per_example)
    return MemoryNeed(
        limit_bytes=round((1 - _RESERVE) * device.memory),
        fixed_bytes=round(memory.fixed),
        bytes_per_example=memory.per_example,
        at_most=min(largest, at_most) if room > 0 else 0,
        can_split=memory.can_split,
    )


def _use(device: Device, seconds: Estimate, prices: Prices) -> Usage:
    """What the training takes at the device's full power and its price."""
    own = replace(prices, device_hour=device.device_hour or 0.0)
    usage = usage_of(seconds, own, watts=device.watts)
    if device.device_hour is None:
        return replace(usage, money=_NO_PRICE)
    # A device for nothing has a price as well.
    return usage if own.has_usage else replace(usage, money=scale(seconds, 0.0, unit=""))


def _refuse(device: Device, why: str) -> OnDevice:
    return OnDevice(device=device.name, refusal=why)


def _say(
    known: Sequence[OnDevice],
    in_time: Sequence[OnDevice],
    priced: Sequence[OnDevice],
    cheapest: OnDevice | None,
    *,
    goal: str,
    deadline: float | None,
) -> list[str]:
    if not known:
        return [f"None of the devices is known to get {goal}."]
    said = [_name_fastest(known, goal)]
    if deadline is not None and not in_time:
        return [f"None is expected to keep to the deadline of {write_number(deadline)} s.", *said]
    if cheapest is not None:
        assert cheapest.usage is not None
        sure = "" if cheapest.chance is None else f", with a probability of {cheapest.chance:.0%}"
        money = f"{cheapest.usage.money} in money"
        first = _name_cheapest(cheapest.device, len(priced), len(in_time), deadline)
        said.insert(0, f"{first}: {_write(cheapest)}, {money}{sure}.")
    else:
        said.append("What it costs is not known: give prices with --price NAME=AMOUNT.")
    if not all(one.is_measured for one in known):
        said.append(
            "Without a timing these are guesses, from what a step computes and moves; one step "
            "timed on a device narrows them: --measured NAME:BATCH_SIZE:SECONDS."
        )
    return said


def _name_cheapest(device: str, priced: int, in_time: int, deadline: float | None) -> str:
    within = "" if deadline is None else f" to {write_number(deadline)} s"
    if priced == 1 < in_time:
        return f"{f'Of those that keep{within} only' if within else 'Only'} {device} has a price"
    of = "" if priced == in_time else f" of the {priced} that have a price"
    return f"{device} is the cheapest{of}{f' that keeps{within}' if within else ''}"


def _write(one: OnDevice) -> str:
    split = "" if one.accumulation == 1 else f" in {one.accumulation} parts of {one.micro_batch}"
    return f"batch size {one.batch_size}{split}, {one.seconds}"


def _name_fastest(known: Sequence[OnDevice], goal: str) -> str:
    """With those that are hardly slower, as where starting kernels binds."""
    most = (1 + _EQUAL) * _seconds(known[0])
    others = [one.device for one in known[1:] if _seconds(one) <= most]
    if len(others) == len(known) - 1 > 1:
        return f"All devices are about as fast {goal}: {_write(known[0])}."
    equals = f"; hardly slower: {', '.join(others)}" if others else ""
    return f"{known[0].device} is the fastest {goal}: {_write(known[0])}{equals}."


def _seconds(one: OnDevice) -> float:
    return one.seconds.value if isinstance(one.seconds, Interval) else math.inf


def _money(one: OnDevice) -> float:
    money = None if one.usage is None else one.usage.money
    return money.value if isinstance(money, Interval) else math.inf
