"""The standard deviation of the gradient against batch size, drawn as training draws it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

from batchscope.errors import InvalidInput
from batchscope.estimate import Estimate, Interval
from batchscope.instruments.checkpoint import Checkpoint
from batchscope.instruments.loss_gradients import LossGradients
from batchscope.instruments.noise.moments import Floats, estimate_mean
from batchscope.records import Precision
from batchscope.task import Task
from batchscope.training.seeding import keep_randomness, seed_everything

_LEAST_SIZES = 4
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientSpread:
    """How the gradient's standard deviation falls as the batch grows.

    Independent examples make it fall as B^-1/2. It falls faster as a batch becomes a large part of
    the data, and slower where examples are coupled.

    Attributes:
        deviations: batch size -> sqrt(tr Cov(g_B)).
        exponent: of the power law through the batch sizes before `leaves_at`.
        leaves_at: the first batch size off the line through the smaller ones; None where none is.
        draws: batches of each size, each without replacement.
    """

    task: str
    unit: str
    where: str
    deviations: dict[int, Estimate]
    exponent: Estimate
    leaves_at: int | None
    draws: int
    examples: int

    def to_dict(self) -> dict[str, object]:
        """The measurement as JSON."""
        return {
            "task": self.task,
            "method": "spread",
            "unit": self.unit,
            "where": self.where,
            "deviations": [
                {"batch_size": size, "deviation": estimate.to_dict()}
                for size, estimate in self.deviations.items()
            ],
            "exponent": self.exponent.to_dict(),
            "leaves_at": self.leaves_at,
            "draws": self.draws,
            "examples": self.examples,
        }

    def __repr__(self) -> str:
        left = f", left at {self.leaves_at}" if self.leaves_at else ""
        return f"gradient spread of {self.task} {self.where}: exponent {self.exponent}{left}"


def measure_spread(
    task: Task,
    checkpoint: Checkpoint,
    *,
    precision: Precision,
    device: torch.device,
    draws: int = 24,
    seed: int = 0,
    report: Callable[[float], None] = lambda _: None,
) -> GradientSpread:
    """Draw batches of each size without replacement, and see how their gradients differ.

    Coupled examples are welcome here: what they do to the exponent is part of the answer.

    Raises:
        InvalidInput: there are too few examples for four batch sizes, or too few draws.
    """
    gradients = LossGradients(task, checkpoint.model, precision=precision, device=device)
    powers = range(int(math.log2(len(gradients))))
    sizes = [2**power for power in powers][-10:]
    if len(sizes) < _LEAST_SIZES or draws < 8:
        raise InvalidInput(
            f"{len(sizes)} batch sizes with {draws} draws give no exponent",
            where="noise --method spread",
            expected="at least 16 training examples and 8 draws",
            do="give the task more data",
        )
    products: list[Floats] = []
    with keep_randomness():
        seed_everything(seed)
        generator = torch.Generator().manual_seed(seed)
        for done, size in enumerate(sizes, start=1):
            products.append(_draw_products(gradients, size, draws, generator))
            report(done / len(sizes))
    logs = np.array([_log_deviations(table) for table in products])
    kept = find_departure(np.log(sizes), logs)
    return GradientSpread(
        task=task.name,
        unit=task.unit,
        where=checkpoint.words,
        deviations={size: _deviation(values) for size, values in zip(sizes, logs, strict=True)},
        exponent=estimate_mean(_slopes(np.log(sizes[:kept]), logs[:kept]), unit=""),
        leaves_at=sizes[kept] if kept < len(sizes) else None,
        draws=draws,
        examples=draws * sum(sizes) + checkpoint.examples,
    )


def find_departure(log_sizes: Floats, logs: Floats) -> int:
    """How many of the smaller batch sizes lie on one power law.

    Args:
        log_sizes: shape (m,).
        logs: pseudo-values of the log deviation, shape (m, draws).

    Returns:
        The index of the first size that a t test puts off the line through those before it, at
        5% over all sizes tested; m where there is none.
    """
    count, draws = logs.shape
    tested = range(_LEAST_SIZES - 1, count)
    critical = stats.t.ppf(1 - (1 - _CONFIDENCE) / 2 / len(tested), draws - 1)
    for place in tested:
        slopes = _slopes(log_sizes[:place], logs[:place])
        centre = log_sizes[:place].mean()
        expected = logs[:place].mean(0) + slopes * (log_sizes[place] - centre)
        off = logs[place] - expected
        if abs(off.mean()) > critical * off.std(ddof=1) / math.sqrt(draws):
            return place
    return count


def _slopes(log_sizes: Floats, logs: Floats) -> Floats:
    """Each draw's own slope; the fit is linear in the logs, so their mean is the fit's slope."""
    centred = log_sizes - log_sizes.mean()
    return centred @ logs / (centred @ centred)


def _draw_products(
    gradients: LossGradients, size: int, draws: int, generator: torch.Generator
) -> Floats:
    drawn = [
        torch.cat(gradients.at(torch.randperm(len(gradients), generator=generator)[:size]))
        for _ in range(draws)
    ]
    stacked = torch.stack(drawn).double()
    return (stacked @ stacked.T).cpu().numpy()


def _log_deviations(products: Floats) -> Floats:
    """Jackknife pseudo-values of log sqrt(tr Cov), from inner products of shape (draws, draws)."""
    count = len(products)
    squares, sums, total = np.diag(products), products.sum(1), products.sum()
    left = count - 1
    variance = (squares.sum() - total / count) / (count - 1)
    without = (squares.sum() - squares - (total - 2 * sums + squares) / left) / (left - 1)
    # Examples that are all alike have no spread; a positive floor keeps the logarithm finite.
    floor = np.finfo(float).tiny
    whole, rest = (0.5 * np.log(np.maximum(v, floor)) for v in (variance, without))
    return count * whole - left * rest


def _deviation(logs: Floats) -> Estimate:
    log = estimate_mean(logs, unit="gradient")
    assert isinstance(log, Interval)
    return Interval(
        value=math.exp(log.value), low=math.exp(log.low), high=math.exp(log.high), unit=log.unit
    )
