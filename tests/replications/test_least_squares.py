import math
from pathlib import Path

import numpy as np
import pytest
import torch

from batchscope.replications import least_squares
from batchscope.replications.lab import ANYTHING
from batchscope.replications.least_squares import (
    DIMENSIONS,
    HALF_LIVES,
    MIDDLE,
    NOISY,
    curvatures,
    least_steps,
    make_task,
    read_draw,
    read_half_lives,
    steps_averaged,
    steps_cosine,
)
from batchscope.replications.least_squares import (
    LEVEL as SHARE,
)
from batchscope.replications.studies import critical_batch

from .labs import make_lab

H = np.arange(1, 21, dtype=float) ** -2
START = np.ones(20)
LEVEL = 0.05


def loss_of(weights: np.ndarray) -> float:
    return float(0.5 * (H * weights**2).sum(-1).mean())


def test_without_memory_the_average_is_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(least_squares, "_RATES", np.geomspace(1e-4, 0.99, 200))

    # The other search knows fractions of a step.
    assert steps_averaged(16, H, START, LEVEL, np.array([1e-3])) == pytest.approx(
        [least_steps(16, H, START, LEVEL)], abs=1.1
    )


def test_the_expected_loss_of_the_average_is_that_of_simulated_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rate, half_life, batch = 0.3, 8.0, 4
    monkeypatch.setattr(least_squares, "_RATES", np.array([rate / 2]))
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


def test_the_half_life_is_the_best_on_the_draws_that_it_is_chosen_by(tmp_path: Path) -> None:
    lab = make_lab(tmp_path)
    task = make_task(curvatures(MIDDLE, is_flat=False))

    chosen = critical_batch._choose_half_life(lab, task)

    h = curvatures(MIDDLE, is_flat=False)
    logs = []
    for seed in lab.pilot:
        draw = np.square(np.random.default_rng(seed).standard_normal(max(DIMENSIONS)))[:MIDDLE]
        level = SHARE * 0.5 * float((h * draw).sum())
        logs.append(np.log(steps_averaged(NOISY, h, draw, level, HALF_LIVES)))
    assert chosen == HALF_LIVES[int(np.argmin(np.sum(logs, axis=0)))]
    assert 1 < chosen < HALF_LIVES[-1]


def test_what_does_not_get_there_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(least_squares, "_MOST_AVERAGED", 1)
    monkeypatch.setattr(least_squares, "_MOST_STEPS", 1)
    task = make_task(H)

    found = read_draw(task, 0, False, 8.0, report=print)

    assert found == {"points": [None] * len(DIMENSIONS), "schedules": None}
    assert read_half_lives(task, 0, False, report=print) == [None] * len(HALF_LIVES)
    assert critical_batch._rise_with_data(found) == ANYTHING
    assert critical_batch._rise_with_size(found) == ANYTHING


def test_the_task_has_the_curvatures_and_the_noise_of_the_exact_loss() -> None:
    task = make_task(H)
    model = task.model()

    def gradient(rows: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(task.loss(model, (rows,)), model.weights)[0]

    (noise,) = task.datasets["train"].tensors
    slopes = torch.stack([gradient(row[None]) for row in noise])
    expected = torch.from_numpy(H).float() * model.weights.detach()

    # Of 256 draws: four standard errors of a mean, and of a variance.
    assert ((slopes.mean(0) - expected).abs() < 4 * torch.from_numpy(H).sqrt() / 16).all()
    ratio = slopes.var(0) / torch.from_numpy(H)
    assert ((ratio - 1).abs() < 4 * (2 / 255) ** 0.5).all()
