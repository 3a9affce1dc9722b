import numpy as np
import pytest

from batchscope.instruments.noise.portions import Portions

STEP_SECONDS = 0.001
SHARE = 0.016


def run(
    steps: int, rng: np.random.Generator, *, fixed: float = 0.0006, hiccup: float = 0.0
) -> tuple[list[int], list[int], float]:
    """Sizes, their steps, and the share that measuring took of a run of these steps."""
    portions = Portions(share=SHARE, count=9, calls=3, step_size=32, largest=10_000)
    sizes, places, spent = [], [], 0.0
    for step in range(steps):
        known = 0 if step < 40 else steps
        if not portions.is_due(step, steps=known):
            continue
        size = portions.take(step, run_seconds=steps * STEP_SECONDS, step_seconds=STEP_SECONDS)
        if size is None:
            continue
        # A gradient is two thirds of a step; at times the machine does something else beside it.
        seconds = 3 * (fixed + size / 32 * STEP_SECONDS * 2 / 3)
        seconds *= 1 + (1 if rng.random() < hiccup else 0) + 0.1 * rng.random()
        portions.charge(seconds)
        sizes.append(size)
        places.append(step)
        spent += seconds
    return sizes, places, spent / (steps * STEP_SECONDS)


def test_nine_measurements_of_like_size_fill_the_share_and_no_more(
    rng: np.random.Generator,
) -> None:
    sizes, places, share = run(4_000, rng)

    assert len(sizes) == 9
    assert 0.8 * SHARE <= share <= 1.05 * SHARE
    assert max(sizes[1:]) <= 2 * min(sizes[1:])
    assert np.diff(places) == pytest.approx(440, abs=2)


def test_a_longer_run_affords_larger_measurements_and_no_more_of_them(
    rng: np.random.Generator,
) -> None:
    short, _, _ = run(4_000, rng)
    long, _, share = run(40_000, rng)

    assert len(long) == 9
    assert np.median(long) > 5 * np.median(short)
    assert share <= 1.05 * SHARE


def test_what_disturbs_the_machine_costs_sizes_before_it_costs_measurements() -> None:
    counts, shares = [], []
    for seed in range(50):
        sizes, _, share = run(4_000, np.random.default_rng(seed), hiccup=0.2)
        counts.append(len(sizes))
        shares.append(share)

    assert np.mean([count >= 8 for count in counts]) > 0.9
    assert np.median(shares) <= 1.1 * SHARE


def test_a_run_too_short_for_one_measurement_is_left_alone(rng: np.random.Generator) -> None:
    sizes, _, share = run(60, rng)

    assert sizes == []
    assert share == 0
