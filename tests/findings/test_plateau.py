import math

import numpy as np
import pytest

from batchscope.findings.plateau import find_plateau, pooled_deviation


def draw(
    rng: np.random.Generator, means: list[float], *, seeds: int, noise: float
) -> dict[int, dict[int, float]]:
    """Values with an effect of the seed that all sizes share."""
    effects = rng.normal(0, 0.3, size=seeds)
    return {
        2**place: {s: mean + effects[s] + rng.normal(0, noise) for s in range(seeds)}
        for place, mean in enumerate(means)
    }


def test_sizes_within_the_margin_are_found_and_others_are_not(rng: np.random.Generator) -> None:
    values = draw(rng, [0.0, 0.05, 0.0, 1.0], seeds=5, noise=0.02)

    plateau = find_plateau(values, margin=0.2)

    assert plateau is not None
    assert plateau.batch_sizes == (1, 2, 4)


def test_a_size_at_the_margin_is_called_equivalent_in_at_most_5_percent(
    rng: np.random.Generator,
) -> None:
    # Nine sizes, the last exactly the margin worse: whichever of the others looks best.
    false = 0
    for _ in range(1000):
        plateau = find_plateau(draw(rng, [0.0] * 8 + [0.2], seeds=3, noise=0.1), margin=0.2)
        assert plateau is not None
        false += 256 in plateau.batch_sizes
    # 5% nominal, 3 standard errors of 0.7 points above it.
    assert false / 1000 <= 0.05 + 0.021


def test_equal_sizes_are_found_where_the_noise_allows(rng: np.random.Generator) -> None:
    found = [
        find_plateau(draw(rng, [0.0] * 5, seeds=3, noise=0.05), margin=0.2) for _ in range(200)
    ]

    assert np.mean([p is not None and len(p.batch_sizes) == 5 for p in found]) > 0.8


def test_a_size_with_a_failed_seed_is_never_on_the_plateau() -> None:
    values = {8: {0: 1.0, 1: 1.1}, 16: {0: 0.1, 1: math.inf}}

    plateau = find_plateau(values, margin=0.5)

    assert plateau is not None
    assert plateau.batch_sizes == (8,)


def test_where_every_size_failed_there_is_no_plateau() -> None:
    assert find_plateau({8: {0: math.inf}}, margin=0.1) is None


def test_with_one_seed_only_the_best_is_named() -> None:
    plateau = find_plateau({8: {0: 1.0}, 16: {0: 1.0}}, margin=10.0)

    assert plateau is not None
    assert plateau.batch_sizes == (8,)


def test_the_pooled_deviation_is_free_of_size_and_seed_effects(rng: np.random.Generator) -> None:
    found = [
        pooled_deviation(draw(rng, [0.0, 5.0, 9.0], seeds=4, noise=0.1))[0] ** 2 for _ in range(500)
    ]

    assert np.mean(found) == pytest.approx(0.01, rel=0.1)
