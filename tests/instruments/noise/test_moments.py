import numpy as np
import pytest
from numpy.typing import NDArray

from batchscope.errors import InvalidInput
from batchscope.estimate import Interval, NotIdentified
from batchscope.instruments.noise.moments import (
    GroupedGradients,
    MomentSamples,
    estimate_ratio,
    jackknife_moments,
    jackknife_weighted_moments,
    separate_moments,
    separate_weighted_moments,
)
from batchscope.instruments.noise.stopping import WHOLE, draw_until, estimate_noise_scale

Floats = NDArray[np.float64]


def test_moments_of_gaussian_gradients_are_unbiased(rng: np.random.Generator) -> None:
    # 2,000 draws of 4 micro-batches of 8: abs(G)^2 = 3^2 + 4^2, tr(Sigma) = 2 * 8 * 1.5^2
    gradients = rng.normal([3.0, 4.0], 1.5, size=(2_000, 4, 2))
    squares = (gradients**2).sum(2).mean(1)
    norms = (gradients.mean(1) ** 2).sum(1)

    moments = np.array(
        [
            separate_moments(square, norm, micro_batch=8, count=4)
            for square, norm in zip(squares, norms, strict=True)
        ]
    )

    error = moments.std(axis=0) / np.sqrt(len(moments))
    # 4 standard errors: a correct estimator fails for 1 seed in 8,000.
    assert np.all(abs(moments.mean(0) - [36.0, 25.0]) < 4 * error)


def test_weighted_moments_of_unequal_batches_are_unbiased(rng: np.random.Generator) -> None:
    weights = np.array([4.0, 16.0, 1.0])
    scatter = rng.standard_normal((4_000, 3, 2)) * 2.0 / np.sqrt(weights)[:, None]
    gradients = np.array([1.0, 0.5]) + scatter
    share = weights / weights.sum()
    means = (gradients * share[:, None]).sum(1)

    moments = np.array(
        [
            separate_weighted_moments((g**2).sum(1), float(m @ m), weights=weights)
            for g, m in zip(gradients, means, strict=True)
        ]
    )

    error = moments.std(axis=0) / np.sqrt(len(moments))
    assert np.all(abs(moments.mean(0) - [8.0, 1.25]) < 4 * error)


def test_one_gradient_is_refused() -> None:
    with pytest.raises(InvalidInput, match="cannot separate"):
        separate_moments(1.0, 1.0, micro_batch=4, count=1)


def test_the_jackknife_from_scalars_is_that_of_the_gradients(rng: np.random.Generator) -> None:
    gradients = rng.standard_normal((5, 3, 7)) + 0.3
    means = gradients.mean(1)
    groups = GroupedGradients(
        squares=(gradients**2).sum(2).mean(1),
        products=means @ means.T,
        micro_batch=4,
        per_group=3,
    )

    def moments(kept: Floats) -> Floats:
        flat = kept.reshape(-1, 7)
        mean = flat.mean(0)
        return np.array(
            separate_moments(
                float((flat**2).sum(1).mean()), float(mean @ mean), micro_batch=4, count=len(flat)
            )
        )

    whole = moments(gradients)
    pseudo = [5 * whole - 4 * moments(np.delete(gradients, k, axis=0)) for k in range(5)]
    found = jackknife_moments(groups)
    np.testing.assert_allclose(np.stack([found.noise, found.signal], 1), pseudo, rtol=1e-10)


def test_the_weighted_jackknife_of_equal_weights_is_the_plain_one(rng: np.random.Generator) -> None:
    gradients = rng.standard_normal((6, 9))
    products = gradients @ gradients.T
    groups = GroupedGradients(
        squares=np.diag(products), products=products, micro_batch=3, per_group=1
    )

    plain = jackknife_moments(groups)
    weighted = jackknife_weighted_moments(products, weights=np.full(6, 3.0))

    np.testing.assert_allclose(plain.noise, weighted.noise, rtol=1e-10)
    np.testing.assert_allclose(plain.signal, weighted.signal, rtol=1e-10)


def test_a_signal_that_is_not_resolved_gives_a_bound_and_no_number() -> None:
    rng = np.random.default_rng(1)
    samples = MomentSamples(noise=10 + 0.1 * rng.standard_normal(20), signal=rng.normal(size=20))

    answer = estimate_ratio(samples, unit="images", remedy="draw more")

    assert isinstance(answer, NotIdentified)
    assert answer.low is not None
    assert answer.low > 0
    assert "more than" in str(answer)


def test_noise_that_is_not_seen_bounds_the_ratio_from_above() -> None:
    rng = np.random.default_rng(2)
    samples = MomentSamples(
        noise=rng.normal(-0.01, 1.0, size=20), signal=10 + 0.1 * rng.standard_normal(20)
    )

    answer = estimate_ratio(samples, unit="images", remedy="draw more")

    assert isinstance(answer, NotIdentified | Interval)
    assert (answer.high or 0) < 1


class GaussianSource:
    """Gradients of known moments, through the same door as a model's."""

    def __init__(self, rng: np.random.Generator, mean: Floats, deviation: Floats, size: int):
        self._rng, self._mean, self._size = rng, mean, size
        self._deviation = deviation / np.sqrt(size)
        self._sums = np.zeros((32, len(mean)))
        self._squares = np.zeros(32)
        self._drawn = 0

    def extend(self, per_group: int) -> None:
        shape = (32, per_group, len(self._mean))
        gradients = self._mean + self._deviation * self._rng.standard_normal(shape)
        self._sums += gradients.sum(1)
        self._squares += np.einsum("krd,krd->k", gradients, gradients)
        self._drawn += per_group

    def read(self) -> dict[str, GroupedGradients]:
        means = self._sums / self._drawn
        return {
            WHOLE: GroupedGradients(
                squares=self._squares / self._drawn,
                products=means @ means.T,
                micro_batch=self._size,
                per_group=self._drawn,
            )
        }


@pytest.mark.parametrize(
    ("truth", "may_be_open"),
    [
        (60.0, 0.1),
        pytest.param(300.0, 0.1, marks=pytest.mark.slow),
        (2_000.0, 1.0),
        pytest.param(20_000.0, 1.0, marks=pytest.mark.slow),
    ],
)
def test_intervals_cover_through_the_stopping_rule(truth: float, may_be_open: float) -> None:
    # 16 dimensions of unequal noise, at most 32 x 32 micro-batches of 4.
    rng = np.random.default_rng(int(truth))
    deviation = 1 / np.sqrt(np.arange(1, 17))
    mean = np.full(16, np.sqrt((deviation**2).sum() / truth / 16))
    covered, widths = 0, []
    for _ in range(4_000):
        groups = draw_until(GaussianSource(rng, mean, deviation, 4), width=0.6, most=32)
        answer = estimate_noise_scale(groups[WHOLE])
        low = 0.0 if answer.low is None else answer.low
        high = np.inf if answer.high is None else answer.high
        covered += low <= truth <= high
        widths.append((high - low) / truth)

    # The nominal 95%, less what looking several times costs, more what the t interval gives away.
    assert 0.92 <= covered / 4_000 <= 0.99
    assert np.mean(np.isinf(widths)) <= may_be_open
    print(
        f"B_simple {truth:g}: covered {covered / 4_000:.3f}, median width {np.median(widths):.2f}"
    )
