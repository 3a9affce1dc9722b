"""Batch norm over ghost batches: many small parts in one call, and one after another."""

import time
from collections.abc import Callable, Iterator

import torch
from torch import nn

from batchscope.ghost import WithGhostBatches
from benchmarks.row import Row, compare

PART = 16
BATCH_SIZE = 512
STEPS = 20


class OneAfterAnother(nn.Module):
    """A batch norm on each part of a batch in turn."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.norm(part) for part in rows.split(PART)])


def make_dense(wrap: Callable[[nn.Module], nn.Module] = lambda norm: norm) -> nn.Module:
    hidden = [layer for _ in range(2) for layer in (nn.Linear(64, 64), wrap(nn.BatchNorm1d(64)))]
    return nn.Sequential(*hidden, nn.Linear(64, 10))


def make_convolution(wrap: Callable[[nn.Module], nn.Module] = lambda norm: norm) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), wrap(nn.BatchNorm2d(16)), nn.ReLU())


def measure() -> Iterator[Row]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for name, make, shape in (
        ("two dense layers of 64", make_dense, (64,)),
        ("a convolution of 16 channels on 16 by 16 pixels", make_convolution, (3, 16, 16)),
    ):
        rows = torch.randn(BATCH_SIZE, *shape)
        ours, theirs = WithGhostBatches(make, PART)(), make(OneAfterAnother)
        yield compare(
            f"ghost-{len(shape)}",
            module="ghost",
            what=f"a pass and its gradients, {name}, batch norm over {PART} of {BATCH_SIZE}",
            against="batch norm called for one part after another",
            unit="ms",
            ours=lambda model=ours, rows=rows: pass_milliseconds(model, rows),
            theirs=lambda model=theirs, rows=rows: pass_milliseconds(model, rows),
            pairs=15,
        )


def pass_milliseconds(model: nn.Module, rows: torch.Tensor) -> float:
    began = time.perf_counter()
    for _ in range(STEPS):
        model(rows).square().mean().backward()
    return (time.perf_counter() - began) / STEPS * 1000
