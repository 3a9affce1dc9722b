import math

import numpy as np
import pytest

from batchscope.replications.studies import critical_batch
from batchscope.replications.studies.critical_batch import (
    choose_half_life,
    least_steps,
    steps_averaged,
    steps_cosine,
)

H = np.arange(1, 21, dtype=float) ** -2
START = np.ones(20)
LEVEL = 0.05


def loss_of(weights: np.ndarray) -> float:
    return float(0.5 * (H * weights**2).sum(-1).mean())


def test_without_memory_the_average_is_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(critical_batch, "_RATES", np.geomspace(1e-4, 0.99, 200))

    # The other search knows fractions of a step.
    assert steps_averaged(16, H, START, LEVEL, np.array([1e-3])) == pytest.approx(
        [least_steps(16, H, START, LEVEL)], abs=1.1
    )


def test_the_expected_loss_of_the_average_is_that_of_simulated_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rate, half_life, batch = 0.3, 8.0, 4
    monkeypatch.setattr(critical_batch, "_RATES", np.array([rate / 2]))
    steps = int(steps_averaged(batch, H, START, LEVEL, np.array([half_life]))[0])
    rng, forgets = np.random.default_rng(0), 2 ** (-1 / half_life)

    weights = np.broadcast_to(np.sqrt(START), (20_000, 20))
    average, losses = weights, []
    for _ in range(steps):
        noise = rng.standard_normal(weights.shape) * np.sqrt(H / batch)
        weights = weights - rate * (H * weights + noise)
        average = forgets * average + (1 - forgets) * weights
        losses.append(loss_of(average))

    # The step is the first at the level: it lies between the simulated losses about it, which
    # have a standard error of half a percent.
    assert losses[-1] <= 1.01 * LEVEL
    assert losses[-2] >= 0.99 * LEVEL


def test_a_cosine_whose_rate_falls_to_nothing_beats_a_constant_rate_in_noise() -> None:
    cosine, constant = (find(4, H, START, LEVEL) for find in (steps_cosine, least_steps))

    assert 1 < cosine < constant
    assert math.isinf(steps_cosine(4, H, START, -1.0))


def test_the_half_life_is_the_best_on_the_draws_that_it_is_chosen_by() -> None:
    lives = critical_batch._HALF_LIVES
    draws = [np.square(np.random.default_rng(seed).standard_normal(20)) for seed in (0, 1)]

    chosen = choose_half_life(draws, H)

    steps = [
        steps_averaged(16, H, draw, 0.06 * float(0.5 * (H * draw).sum()), lives) for draw in draws
    ]
    assert chosen == lives[int(np.argmin(np.log(steps).sum(axis=0)))]
    assert 1 < chosen < lives[-1]
