import math

import pytest
import torch

import batchscope as bs
from batchscope.optimizers import SGD
from batchscope.replications.lab import Lab
from batchscope.replications.studies.sharp_minima import make_task, read_material, ridge_loss
from batchscope.studies.progress import Unwatched
from batchscope.task import Task


def make_ridge() -> Task:
    lab = Lab(is_quick=True, first_seed=0, count=1, is_control=True, store="", watcher=Unwatched())
    return make_task(read_material(lab), SGD(lr=0.3), is_ridge=True)


def test_the_loss_of_the_control_bends_upwards_everywhere() -> None:
    task = make_ridge()
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
def test_both_batch_sizes_of_the_control_end_at_the_same_curvature() -> None:
    task = make_ridge()
    found = {
        size: bs.curvature(
            task, after=f"{epochs}ep", batch_size=size, learning_rate=rate, device="cpu"
        )
        for size, rate, epochs in ((8, 0.03, 100), (1000, 0.3, 1500))
    }

    # One minimum: what is left is how far noise keeps the small batch from it.
    for name in ("top_eigenvalue", "trace"):
        small, large = (getattr(found[size], name).value for size in (8, 1000))
        assert math.log(large / small) == pytest.approx(0.0, abs=0.1)
