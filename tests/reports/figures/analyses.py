"""Analyses of curves whose law is known."""

import numpy as np

from batchscope.findings.analysis import Analysis
from batchscope.findings.curves import Curve

from ...findings.curves import analyze_losses, make_curve


def analyze_examples_that_count(gamma: float) -> Analysis:
    """Four sizes whose loss is exp(-steps x B^gamma / 100)."""
    steps = 10.0 * np.arange(60)
    return analyze_losses(
        [
            make_curve(size, seed=seed, loss=np.exp(-steps * size**gamma / 100).tolist())
            for size in (1, 2, 3, 4)
            for seed in range(3)
        ],
        0.2,
    )


def analyze_hyperbola(
    rng: np.random.Generator, *, critical: float, sizes: tuple[int, ...] = (8, 32, 128, 512, 2048)
) -> Analysis:
    """Sizes that reach the target after 40 (1 + critical / B) steps, with 3% of scatter."""
    curves: list[Curve] = []
    for size in sizes:
        for seed in range(4):
            needed = 40 * (1 + critical / size) * np.exp(rng.normal(0, 0.03))
            steps = 10.0 * np.arange(200)
            loss = (0.1 ** (steps / needed)).tolist()
            curves.append(make_curve(size, seed=seed, loss=loss))
    return analyze_losses(curves, 0.1)


def analyze_overfitting() -> Analysis:
    """One size that improves to the third evaluation and gets worse from there, and one that goes
    on improving; an epoch is one evaluation.
    """
    turning, going = [2.0, 1.0, 0.5, 0.8, 1.1], [2.0, 1.5, 1.0, 0.7, 0.4]
    scatter = (0.0, 0.01, 0.02, 0.03)
    fitted = [2.0, 1.0, 0.5, 0.3, 0.1]
    curves = [
        make_curve(
            16,
            seed=seed,
            loss=fitted,
            # Each look has its own scatter, so that seeds differ in what they gain.
            val_loss=[x + scatter[(seed + at) % 4] for at, x in enumerate(values)],
        )
        if size == 16
        else make_curve(
            size, seed=seed, loss=[x + scatter[(seed + at) % 4] for at, x in enumerate(values)]
        )
        for size, values in ((16, turning), (32, going))
        for seed in range(4)
    ]
    return analyze_losses(curves, 0.55, epoch_examples=160)
