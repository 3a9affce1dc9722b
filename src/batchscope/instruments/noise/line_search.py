"""B_noise from the best step at several batch sizes, measured along the gradient's own line."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from batchscope.errors import InvalidInput
from batchscope.estimate import Estimate
from batchscope.instruments.checkpoint import Checkpoint
from batchscope.instruments.loss_gradients import LossGradients
from batchscope.instruments.noise.moments import Floats, MomentSamples, estimate_ratio
from batchscope.instruments.noise.refusals import refuse_coupled_examples
from batchscope.instruments.subset import SubsetLoss, even_subset
from batchscope.records import Precision
from batchscope.task import Task
from batchscope.training.seeding import keep_randomness, seed_everything

_SIZES = (4, 16, 64, 256, 1024, 4096)
_LEAST_SIZES = 3
_EVALUATED_ON = 2048
_APPROACHES = 4
_LARGEST_CHANGE = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BestStep:
    """The step along -g that lowers the loss most, on average over gradients of one batch size.

    Attributes:
        step: multiplies the gradient; NaN where the loss has no minimum along the line.
    """

    batch_size: int
    step: float


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
    largest_step: float
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
            "largest_step": _finite(self.largest_step),
            "steps": [{"batch_size": s.batch_size, "step": _finite(s.step)} for s in self.steps],
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
    sizes = [size for size in _SIZES if size <= task.train_size]
    if draws < 8 or len(sizes) < _LEAST_SIZES:
        raise InvalidInput(
            f"{draws} draws at each of {len(sizes)} batch sizes give no line",
            where="noise --method line",
            expected=f"at least 8 draws, and {_SIZES[_LEAST_SIZES - 1]} training examples",
            do="use --method probe",
        )
    gradients = LossGradients(task, checkpoint.model, precision=precision, device=device)
    surface = SubsetLoss(
        task,
        checkpoint.model,
        even_subset(task.train_size, _EVALUATED_ON),
        precision=precision,
        device=device,
    )
    slopes: list[list[float]] = []
    curvatures: list[list[float]] = []
    with keep_randomness():
        seed_everything(seed)
        generator = torch.Generator().manual_seed(seed)
        for done, size in enumerate(sizes, start=1):
            drawn = [
                gradients.at(torch.randint(len(gradients), (size,), generator=generator))
                for _ in range(draws)
            ]
            slope, curvature = _measure_lines(surface, drawn, checkpoint.learning_rate)
            slopes.append(slope)
            curvatures.append(curvature)
            report(done / len(sizes))
    slope_table, curvature_table = np.array(slopes), np.array(curvatures)
    samples = fit_best_steps(np.array(sizes, dtype=float), slope_table, curvature_table)
    best = slope_table.mean(1) / curvature_table.mean(1)
    return LineSearch(
        task=task.name,
        unit=task.unit,
        where=checkpoint.words,
        noise_scale=estimate_ratio(samples, unit=task.unit, remedy="use --method probe"),
        largest_step=float(1 / samples.signal.mean()),
        steps=tuple(
            BestStep(batch_size=size, step=float(step) if step > 0 else float("nan"))
            for size, step in zip(sizes, best, strict=True)
        ),
        draws=draws,
        examples=draws * sum(sizes) + checkpoint.examples,
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
        [_fit_line(1 / sizes, column, spread) for column in (whole, *without.T)]
    )  # fmt: skip
    pseudo = draws * fits[0] - (draws - 1) * fits[1:]
    return MomentSamples(noise=pseudo[:, 1], signal=pseudo[:, 0])


def _fit_line(x: Floats, y: Floats, spread: Floats) -> Floats:
    weights = 1 / np.maximum(spread, 1e-12 * np.abs(y).max())
    design = np.stack([np.ones_like(x), x], axis=1) * weights[:, None]
    return np.linalg.lstsq(design, y * weights, rcond=None)[0].astype(np.float64)


def _measure_lines(
    surface: SubsetLoss, drawn: Sequence[Sequence[torch.Tensor]], first: float
) -> tuple[list[float], list[float]]:
    """Slope and curvature of the loss along each gradient, at the step that is best on average."""
    start, gradient = surface.value(), surface.gradient()
    slopes = [sum(float(a.dot(b)) for a, b in zip(gradient, line, strict=True)) for line in drawn]
    step, curvatures = first, [float("nan")]
    for _ in range(_APPROACHES):
        values = [surface.value_at(line, -step) for line in drawn]
        curvatures = [
            2 * (value - start + step * slope) / step**2
            for value, slope in zip(values, slopes, strict=True)
        ]
        curvature, slope = float(np.mean(curvatures)), float(np.mean(slopes))
        better = slope / curvature if curvature > 0 < slope else _LARGEST_CHANGE * step
        # Far from where the loss was looked at, its parabola says little.
        step = float(np.clip(better, step / _LARGEST_CHANGE, step * _LARGEST_CHANGE))
    return slopes, curvatures


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
