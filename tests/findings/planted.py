"""Tables of runs whose explanation is planted."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

SIZES = (16, 64, 256)
RATES = (0.03, 0.1, 0.3, 1.0, 3.0)
TRAIN_SIZE = 8192
EPOCHS = (0, 1, 2, 3, 5, 8, 12, 16, 20)
SPREAD = 0.004
# Of test error to training loss, and of what is left of it at a loss of 0.
_SLOPE, _FLOOR = 0.1, 0.05
_FIRST_LOSS = 2.3
_EPOCHS_TO_HALF = 0.6


@dataclass(frozen=True)
class Made:
    """How runs of one batch size and learning rate go.

    Attributes:
        speed: progress per epoch, 1 for the best rate of the smallest batch.
        gap: what is added to the test error at equal training loss.
    """

    speed: float
    gap: float = 0.0


# Of (batch size, rate).
Kind = Callable[[int, float], Made]


def _misfit(size: int, rate: float) -> float:
    """How well a rate does; the best one rises with the square root of the batch."""
    return math.exp(-0.4 * math.log(rate / (0.1 * math.sqrt(size / 16))) ** 2)


def _loss(epoch: float, speed: float) -> float:
    return _FIRST_LOSS / (1 + speed * epoch / _EPOCHS_TO_HALF)


def _slowed(effect: float) -> float:
    """The speed at which the error ends `effect` deviations above that of speed 1."""
    loss = _loss(EPOCHS[-1], 1) + effect * SPREAD / _SLOPE
    return (_FIRST_LOSS / loss - 1) * _EPOCHS_TO_HALF / EPOCHS[-1]


def _share(size: int) -> float:
    """0 for the smallest batch, 1 for the largest."""
    return math.log(size / SIZES[0]) / math.log(SIZES[-1] / SIZES[0])


def fewer_updates(effect: float) -> Kind:
    """Larger batches go as far per step, not per epoch; the error follows the training loss."""
    return lambda size, rate: Made(_slowed(effect * _share(size)) * _misfit(size, rate))


def generalization(effect: float) -> Kind:
    """Training loss is the same at all sizes, the error grows with the size."""
    return lambda size, rate: Made(_misfit(size, rate), gap=effect * SPREAD * _share(size))


def learning_rate(effect: float) -> Kind:
    """The best rate of the larger batches lies beyond those tried, which are too slow."""

    def made(size: int, rate: float) -> Made:
        if size == SIZES[0]:
            return Made(_misfit(size, rate))
        return Made(_slowed(effect) * (rate / RATES[-1]) ** 0.5)

    return made


def no_difference() -> Kind:
    """Nothing depends on the batch size but the best rate."""
    return generalization(0.0)


def make_table(kind: Kind, *, seed: int, seeds: int) -> pl.DataFrame:
    """One study: every size at every rate, with all seeds."""
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        [
            row
            for size in SIZES
            for rate in RATES
            for row in _runs(kind(size, rate), rng, size=size, rate=rate, seeds=seeds)
        ]
    )


def make_norm_table(effect: float, *, seed: int, seeds: int) -> pl.DataFrame:
    """A gap that closes where batch norm sees 16 examples at once at every size."""
    rng = np.random.default_rng(seed)
    kind = generalization(effect)
    return pl.DataFrame(
        [
            row | {"ghost_batch": ghost, "run": f"{row['run']}-{ghost}"}
            for size in SIZES
            for ghost in sorted({SIZES[0], size})
            for rate in RATES
            for row in _runs(
                Made(_misfit(size, rate), gap=kind(ghost, rate).gap),
                rng,
                size=size,
                rate=rate,
                seeds=seeds,
            )
        ]
    )


def _runs(
    made: Made, rng: np.random.Generator, *, size: int, rate: float, seeds: int
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for number in range(seeds):
        luck = SPREAD * rng.standard_normal()
        for epoch in EPOCHS:
            loss = _loss(epoch, made.speed) * (1 + 0.01 * rng.standard_normal())
            error = _FLOOR + _SLOPE * loss + made.gap + luck
            rows.append(
                {
                    "run": f"{size}-{rate}-{number}",
                    "batch_size": size,
                    "learning_rate": rate,
                    "seed": number,
                    "epoch": epoch,
                    "train_loss": loss,
                    "val_error": error + 0.2 * SPREAD * rng.standard_normal(),
                    "test_error": error,
                }
            )
    return rows
