"""Problems whose noise scales are known in closed form."""

import math

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


SIGN_DIMENSIONS, SIGN_MEAN = 8, 0.02


def sign_descent(size: int = 4096) -> bs.Task:
    """Gradients of mean 0.02 and deviation 1 in 8 weights, with H = (11' + I) / 2.

    Every example is there twice, side by side, so that every other one has the same moments.
    """
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((size // 2, SIGN_DIMENSIONS))
    rows -= rows.mean(0)
    whitened = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows.T, ddof=0))).T
    x = torch.tensor(np.repeat(whitened + SIGN_MEAN, 2, axis=0)).float()
    hessian = 0.5 * (torch.ones(SIGN_DIMENSIONS, SIGN_DIMENSIONS) + torch.eye(SIGN_DIMENSIONS))

    def model() -> nn.Module:
        line = nn.Linear(SIGN_DIMENSIONS, 1, bias=False)
        line.weight.data.zero_()
        return line

    def loss(model: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        weight = model.weight[0]
        return model(batch[0]).mean() + 0.5 * weight @ hessian @ weight

    return bs.Task(model=model, loss=loss, train=(x,), val=(x[:64],), optimizer=bs.SGD(lr=0.001))


def best_sign_step(batch_size: int) -> float:
    """The exact best step of that problem; E is how far the sign's mean is from noise."""
    mean = math.erf(SIGN_MEAN * math.sqrt(batch_size / 2))
    pairs = 0.5 * (SIGN_DIMENSIONS**2 + SIGN_DIMENSIONS)
    return SIGN_DIMENSIONS * mean * SIGN_MEAN / (pairs * mean**2 + SIGN_DIMENSIONS * (1 - mean**2))
