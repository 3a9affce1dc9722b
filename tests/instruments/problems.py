"""Problems whose noise scales are known in closed form."""

import numpy as np
import torch
from torch import nn

import batchscope as bs
from batchscope.instruments.checkpoint import Checkpoint, reach_checkpoint

CPU = torch.device("cpu")
DIMENSIONS = 64
CURVATURES = 1 / torch.arange(1, DIMENSIONS + 1)
# Set apart from the optimum, and the noise scales that follow: B_simple = 1 + (s^2 + q) tr H /
# |H d|^2 and B_noise = 1 + (s^2 + q) tr H^2 / (d' H^3 d), with q = d' H d and s = 1.
SETTINGS = {
    "even": (torch.full((DIMENSIONS,), 0.3), 47.160, 22.494),
    "drawn": (
        torch.tensor(0.25 * np.random.default_rng(0).standard_normal(DIMENSIONS)).float(),
        388.9,
        606.1,
    ),
}


def gaussian_regression(offset: torch.Tensor, *, size: int = 2**16, seed: int = 0) -> bs.Task:
    """Least squares with inputs of variances 1/i and noise of variance 1, at a known place."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, DIMENSIONS, generator=generator) * CURVATURES.sqrt()
    y = torch.randn(size, generator=generator)

    def model() -> nn.Module:
        line = nn.Linear(DIMENSIONS, 1, bias=False)
        line.weight.data[:] = offset
        return line

    return bs.Task(
        model=model,
        loss=lambda model, batch: 0.5 * (model(batch[0])[:, 0] - batch[1]).square().mean(),
        train=(x, y),
        val=(x[:64], y[:64]),
        optimizer=bs.SGD(lr=0.1),
    )


def at_start(task: bs.Task) -> Checkpoint:
    return reach_checkpoint(task, after=None, device=CPU, precision="float32")
