"""A table of runs that shows what `batchscope analyze` reads."""

import math

import numpy as np
import polars as pl

_SIZES = (16, 64, 256, 1024)
_RATES = (0.01, 0.03, 0.1, 0.3, 1.0)
_SEEDS = range(3)
_TRAIN_SIZE = 8192
_EPOCHS = (0, 1, 2, 4, 7, 12, 20)


def write_example() -> str:
    """Generated runs, as CSV: one row per run and evaluation.

    The loss falls with the effective number of steps of a critical batch size of 128, fastest at a
    rate that rises with the square root of the batch size; seeds scatter by 3%.
    """
    rng = np.random.default_rng(0)
    rows: list[dict[str, object]] = []
    for size in _SIZES:
        for rate in _RATES:
            for seed in _SEEDS:
                luck = math.exp(0.03 * rng.standard_normal())
                off = math.log(rate / (0.1 * math.sqrt(size / 64)))
                for epoch in _EPOCHS:
                    step = epoch * math.ceil(_TRAIN_SIZE / size)
                    progress = step / (1 + 128 / size) * math.exp(-0.3 * off**2) * luck
                    loss = 2.3 / (1 + progress / 15)
                    rows.append(
                        {
                            "run": f"b{size}-lr{rate:g}-s{seed}",
                            "batch_size": size,
                            "learning_rate": rate,
                            "seed": seed,
                            "step": step,
                            "epoch": epoch,
                            "seconds": round(step * (0.004 + 2e-5 * size), 3),
                            "train_loss": round(loss, 5),
                            "val_loss": round(loss * 1.02 + 0.01, 5),
                            "val_error": round(0.9 * loss / (loss + 0.6), 5),
                        }
                    )
    return pl.DataFrame(rows).write_csv()
