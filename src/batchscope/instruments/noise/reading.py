"""What a meter saw during a training: block means of both moments, and their ratio."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy import stats

from batchscope.estimate import Estimate, Interval, NotIdentified
from batchscope.instruments.noise.moments import Floats, MomentSamples

_LEAST_BLOCKS = 8
_MOST_BLOCKS = 20
_LEAST_SAMPLES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredStep:
    """Unbiased moments from the gradients of one step.

    Attributes:
        samples: one value of each moment, or a jackknife's pseudo-values; any may be negative.
        weight: examples or tokens behind all of the step's gradients.
    """

    step: int
    samples: MomentSamples
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseReading:
    """The gradient noise scale over a stretch of training.

    Attributes:
        source: where the micro-batches came from.
        noise_scale: tr(Sigma) over abs(G)^2 along the way, in `unit`: the inverse of the mean of
            abs(G)^2 / tr(Sigma) over time, so that gradients count alike, be they long or short.
        blocks: of consecutive measurements, whose means give the interval.
        measured, steps: how many steps were measured, of how many.
        share_of_time: that measuring took, by its own clock.
    """

    source: str
    unit: str
    noise_scale: Estimate
    gradient_squared: Estimate
    noise_trace: Estimate
    blocks: int
    measured: int
    steps: int
    share_of_time: float

    @property
    def every(self) -> float:
        """Steps for each one measured; infinite where none was."""
        return self.steps / self.measured if self.measured else math.inf

    def to_dict(self) -> dict[str, object]:
        """The reading as JSON."""
        return {
            "method": "training",
            "source": self.source,
            "unit": self.unit,
            "noise_scale": self.noise_scale.to_dict(),
            "gradient_squared": self.gradient_squared.to_dict(),
            "noise_trace": self.noise_trace.to_dict(),
            "blocks": self.blocks,
            "measured": self.measured,
            "steps": self.steps,
            "share_of_time": self.share_of_time,
        }

    def __repr__(self) -> str:
        return (
            f"noise scale over {self.steps:,} steps: {self.noise_scale}; one step in "
            f"{self.every:.0f} measured, {self.blocks} blocks, {100 * self.share_of_time:.1f}% of "
            "the time"
        )


def read_blocks(
    measured: Sequence[MeasuredStep], *, memory: float, unit: str
) -> tuple[Estimate, Estimate, Estimate, int]:
    """The noise scale, abs(G)^2 and tr(Sigma) over measured steps, and the number of blocks.

    Blocks of steps longer than the optimizer's memory are nearly independent, which single steps
    need not be.

    Args:
        measured: in order.
        memory: steps over which the optimizer averages, such as 1 / (1 - momentum).
    """
    count = _count_blocks(measured, memory)
    if count < _LEAST_BLOCKS:
        few = NotIdentified(
            reason=f"{len(measured)} measured steps make {count} blocks, fewer than "
            f"{_LEAST_BLOCKS}",
            remedy="train longer, or measure more often",
            unit=unit,
        )
        return few, few, few, count
    blocks = [_join(part) for part in _split(measured, count)]
    square = "squared gradient"
    return (
        invert(
            _average([signal_to_noise(*block) for block in blocks], unit=unit),
            remedy="measure longer, or with larger micro-batches",
        ),
        _average([_describe(block.signal, in_time) for block, _, in_time in blocks], unit=square),
        _average([_describe(block.noise, in_time) for block, _, in_time in blocks], unit=square),
        count,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockMean:
    """One block's estimate with the variance of its own samples, and how many they are."""

    value: float
    variance: float
    samples: int


