"""Tables of runs whose explanation is planted."""

import math
from collections.abc import Callable

import numpy as np
import polars as pl

SIZES = (16, 64, 256)
RATES = (0.03, 0.1, 0.3, 1.0, 3.0)
TRAIN_SIZE = 8192
EPOCHS = (0, 1, 2, 3, 5, 8, 12, 16, 20)
SPREAD = 0.004

Table = pl.DataFrame
# Of (rng, batch size, rate, seed): rows (epoch, train loss, test error).
Rows = Callable[[np.random.Generator, int, float, int], list[tuple[int, float, float]]]


def _misfit(size: int, rate: float, *, best: float = 0.1) -> float:
    """How far a rate lies from the best one, which rises with the square root of the batch."""
    return math.exp(-0.4 * math.log(rate / (best * math.sqrt(size / 16))) ** 2)


def _loss(epoch: int, size: int, *, speed: float, counts: str) -> float:
    steps = epoch * TRAIN_SIZE / (size if counts == "steps" else 16)
    return 2.3 / (1 + speed * steps / 300)


def fewer_updates(effect: float) -> Rows:
    """Test error follows training loss, which follows the number of steps."""

    def rows(rng: np.random.Generator, size: int, rate: float, seed: int):
        luck = SPREAD * rng.standard_normal()
        # The loss moves by `effect` deviations of the error from one end to the other.
        worse = effect * SPREAD * math.log(size / 16) / math.log(16)
        for epoch in EPOCHS:
            fast = _loss(epoch, 16, speed=_misfit(size, rate), counts="examples")
            loss = fast + 10 * worse
            yield epoch, loss, 0.05 + 0.1 * loss + luck

    return lambda *arguments: list(rows(*arguments))


def generalization(effect: float) -> Rows:
    """Training loss is the same at all sizes, the error grows with the size."""

    def rows(rng: np.random.Generator, size: int, rate: float, seed: int):
        luck = SPREAD * rng.standard_normal()
        worse = effect * SPREAD * math.log(size / 16) / math.log(16)
        for epoch in EPOCHS:
            loss = _loss(epoch, 16, speed=_misfit(size, rate), counts="examples")
            yield (
                epoch,
                loss * (1 + 0.01 * rng.standard_normal()),
                0.05 + 0.02 * loss + luck + worse,
            )

    return lambda *arguments: list(rows(*arguments))


def learning_rate(effect: float) -> Rows:
    """The best rate of the larger batches lies beyond those tried."""

    def rows(rng: np.random.Generator, size: int, rate: float, seed: int):
        luck = SPREAD * rng.standard_normal()
        best = 0.1 if size == 16 else 30.0
        speed = math.exp(-0.1 * math.log(rate / best) ** 2) if size > 16 else _misfit(size, rate)
        worse = effect * SPREAD * (size > 16)
        for epoch in EPOCHS:
            loss = _loss(epoch, 16, speed=speed, counts="examples") + 10 * worse
            yield epoch, loss, 0.05 + 0.1 * loss + luck

    return lambda *arguments: list(rows(*arguments))


def no_difference(effect: float) -> Rows:
    """Nothing depends on the batch size but the best rate."""
    del effect
    return generalization(0.0)


def make_table(kind: Rows, *, seed: int, seeds: int, spread: float = 1.0) -> Table:
    """One study: every size at every rate, with all seeds."""
    rng = np.random.default_rng(seed)
    del spread
    rows = [
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
        for size in SIZES
        for rate in RATES
        for number in range(seeds)
        for epoch, loss, error in kind(rng, size, rate, number)
    ]
    return pl.DataFrame(rows)
