import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from batchscope.decisions.hardware.roofline import StepDemand, StepGuess, Timing
from batchscope.decisions.hardware.table import Device


def device(name: str, *, arithmetic: float = 1e12, bandwidth: float = 1e11) -> Device:
    return Device(
        name=name,
        reported_as=None,
        memory=16e9,
        arithmetic={"float32": arithmetic},
        bandwidth=bandwidth,
        watts=None,
        device_hour=None,
    )


def demand(examples: int) -> StepDemand:
    """10^9 operations and 10^6 bytes an example, so that arithmetic bounds it."""
    return StepDemand(
        examples=examples,
        products=1e9 * examples,
        convolutions=0.0,
        bytes_moved=1e6 * examples,
        kernels=100,
        update_bytes=1e7,
    )


A, B = device("A"), device("B", arithmetic=4e12)


def test_the_floor_is_what_binds_of_arithmetic_traffic_and_launches() -> None:
    one = demand(100)

    # 0.1 s of arithmetic, 1 ms of traffic; the update takes 0.1 ms.
    assert one.floor(A, "float32") == pytest.approx(0.1 + 1e-4)
    assert one.floor(device("slow", bandwidth=1e8), "float32") == pytest.approx(1.0 + 0.1)
    assert demand(1).floor(device("huge", arithmetic=1e16), "float32") == pytest.approx(6e-4)
    assert one.floor(A, "float32", parts=3) == pytest.approx(0.3 + 1e-4)


def test_float32_convolutions_may_use_tf32_where_a_device_has_it() -> None:
    step = replace(demand(100), products=5e10, convolutions=5e10)
    ampere = replace(A, arithmetic={"float32": 1e12, "tf32": 8e12, "bf16": 16e12})

    assert step.floor(A, "float32") == pytest.approx(0.1 + 1e-4)
    assert step.floor(ampere, "float32") == pytest.approx(0.05 + 0.05 / 8 + 1e-4)
    assert step.floor(ampere, "bf16") == pytest.approx(0.1 / 16 + 1e-4)


def test_without_a_timing_a_step_takes_one_to_ten_times_its_floor() -> None:
    guess = StepGuess(demand, [A, B], "float32", []).predict(A, 100, 1)

    floor = demand(100).floor(A, "float32")
    # The two deviations together make 0.583, of which 1.96 are half of log 10 to one percent.
    assert guess.low == pytest.approx(floor, rel=0.02)
    assert guess.high == pytest.approx(10 * floor, rel=0.02)


def test_a_timing_is_repeated_where_it_was_taken_and_narrows_the_other_devices() -> None:
    floor = demand(100).floor(A, "float32")
    blind = StepGuess(demand, [A, B], "float32", [])
    timed = StepGuess(demand, [A, B], "float32", [Timing(device="A", batch_size=100, seconds=1.0)])

    here, there = timed.predict(A, 100, 1), timed.predict(B, 100, 1)

    assert here.value == pytest.approx(1.0)
    assert here.high / here.low < 1.25
    wide = blind.predict(B, 100, 1)
    assert there.high / there.low < 0.7 * wide.high / wide.low
    # A step of ten times its floor on A makes B's more likely slower than foreseen.
    assert floor < 0.11
    assert there.value > wide.value


def test_far_from_the_size_that_was_timed_the_interval_is_wider() -> None:
    timed = StepGuess(demand, [A], "float32", [Timing(device="A", batch_size=100, seconds=0.3)])

    near, far = timed.predict(A, 100, 1), timed.predict(A, 1600, 1)

    # A tenth for each of four doublings, and a twentieth of the timing.
    z = NormalDist().inv_cdf(0.975)
    assert math.log(far.high / far.value) == pytest.approx(z * math.hypot(0.05, 0.4))
    assert math.log(near.high / near.value) == pytest.approx(z * 0.05)


def test_intervals_cover_devices_and_tasks_drawn_as_they_are_taken_to_be(
    rng: np.random.Generator,
) -> None:
    covered = 0
    devices = [A, B, device("C", arithmetic=2e12)]
    for _ in range(1000):
        task = math.log(10) / 2 + 0.5 * rng.standard_normal()
        seconds = {
            d.name: demand(64).floor(d, "float32") * math.exp(task + 0.3 * rng.standard_normal())
            for d in devices
        }
        timings = [Timing(device=n, batch_size=64, seconds=seconds[n]) for n in ("A", "B")]
        found = StepGuess(demand, devices, "float32", timings).predict(devices[2], 64, 1)
        covered += found.low <= seconds["C"] <= found.high
    # 95% of 1,000, with two and a half standard errors.
    assert 932 <= covered <= 968
