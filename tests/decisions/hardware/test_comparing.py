from dataclasses import replace

import pytest

from batchscope.decisions.cost import Prices
from batchscope.decisions.hardware.comparing import (
    DeviceComparison,
    StepMemory,
    compare_devices,
)
from batchscope.decisions.hardware.roofline import StepGuess, Timing
from batchscope.decisions.hardware.table import Device
from batchscope.estimate import Estimate, Interval

from .test_roofline import demand, device

SLOW = replace(device("SLOW"), device_hour=1.0, watts=100.0)
FAST = replace(device("FAST", arithmetic=8e12), device_hour=20.0, watts=700.0)
SMALL = replace(device("SMALL"), memory=1e9)


def known(steps: float) -> Estimate:
    return Interval(value=steps, low=steps, high=steps, unit="steps")


def compare(
    *devices: Device,
    deadline: float | None = None,
    per_example: float = 1e6,
    can_split: bool = True,
    kilowatt_hour: float = 0.3,
) -> DeviceComparison:
    # A step of 64 takes 0.128 s on SLOW, an eighth on FAST, timed on both.
    timings = [
        Timing(device=d.name, batch_size=64, seconds=2 * demand(64).floor(d, "float32"))
        for d in devices
    ]
    return compare_devices(
        devices,
        StepGuess(demand, devices, "float32", timings),
        task="t",
        goal="to error<=0.1",
        steps={64: known(1000)},
        memory=StepMemory(fixed=5e8, per_example=per_example, can_split=can_split),
        precision="float32",
        prices=Prices(kilowatt_hour=kilowatt_hour),
        deadline=deadline,
    )


def test_the_cheapest_is_the_slow_one_until_the_deadline_excludes_it() -> None:
    # 129 s at 1 an hour, or 17 s at 20: 0.036 against 0.096 and a little power.
    free, pressed = compare(SLOW, FAST), compare(SLOW, FAST, deadline=60)

    assert (free.fastest, free.cheapest) == ("FAST", "SLOW")
    assert pressed.cheapest == "FAST"
    assert pressed.devices[0].chance == pytest.approx(1, abs=1e-6)
    assert pressed.devices[1].chance == pytest.approx(0, abs=1e-6)


def test_a_deadline_that_none_keeps_to_is_said() -> None:
    found = compare(SLOW, FAST, deadline=1)

    assert found.cheapest is None
    assert "None is expected to keep to the deadline" in found.sentences[0]


def test_a_batch_is_split_where_it_does_not_fit_and_refused_where_it_cannot_be() -> None:
    # 0.9 GB less half of one hold 39 examples of 10 MB.
    split = compare(SMALL, per_example=1e7)
    whole = compare(SMALL, per_example=1e7, can_split=False)

    assert (split.devices[0].micro_batch, split.devices[0].accumulation) == (32, 2)
    assert whole.devices[0].refusal == "40 examples fit, and a batch cannot be split"
    assert whole.fastest is None


def test_a_device_that_one_example_does_not_fit_says_what_it_needs() -> None:
    found = compare(SMALL, per_example=1e9)

    assert found.devices[0].refusal == "one example needs 1.50 GB"


def test_a_device_without_the_precision_is_left_out() -> None:
    old = replace(device("OLD"), arithmetic={"fp16": 1e12})

    found = compare_devices(
        [old],
        StepGuess(demand, [old], "bf16", []),
        task="t",
        goal="through one epoch",
        steps={64: known(1000)},
        memory=StepMemory(fixed=0, per_example=1, can_split=True),
        precision="bf16",
        prices=Prices(),
        deadline=None,
    )

    assert found.devices[0].refusal == "no bf16 arithmetic"


def test_a_device_without_a_price_costs_what_nobody_knows() -> None:
    found = compare(replace(SLOW, device_hour=None))

    assert found.cheapest is None
    assert any("give prices" in sentence for sentence in found.sentences)


def test_a_device_for_nothing_costs_nothing_which_is_known() -> None:
    found = compare(replace(SLOW, device_hour=0.0), FAST, kilowatt_hour=0.0)

    assert found.cheapest == "SLOW"
    by_name = {one.device: one.usage for one in found.devices}
    slow = by_name["SLOW"]
    assert slow is not None
    assert isinstance(slow.money, Interval)
    assert (slow.money.low, slow.money.value, slow.money.high) == (0.0, 0.0, 0.0)
