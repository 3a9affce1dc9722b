"""The noisy quadratic of Zhang et al. 2019 (arXiv 1907.04164), where the steps are known.

Loss 1/2 sum h_i theta_i^2 with h_i = 1/i in 1,000 dimensions, gradient noise of variance h_i / B,
theta_0 ~ N(0, 1). Best constant rates and steps to an expected loss of 0.1 by exact recursion.
"""

from pathlib import Path

import pytest
import torch
from torch import nn

import batchscope as bs

KNOWN = {
    16: (1658, 0.5515),
    64: (569, 1.38),
    256: (355, 1.74),
    1024: (300, 1.86),
    4096: (280, 1.93),
}


def make_task(batch_size: int, steps: int, rate: float) -> bs.Task:
    curvature = 1 / torch.arange(1.0, 1001.0)

    class Replicas(nn.Module):
        """Their mean is what the expected loss is read from: their deviation is 0.5% of it."""

        def __init__(self) -> None:
            super().__init__()
            self.theta = nn.Parameter(torch.randn(256, 1000))

    def loss(model: Replicas, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        quadratic = 0.5 * (model.theta.square() @ curvature)
        if not model.training:
            return quadratic.mean()
        noise = torch.randn_like(model.theta) * (curvature / len(batch[0])).sqrt()
        return (quadratic + (model.theta * noise).sum(1)).sum()

    # What an example is does not matter, only how many share a step.
    examples = torch.zeros(4 * batch_size, 1)
    return bs.Task(
        model=Replicas,
        loss=loss,
        train=(examples,),
        val=(examples[:1],),
        optimizer=bs.SGD(lr=rate),
        budget=bs.steps(round(1.1 * steps)),
        target=bs.reach("val_loss", 0.1),
    )


@pytest.mark.parametrize(
    "batch_size",
    [
        64,
        4096,
        *(pytest.param(size, marks=pytest.mark.slow) for size in (256, 1024)),
        # It takes the most steps: minutes where other tests run beside it.
        pytest.param(16, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
def test_the_ordinary_study_takes_the_known_steps(batch_size: int, tmp_path: Path) -> None:
    steps, rate = KNOWN[batch_size]

    found = bs.study(
        make_task(batch_size, steps, rate),
        batch_sizes=[batch_size],
        learning_rates=[rate],
        seeds=2,
        jobs=1,
        store=f"{tmp_path}/r.db",
    )

    (size,) = bs.analyze(found).sizes
    assert isinstance(size.steps, bs.Interval)
    assert size.steps.value == pytest.approx(steps, rel=0.02)
