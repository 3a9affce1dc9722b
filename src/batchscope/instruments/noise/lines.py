"""Slope and curvature of the loss along many drawn directions, at several batch sizes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from batchscope.errors import InvalidInput
from batchscope.instruments.checkpoint import Checkpoint
from batchscope.instruments.loss_gradients import LossGradients
from batchscope.instruments.noise.moments import Floats
from batchscope.instruments.subset import SubsetLoss, even_subset
from batchscope.records import Precision
from batchscope.task import Task
from batchscope.training.seeding import keep_randomness, seed_everything

SIZES = (4, 16, 64, 256, 1024, 4096)
_LEAST_SIZES = 3
_LEAST_DRAWS = 8
_EVALUATED_ON = 2048
_APPROACHES = 4
_LARGEST_CHANGE = 10.0

Directions = Sequence[Sequence[torch.Tensor]]
# Drawn gradients of one batch size -> the directions to look along.
Turn = Callable[[Directions], Directions]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """What the loss does along the drawn directions.

    Attributes:
        sizes: batch sizes, shape (m,).
        slopes, curvatures: of the loss along each direction, shape (m, draws).
        agreement: of the directions of each batch size, shape (m,): the mean product of two over
            the mean square of one, without bias; 1 where all are alike, 0 where they are noise.
    """

    sizes: Floats
    slopes: Floats
    curvatures: Floats
    agreement: Floats

    @property
    def draws(self) -> int:
        """Directions at each batch size."""
        return self.slopes.shape[1]

    @property
    def examples(self) -> int:
        """That all directions took."""
        return int(self.draws * self.sizes.sum())


def draw_lines(
    task: Task,
    checkpoint: Checkpoint,
    *,
    turn: Turn,
    precision: Precision,
    device: torch.device,
    sizes: Sequence[int],
    draws: int,
    seed: int,
    report: Callable[[float], None],
) -> Lines:
    """Draw gradients with replacement, and look along what `turn` makes of them.

    The loss is looked at on a fixed part of the training set.

    Raises:
        InvalidInput: there are too few draws, or too few examples for three batch sizes.
    """
    sizes = [size for size in sizes if size <= task.train_size]
    if draws < _LEAST_DRAWS or len(sizes) < _LEAST_SIZES:
        raise InvalidInput(
            f"{draws} draws at each of {len(sizes)} batch sizes give no line",
            where="noise --method line, sign",
            expected=f"at least {_LEAST_DRAWS} draws, and {SIZES[_LEAST_SIZES - 1]} examples",
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
    agreement: list[float] = []
    with keep_randomness():
        seed_everything(seed)
        generator = torch.Generator().manual_seed(seed)
        for done, size in enumerate(sizes, start=1):
            directions = turn(
                [
                    gradients.at(torch.randint(len(gradients), (size,), generator=generator))
                    for _ in range(draws)
                ]
            )
            slope, curvature = _look_along(surface, directions, checkpoint.learning_rate)
            slopes.append(slope)
            curvatures.append(curvature)
            agreement.append(_agree(directions))
            report(done / len(sizes))
    return Lines(
        sizes=np.array(sizes, dtype=float),
        slopes=np.array(slopes),
        curvatures=np.array(curvatures),
        agreement=np.array(agreement),
    )


def _look_along(
    surface: SubsetLoss, directions: Directions, first: float
) -> tuple[list[float], list[float]]:
    """Slope and curvature of the loss along each, at the step that is best on average."""
    start, gradient = surface.value(), surface.gradient()
    slopes = [
        sum(float(a.dot(b)) for a, b in zip(gradient, line, strict=True)) for line in directions
    ]
    step, curvatures = first, [float("nan")]
    for _ in range(_APPROACHES):
        values = [surface.value_at(line, -step) for line in directions]
        curvatures = [
            2 * (value - start + step * slope) / step**2
            for value, slope in zip(values, slopes, strict=True)
        ]
        curvature, slope = float(np.mean(curvatures)), float(np.mean(slopes))
        better = slope / curvature if curvature > 0 < slope else _LARGEST_CHANGE * step
        # Far from where the loss was looked at, its parabola says little.
        step = float(np.clip(better, step / _LARGEST_CHANGE, step * _LARGEST_CHANGE))
    return slopes, curvatures


def _agree(directions: Directions) -> float:
    count = len(directions)
    squares = sum(float(part.dot(part)) for line in directions for part in line)
    sums = [torch.stack(list(parts)).sum(0) for parts in zip(*directions, strict=True)]
    pairs = sum(float(part.dot(part)) for part in sums) - squares
    return pairs / (count - 1) / squares if squares else 0.0