def signal_to_noise(block: MomentSamples, weight: float, in_time: bool = False) -> BlockMean:
    """abs(G)^2 / tr(Sigma) of one block: the inverse of its noise scale, without first-order bias.

    The noise is always resolved, so this ratio has a mean where its inverse has none. With g the
    mean of all gradients, abs(G)^2 is estimated by abs(g)^2 - tr(Sigma) / n, and g is independent
    of the estimate of tr(Sigma), whose inverse comes out too large by its relative variance.

    Args:
        weight: n, the examples behind each step's gradients.
        in_time: the samples are those of successive steps, whose trend is no noise.
    """
    noise = float(block.noise.mean())
    ratio = float(block.signal.mean()) / noise
    residuals = _describe((block.signal - ratio * block.noise) / noise, in_time)
    relative_variance = _describe(block.noise, in_time).variance / noise**2
    value = (ratio + 1 / weight) * (1 - relative_variance) - 1 / weight
    return BlockMean(value=value, variance=residuals.variance, samples=residuals.samples)


def _describe(values: Floats, in_time: bool) -> BlockMean:
    """The mean, and its variance: by successive differences (von Neumann 1941) for a series."""
    count = len(values)
    variance = float(
        (np.diff(values) ** 2).sum() / (2 * (count - 1)) if in_time else values.var(ddof=1)
    )
    return BlockMean(value=float(values.mean()), variance=variance / count, samples=count)


def _average(blocks: Sequence[BlockMean], *, unit: str, confidence: float = 0.95) -> Interval:
    """The mean over blocks, with an interval that their trend does not widen.

    What is meant is the mean over the steps that were measured: blocks differ because training
    moves on, and only each block's own spread is noise. Welch and Satterthwaite's degrees of
    freedom.
    """
    variances = np.array([block.variance for block in blocks])
    shares = np.array([block.samples - 1 for block in blocks])
    freedom = float(variances.sum() ** 2 / (variances**2 / shares).sum())
    half = float(stats.t.ppf((1 + confidence) / 2, freedom) * np.sqrt(variances.sum()))
    mean = float(np.mean([block.value for block in blocks]))
    half /= len(blocks)
    return Interval(value=mean, low=mean - half, high=mean + half, unit=unit, confidence=confidence)


def invert(ratio: Interval, *, remedy: str) -> Estimate:
    """The noise scale from the interval of its inverse; open above where that reaches 0."""
    if ratio.low > 0:
        return Interval(
            value=1 / ratio.value,
            low=1 / ratio.high,
            high=1 / ratio.low,
            unit=ratio.unit,
            confidence=ratio.confidence,
        )
    return NotIdentified(
        reason="the gradient's signal is not resolved from its noise",
        remedy=remedy,
        unit=ratio.unit,
        low=1 / ratio.high if ratio.high > 0 else None,
        confidence=ratio.confidence,
    )


def optimizer_memory(optimizer: torch.optim.Optimizer) -> float:
    """Steps over which an optimizer averages gradients.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> round(optimizer_memory(torch.optim.SGD([weight], lr=1, momentum=0.9)))
        10
    """
    averages = [
        float(group.get("momentum") or (group.get("betas") or (0.0,))[0])
        for group in optimizer.param_groups
    ]
    return 1 / (1 - min(max(averages), 0.9999))


def _count_blocks(measured: Sequence[MeasuredStep], memory: float) -> int:
    if len(measured) < 2:
        return len(measured)
    # Where a step gives one sample only, a block needs some steps to show the spread of its noise.
    steps_each = 1 if len(measured[0].samples.noise) > 1 else _LEAST_SAMPLES
    span = measured[-1].step - measured[0].step + 1
    return max(1, min(_MOST_BLOCKS, len(measured) // steps_each, int(span / memory)))


def _split(measured: Sequence[MeasuredStep], count: int) -> Sequence[Sequence[MeasuredStep]]:
    edges = np.linspace(0, len(measured), count + 1).round().astype(int)
    return [measured[low:high] for low, high in pairwise(int(edge) for edge in edges)]


def _join(part: Sequence[MeasuredStep]) -> tuple[MomentSamples, float, bool]:
    """The samples of a block, the weight behind each of its steps, and whether it is a series."""
    samples = MomentSamples(
        noise=np.concatenate([step.samples.noise for step in part]),
        signal=np.concatenate([step.samples.signal for step in part]),
    )
    weight = statistics.harmonic_mean([step.weight for step in part])
    return samples, weight, len(part[0].samples.noise) == 1
