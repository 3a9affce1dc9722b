import numpy as np
import pytest
import torch

from batchscope.estimate import NotIdentified
from batchscope.instruments.noise.moments import (
    MomentSamples,
    jackknife_weighted_moments,
    separate_weighted_moments,
)
from batchscope.instruments.noise.reading import MeasuredStep, optimizer_memory, read_blocks

TRUTH = 200.0


def simulate(
    rng: np.random.Generator, *, steps: int, weights: list[float], pooled: bool
) -> list[MeasuredStep]:
    """Gradients that shrink fortyfold along the way, at one noise scale."""
    measured = []
    counts = np.array(weights)
    for place in range(steps):
        step = 50 + 400 * place
        trace = 10 * step**-0.7
        mean = np.full(20, np.sqrt(trace / TRUTH / 20))
        scatter = rng.standard_normal((len(counts), 20)) * np.sqrt(trace / 20)
        gradients = mean + scatter / np.sqrt(counts)[:, None]
        products = gradients @ gradients.T
        if pooled:
            samples = jackknife_weighted_moments(products, weights=counts)
        else:
            share = counts / counts.sum()
            noise, signal = separate_weighted_moments(
                np.diag(products), float(share @ products @ share), weights=counts
            )
            samples = MomentSamples(noise=np.array([noise]), signal=np.array([signal]))
        measured.append(MeasuredStep(step=step, samples=samples, weight=float(counts.sum())))
    return measured


@pytest.mark.parametrize(
    ("steps", "weights", "pooled"),
    [
        (8, [32.0, 80.0, 80.0, 80.0], True),
        (20, [32.0, 120.0, 120.0, 120.0], True),
        (160, [64.0, 64.0, 64.0, 64.0], False),
    ],
)
def test_intervals_cover_along_a_training_whose_gradients_shrink(
    rng: np.random.Generator, steps: int, weights: list[float], pooled: bool
) -> None:
    covered = 0
    for _ in range(600):
        answer = read_blocks(
            simulate(rng, steps=steps, weights=weights, pooled=pooled), memory=10, unit="images"
        )[0]
        covered += (answer.low or 0) <= TRUTH <= (answer.high or np.inf)

    # A jackknife of four gradients errs on the wide side.
    assert covered / 600 >= 0.925


def test_fewer_than_eight_blocks_give_no_number(rng: np.random.Generator) -> None:
    few = simulate(rng, steps=7, weights=[32.0] * 4, pooled=True)

    answer, _, _, blocks = read_blocks(few, memory=10, unit="images")

    assert isinstance(answer, NotIdentified)
    assert blocks == 7


def test_an_unresolved_signal_gives_a_bound(rng: np.random.Generator) -> None:
    weak = simulate(rng, steps=10, weights=[2.0] * 4, pooled=True)

    answer = read_blocks(weak, memory=10, unit="images")[0]

    assert isinstance(answer, NotIdentified)
    assert answer.low is None or answer.low < TRUTH


def test_blocks_are_longer_than_the_optimizer_remembers(rng: np.random.Generator) -> None:
    measured = simulate(rng, steps=20, weights=[64.0] * 4, pooled=True)

    _, _, _, blocks = read_blocks(measured, memory=800, unit="images")

    assert blocks == (50 + 400 * 19 - 50 + 1) // 800


def test_the_memory_of_an_optimizer_is_that_of_its_momentum_or_first_average() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))

    assert optimizer_memory(torch.optim.SGD([weight], lr=1)) == 1
    assert optimizer_memory(torch.optim.Adam([weight], lr=1, betas=(0.95, 0.999))) == (
        pytest.approx(20)
    )
