import math
from collections.abc import Sequence

import numpy as np
import pytest

from batchscope.estimate import Interval, NotIdentified
from batchscope.instruments.speed.foreseeing import foresee_slowdown, foresee_step_seconds
from batchscope.records import StepTime

SIZES = [8, 16, 32, 64, 128, 256, 512]
NOISE = 0.03


def timed(
    knee: float, rng: np.random.Generator, *, sizes: Sequence[int] = SIZES, noise: float = NOISE
) -> list[StepTime]:
    """Steps of 1 ms (1 + B / knee), each size off by its own noise."""
    return [
        StepTime(
            batch_size=size,
            seconds=tuple(
                1e-3
                * (1 + size / knee)
                * np.exp(noise * rng.standard_normal() + 0.02 * rng.standard_normal(21))
            ),
        )
        for size in sizes
    ]


@pytest.mark.parametrize("size", [48, 1024, 2048])
def test_the_interval_of_a_size_that_was_not_timed_covers_its_timing(size: int) -> None:
    inside, widths = 0, []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        knee = 2 ** rng.uniform(3, 9)
        found = foresee_step_seconds(timed(knee, rng), [size]).by_size[size]
        true = 1e-3 * (1 + size / knee) * math.exp(NOISE * rng.standard_normal())
        assert isinstance(found, Interval)
        inside += found.low <= true <= found.high
        widths.append(found.high / found.low)

    # 90% of 60, less three standard errors.
    assert inside >= 47
    # What is right by being wide says nothing: a noise of 3% at t of four degrees of freedom is
    # 1.14 between the sizes, and grows by half the noise per doubling and more outside.
    assert np.median(widths) < {48: 1.3, 1024: 1.6, 2048: 2.0}[size]


def test_intervals_widen_with_the_distance(rng: np.random.Generator) -> None:
    found = foresee_step_seconds(timed(64, rng), [384, 1024, 4096]).by_size
    widths = [e.high / e.low for e in found.values() if isinstance(e, Interval)]

    assert len(widths) == 3
    assert widths == sorted(widths)


def test_each_timed_size_is_predicted_from_the_others(rng: np.random.Generator) -> None:
    found = foresee_step_seconds(timed(64, rng, noise=0.0), [48])

    assert [one.batch_size for one in found.left_out] == SIZES
    # Medians of 21 steps with a noise of 2% are off by 0.5%; outermost sizes by more.
    assert found.error is not None
    assert found.error < 0.02


def test_four_timed_sizes_are_too_few(rng: np.random.Generator) -> None:
    found = foresee_step_seconds(timed(64, rng, sizes=SIZES[:4]), [48])

    assert isinstance(found.by_size[48], NotIdentified)
    assert found.error is None


def test_behind_a_jump_nothing_is_predicted(rng: np.random.Generator) -> None:
    slow = [
        StepTime(batch_size=size, seconds=tuple(3 * s for s in step.seconds))
        for size in (1024, 2048)
        for step in timed(64, rng, sizes=[size])
    ]
    found = foresee_step_seconds([*timed(64, rng), *slow], [48, 4096]).by_size

    assert isinstance(found[48], Interval)
    refused = found[4096]
    assert isinstance(refused, NotIdentified)
    assert "jump from batch size 512 to 1024" in refused.reason


def test_where_steps_do_not_take_longer_yet_nothing_is_said_of_larger_batches(
    rng: np.random.Generator,
) -> None:
    """A device that is full from 600 examples on, timed up to 512."""
    flat = [
        StepTime(batch_size=size, seconds=tuple(5e-3 * np.exp(0.01 * rng.standard_normal(21))))
        for size in SIZES
    ]
    found = foresee_step_seconds(flat, [48, 1024]).by_size

    inside = found[48]
    assert isinstance(inside, Interval)
    assert inside.high / inside.low < 1.2
    beyond = found[1024]
    assert isinstance(beyond, NotIdentified)
    assert "do not take longer yet" in beyond.reason


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_an_accumulated_step_takes_what_its_parts_do(rng: np.random.Generator, parts: int) -> None:
    part = math.ceil(512 / parts)

    found = foresee_slowdown(timed(64, rng, noise=0.0), 512, part=part, parts=parts)

    # What each part takes besides its examples comes once for each; medians are off by 0.5%.
    true = parts * (1 + part / 64) / (1 + 512 / 64)
    assert isinstance(found, Interval)
    assert found.value == pytest.approx(true, rel=0.03)
    assert found.low <= true <= found.high


def test_of_few_timed_sizes_only_a_part_that_was_timed_tells(rng: np.random.Generator) -> None:
    few = timed(64, rng, sizes=SIZES[:3])

    assert isinstance(foresee_slowdown(few, 32, part=16, parts=2), Interval)
    unknown = foresee_slowdown(few, 32, part=11, parts=3)
    assert isinstance(unknown, NotIdentified)
    assert (unknown.low, unknown.high) == (1.0, 3.0)
