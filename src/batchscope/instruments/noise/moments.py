"""abs(G)^2 and tr(Sigma), separated without bias, and the interval of their ratio."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from batchscope.errors import InvalidInput
from batchscope.estimate import Estimate, Interval, NotIdentified

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedGradients:
    """What K groups of micro-batch gradients at the same weights leave behind, in scalars.

    Attributes:
        squares: mean abs(g)^2 over the micro-batches of each group, shape (K,).
        products: inner products of the groups' mean gradients, shape (K, K).
        micro_batch: examples behind each g, at least 1.
        per_group: micro-batches in each group, at least 1.
    """

    squares: Floats
    products: Floats
    micro_batch: int
    per_group: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MomentSamples:
    """Values whose means are tr(Sigma) and abs(G)^2, and whose spread tells how well.

    Attributes:
        noise, signal: independent samples, or a jackknife's pseudo-values, shape (n,) each.
    """

    noise: Floats
    signal: Floats


def separate_moments(
    squares: float, norm_of_mean: float, *, micro_batch: float, count: int
) -> tuple[float, float]:
    """tr(Sigma) and abs(G)^2, each without bias; either may come out negative.

    Args:
        squares: mean of abs(g_k)^2 over the micro-batches.
        norm_of_mean: abs(mean of g_k)^2.
        micro_batch: examples behind each g_k.
        count: how many g_k there are, at least 2.

    Raises:
        InvalidInput: one gradient has no spread.

    Source: McCandlish et al. 2018 (arXiv 1812.06162), appendix A.1, for sizes alike. abs(G)^2 is
    the mean inner product of two different gradients.

    Example:
        >>> separate_moments(5.0, 4.0, micro_batch=8, count=2)
        (16.0, 3.0)
    """
    if count < 2:
        raise InvalidInput(
            f"{count} micro-batch cannot separate noise from signal",
            where="the noise scale",
            expected="at least 2 micro-batches at the same weights",
            do="halve the micro-batch: the same examples then give twice the gradients",
        )
    # Clipping a negative value at 0 would bias every later mean.
    excess = (squares - norm_of_mean) / (count - 1)
    return micro_batch * count * excess, norm_of_mean - excess


def separate_weighted_moments(
    squares: Floats, norm_of_mean: float, *, weights: Floats
) -> tuple[float, float]:
    """tr(Sigma) and abs(G)^2 from micro-batches of unequal size, each without bias.

    Args:
        squares: abs(g_k)^2 of each mean gradient, shape (K,), K >= 2.
        norm_of_mean: abs(g)^2 of the mean weighted by `weights`.
        weights: examples or tokens behind each, shape (K,); tr(Sigma) is per one of them.

    Example:
        >>> separate_weighted_moments(np.array([5.0, 5.0]), 4.0, weights=np.array([8.0, 8.0]))
        (16.0, 3.0)
    """
    total = float(weights.sum())
    noise = (float(weights @ squares) - total * norm_of_mean) / (len(weights) - 1)
    return noise, norm_of_mean - noise / total


def jackknife_moments(groups: GroupedGradients) -> MomentSamples:
    """The pseudo-values of both moments, a group left out at a time.

    The moments pool every micro-batch; the groups only tell how sure that is. Leaving one out
    needs no gradient again: abs(mean without k)^2 = (K^2 m - 2 K c_k + a_k) / (K - 1)^2, with
    m = abs(mean)^2, c_k = g_k . mean and a_k = abs(g_k)^2.
    """
    count, per_group = len(groups.squares), groups.per_group
    products = groups.products
    norm = float(products.mean())
    whole = np.array(
        separate_moments(
            float(groups.squares.mean()),
            norm,
            micro_batch=groups.micro_batch,
            count=count * per_group,
        )
    )
    without = (count**2 * norm - 2 * count * products.mean(1) + np.diag(products)) / (
        count - 1
    ) ** 2
    squares = (groups.squares.sum() - groups.squares) / (count - 1)
    left = (count - 1) * per_group
    excess = (squares - without) / (left - 1)
    rest = np.stack([groups.micro_batch * left * excess, without - excess])
    pseudo = count * whole[:, None] - (count - 1) * rest
    return MomentSamples(noise=pseudo[0], signal=pseudo[1])


def jackknife_weighted_moments(products: Floats, *, weights: Floats) -> MomentSamples:
    """Pseudo-values of both moments from a few gradients of unequal size, one left out at a time.

    Args:
        products: inner products of the mean gradients, shape (K, K), K >= 3.
        weights: examples or tokens behind each, shape (K,).
    """
    count = len(weights)

    def separate(kept: NDArray[np.bool_]) -> Floats:
        share = weights[kept] / weights[kept].sum()
        inner = products[np.ix_(kept, kept)]
        return np.array(
            separate_weighted_moments(
                np.diag(inner), float(share @ inner @ share), weights=weights[kept]
            )
        )

    whole = separate(np.ones(count, dtype=bool))
    rest = np.stack([separate(np.arange(count) != k) for k in range(count)])
    pseudo = count * whole - (count - 1) * rest
    return MomentSamples(noise=pseudo[:, 0], signal=pseudo[:, 1])


def estimate_mean(values: Floats, *, unit: str, confidence: float = 0.95) -> Estimate:
    """The mean of samples or pseudo-values, with Student's t interval."""
    if len(values) < 2:
        return NotIdentified(
            reason="it was measured once", remedy="measure at least twice", unit=unit
        )
    mean = float(values.mean())
    half = float(
        stats.t.ppf((1 + confidence) / 2, len(values) - 1) * stats.sem(values)  # pyright: ignore[reportUnknownArgumentType]
    )
    return Interval(value=mean, low=mean - half, high=mean + half, unit=unit, confidence=confidence)


