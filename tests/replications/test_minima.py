import math
from pathlib import Path

import pytest
import torch

import batchscope as bs
from batchscope.optimizers import SGD
from batchscope.replications.minima import Material, make_task, read_material, ridge_loss

from .labs import make_lab


@pytest.fixture
def material(tmp_path: Path) -> Material:
    return read_material(make_lab(tmp_path))


def test_the_loss_of_the_control_bends_upwards_everywhere(material: Material) -> None:
    task = make_task(material, SGD(lr=0.3), is_ridge=True)
    batch = tuple(part[:200] for part in task.datasets["train"][:])
    generator = torch.Generator().manual_seed(0)
    model = task.model()

    def value(weights: list[torch.Tensor]) -> float:
        with torch.no_grad():
            for mine, given in zip(model.parameters(), weights, strict=True):
                mine.copy_(given)
            return float(ridge_loss(model, batch))

    shapes = [p.shape for p in model.parameters()]
    for _ in range(5):
        one, other = ([torch.randn(s, generator=generator) for s in shapes] for _ in range(2))
        middle = [(a + b) / 2 for a, b in zip(one, other, strict=True)]
        assert value(middle) < (value(one) + value(other)) / 2


@pytest.mark.slow
def test_both_batch_sizes_of_the_control_end_at_the_same_curvature(material: Material) -> None:
    task = make_task(material, SGD(lr=0.3), is_ridge=True)
    found = {
        size: bs.curvature(
            task, after=f"{steps}steps", batch_size=size, learning_rate=rate, device="cpu"
        )
        for size, (rate, steps) in material.ridge.items()
    }

    # One minimum: what is left is how far noise keeps the small batch from it.
    for name in ("top_eigenvalue", "trace"):
        small, large = (
            getattr(found[size], name).value for size in (material.small, material.large)
        )
        assert math.log(large / small) == pytest.approx(0.0, abs=0.1)
