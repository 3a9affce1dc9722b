"""B_noise from the best step at several batch sizes, measured along the gradient's own line."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from batchscope.estimate import Estimate
from batchscope.instruments.checkpoint import Checkpoint
from batchscope.instruments.noise.lines import SIZES, Lines, draw_lines
from batchscope.instruments.noise.moments import Floats, MomentSamples, estimate_ratio
from batchscope.instruments.noise.refusals import refuse_coupled_examples
from batchscope.records import Precision
from batchscope.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class BestStep:
    """The step against a direction that lowers the loss most, on average over many of them.

    Attributes:
        batch_size: of the gradients that give the directions.
        step: multiplies the direction.
    """

    batch_size: int
    step: Estimate

    def to_dict(self) -> dict[str, object]:
        """The step as JSON."""
        return {"batch_size": self.batch_size, "step": self.step.to_dict()}


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSearch:
    """B_noise of a task at one place of its training, by line search.

    Attributes:
        noise_scale: B_noise = tr(H Sigma) / (G'HG), in examples.
        largest_step: the best step of the whole gradient, the limit at large batches.
        draws: gradients at each batch size.
    """

    task: str
    unit: str
    where: str
    noise_scale: Estimate
    largest_step: Estimate
    steps: tuple[BestStep, ...]
    draws: int
    examples: int

    def to_dict(self) -> dict[str, object]:
        """The measurement as JSON."""
        return {
            "task": self.task,
            "method": "line",
            "unit": self.unit,
            "where": self.where,
            "noise_scale": self.noise_scale.to_dict(),
            "largest_step": self.largest_step.to_dict(),
            "steps": [step.to_dict() for step in self.steps],
            "draws": self.draws,
            "examples": self.examples,
        }

    def __repr__(self) -> str:
        return f"noise scale of {self.task} {self.where}, by line search: {self.noise_scale}"


def search_lines(
    task: Task,
    checkpoint: Checkpoint,
    *,
    precision: Precision,
    device: torch.device,
    sizes: Sequence[int] = SIZES,
    draws: int = 16,
    seed: int = 0,
    allow_coupled: bool = False,
    report: Callable[[float], None] = lambda _: None,
) -> LineSearch:
    """Find the best step at several batch sizes, on a fixed part of the training set.

    1 / step(B) = (1 + B_noise / B) / step(infinity) is a line in 1 / B, and B_noise its slope over
    its intercept. The draws' leave-one-out values give Fieller's interval.

    Args:
        draws: gradients at each batch size, drawn with replacement, at least 8.

    Raises:
        CannotTell: an example's loss depends on the others in its batch.
        InvalidInput: there are too few draws, or too few examples for three batch sizes.

    Source: McCandlish et al. 2018 (arXiv 1812.06162), equation 2.6 and appendix.
    """
    refuse_coupled_examples(task, checkpoint.model, allow=allow_coupled)
    lines = draw_lines(
        task,
        checkpoint,
        turn=lambda drawn: drawn,
        precision=precision,
        device=device,
        sizes=sizes,
        draws=draws,
        seed=seed,
        report=report,
    )
    samples = fit_best_steps(lines.sizes, lines.slopes, lines.curvatures)
    ones = MomentSamples(noise=np.ones_like(samples.signal), signal=samples.signal)
    remedy = "use --method probe"
    return LineSearch(
        task=task.name,
        unit=task.unit,
        where=checkpoint.words,
        noise_scale=estimate_ratio(samples, unit=task.unit, remedy=remedy),
        largest_step=estimate_ratio(ones, unit="", remedy=remedy),
        steps=best_steps(lines),
        draws=draws,
        examples=lines.examples + checkpoint.examples,
    )


def best_steps(lines: Lines) -> tuple[BestStep, ...]:
    """The step at each batch size: the mean slope over the mean curvature, with its interval."""
    return tuple(
        BestStep(
            batch_size=int(size),
            step=estimate_ratio(
                MomentSamples(noise=slopes, signal=curvatures),
                unit="",
                remedy="look where the loss still falls along its gradient",
            ),
        )
        for size, slopes, curvatures in zip(
            lines.sizes, lines.slopes, lines.curvatures, strict=True
        )
    )


def fit_best_steps(sizes: Floats, slopes: Floats, curvatures: Floats) -> MomentSamples:
    """Pseudo-values of slope and intercept of 1 / step(B) against 1 / B.

    Args:
        sizes: batch sizes, shape (m,).
        slopes: of the loss along each drawn gradient, shape (m, draws).
        curvatures: of the loss along each, shape (m, draws).
    """
    draws = slopes.shape[1]
    whole = curvatures.mean(1) / slopes.mean(1)
    without = (curvatures.sum(1, keepdims=True) - curvatures) / (
        slopes.sum(1, keepdims=True) - slopes
    )
    spread = without.std(1) * (draws - 1)
    fits = np.array(
        [fit_line(1 / sizes, column, spread) for column in (whole, *without.T)]
    )  # fmt: skip
    pseudo = draws * fits[0] - (draws - 1) * fits[1:]
    return MomentSamples(noise=pseudo[:, 1], signal=pseudo[:, 0])


def fit_line(x: Floats, y: Floats, spread: Floats) -> Floats:
    """Intercept and slope by weighted least squares, shape (2,).

    Args:
        spread: of each y, in its units; 0 counts as very small.
    """
    weights = 1 / np.maximum(spread, 1e-12 * np.abs(y).max())
    design = np.stack([np.ones_like(x), x], axis=1) * weights[:, None]
    return np.linalg.lstsq(design, y * weights, rcond=None)[0].astype(np.float64)