def estimate_ratio(
    samples: MomentSamples, *, unit: str, remedy: str, confidence: float = 0.95
) -> Estimate:
    """The ratio of the means, noise over signal, with Fieller's interval.

    It holds every ratio B at which the mean of noise - B signal is compatible with 0, by a t test.
    Where abs(G)^2 is not resolved it is open above, and only the bound is given: a ratio would be a
    number without a meaning.

    Args:
        remedy: what would resolve it, a sentence without its full stop.

    Returns:
        An interval above 0, or not identified, with `low` or `high` where the data bound it.
    """
    noise, signal = samples.noise, samples.signal
    if len(noise) < 2:
        return NotIdentified(reason="it was measured once", remedy=remedy, unit=unit)
    mean_noise, mean_signal = float(noise.mean()), float(signal.mean())
    covariance = np.cov(noise, signal) / len(noise)
    scale = float(stats.t.ppf((1 + confidence) / 2, len(noise) - 1)) ** 2
    # The ratios B that are held satisfy square B^2 - 2 half B + constant < 0.
    square = mean_signal**2 - scale * float(covariance[1, 1])
    half = mean_noise * mean_signal - scale * float(covariance[0, 1])
    constant = mean_noise**2 - scale * float(covariance[0, 0])
    root = math.sqrt(max(0.0, half**2 - square * constant))
    if square > 0 and mean_signal > 0 and mean_noise > 0:
        value = mean_noise / mean_signal
        low, high = max(0.0, (half - root) / square), (half + root) / square
        return Interval(
            value=value, low=min(low, value), high=max(high, value), unit=unit,
            confidence=confidence,
        )  # fmt: skip
    if square > 0 and mean_signal > 0 and half + root > 0:
        return NotIdentified(
            reason="the gradient's noise is too small to be seen",
            remedy="measure with more micro-batches of fewer examples",
            unit=unit,
            high=(half + root) / square,
            confidence=confidence,
        )
    # Outside the roots lies what is held; only the part above 0 can be meant.
    bound = (half - root) / square if square < 0 < constant else 0.0
    return NotIdentified(
        reason="the gradient's signal is not resolved from its noise",
        remedy=remedy,
        unit=unit,
        low=bound if bound > 0 else None,
        confidence=confidence,
    )
