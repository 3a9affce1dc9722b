"""The best step of an optimizer that moves by signs: with the batch it rises, and then it falls."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from batchscope.estimate import Estimate, NotIdentified
from batchscope.instruments.checkpoint import Checkpoint
from batchscope.instruments.noise.line_search import BestStep, best_steps, fit_line
from batchscope.instruments.noise.lines import SIZES, Directions, Lines, draw_lines
from batchscope.instruments.noise.moments import MomentSamples, estimate_ratio
from batchscope.instruments.noise.refusals import refuse_coupled_examples
from batchscope.records import Precision
from batchscope.task import Task

# Curvature grows in proportion to the batch only while signs agree little: at this agreement the
# curvature that the proportion promises is about 4% too high.
_MOST_AGREEMENT = 0.1
_LEAST_SIZES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SignSurge:
    """The best steps against the sign of the gradient, at one place of a training.

    Attributes:
        peak: the batch size at which the best step, and with it the best learning rate of an
            Adam-type optimizer, is largest.
        steps: at each batch size, the same for every weight.
        draws: gradients at each batch size.
    """

    task: str
    unit: str
    where: str
    peak: Estimate
    steps: tuple[BestStep, ...]
    draws: int
    examples: int

    def to_dict(self) -> dict[str, object]:
        """The measurement as JSON."""
        return {
            "task": self.task,
            "method": "sign",
            "unit": self.unit,
            "where": self.where,
            "peak": self.peak.to_dict(),
            "steps": [step.to_dict() for step in self.steps],
            "draws": self.draws,
            "examples": self.examples,
        }

    def __repr__(self) -> str:
        return f"best step by signs of {self.task} {self.where} is largest at {self.peak}"


def measure_surge(
    task: Task,
    checkpoint: Checkpoint,
    *,
    precision: Precision,
    device: torch.device,
    sizes: Sequence[int] = SIZES,
    draws: int = 64,
    seed: int = 0,
    allow_coupled: bool = False,
    report: Callable[[float], None] = lambda _: None,
) -> SignSurge:
    """Find the best step against sign(g_B) at several batch sizes, and where it is largest.

    With noisy signs the step is 2 step_max / (sqrt(peak / B) + sqrt(B / peak)): the slope along
    them grows as sqrt(B), the curvature as 1 + B / peak. The peak is the intercept of that line
    over its slope, on batch sizes whose signs are still mostly noise.

    Args:
        draws: gradients at each batch size, drawn with replacement, at least 8.

    Raises:
        CannotTell: an example's loss depends on the others in its batch.
        InvalidInput: there are too few draws, or too few examples for three batch sizes.

    Source: Li et al. 2024, "Surge Phenomenon in Optimal Learning Rate and Batch Size Scaling"
        (arXiv 2405.14578).
    """
    refuse_coupled_examples(task, checkpoint.model, allow=allow_coupled)
    lines = draw_lines(
        task,
        checkpoint,
        turn=_take_signs,
        precision=precision,
        device=device,
        sizes=sizes,
        draws=draws,
        seed=seed,
        report=report,
    )
    return SignSurge(
        task=task.name,
        unit=task.unit,
        where=checkpoint.words,
        peak=estimate_peak(lines, unit=task.unit),
        steps=best_steps(lines),
        draws=draws,
        examples=lines.examples + checkpoint.examples,
    )


def estimate_peak(lines: Lines, *, unit: str) -> Estimate:
    """The batch size whose best step is largest, or why it cannot be told."""
    noisy = lines.agreement < _MOST_AGREEMENT
    if noisy.sum() < _LEAST_SIZES:
        return NotIdentified(
            reason=f"signs are mostly noise at {noisy.sum()} batch sizes, fewer than "
            f"{_LEAST_SIZES}",
            remedy="look later in the training, where gradients are smaller",
            unit=unit,
        )
    sizes, curvatures = lines.sizes[noisy], lines.curvatures[noisy]
    draws = lines.draws
    whole = curvatures.mean(1)
    without = (curvatures.sum(1, keepdims=True) - curvatures) / (draws - 1)
    spread = curvatures.std(1, ddof=1)
    fits = np.array([fit_line(sizes, column, spread) for column in (whole, *without.T)])
    pseudo = draws * fits[0] - (draws - 1) * fits[1:]
    samples = MomentSamples(noise=pseudo[:, 0], signal=pseudo[:, 1])
    found = estimate_ratio(samples, unit=unit, remedy="draw more gradients")
    if isinstance(found, NotIdentified) and found.low is not None:
        return NotIdentified(
            reason="the curvature along the signs does not grow with the batch",
            remedy=found.remedy,
            unit=unit,
            low=found.low,
        )
    return found


def _take_signs(drawn: Directions) -> Directions:
    return [[torch.sign(part) for part in line] for line in drawn]
