"""Curves made by hand."""

from collections.abc import Sequence

import numpy as np

from batchscope.budget import Target
from batchscope.findings.analysis import Analysis, analyze_curves
from batchscope.findings.curves import Curve


def analyze_losses(
    curves: Sequence[Curve], level: float, *, epoch_examples: float | None = None
) -> Analysis:
    """The findings of curves by their validation loss, which is to reach a level."""
    return analyze_curves(
        curves,
        study="abc",
        task="t",
        quality="val_loss",
        higher=False,
        target=Target("val_loss", level, "<="),
        unit="images",
        epoch_examples=epoch_examples,
    )


def make_curve(
    batch_size: int = 32,
    *,
    seed: int = 0,
    lr: float = 0.1,
    loss: Sequence[float] = (2.0, 1.0, 0.5),
    status: str = "finished",
    step_seconds: float = 0.01,
    **metrics: Sequence[float],
) -> Curve:
    """One run, evaluated every 10 steps; `train_loss` and `val_loss` are `loss`."""
    steps = 10.0 * np.arange(len(loss))
    columns = {
        "step": steps,
        "examples": steps * batch_size,
        "seconds": steps * step_seconds,
        "train_loss": np.array(loss, dtype=float),
        "val_loss": np.array(loss, dtype=float),
        **{name: np.array(values, dtype=float) for name, values in metrics.items()},
    }
    return Curve(
        run=f"{batch_size}-{lr}-{seed}",
        batch_size=batch_size,
        learning_rate=lr,
        seed=seed,
        status=status,
        step_seconds=step_seconds,
        columns=columns,
    )
