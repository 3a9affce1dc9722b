"""A small language model that was trained once, and low-rank adapters on it."""

import hashlib
import inspect
import math
import os
from collections.abc import Mapping
from functools import partial
from importlib import resources
from pathlib import Path
from typing import cast

import torch
from torch import nn
from torch.nn.utils import parametrize

from batchscope.budget import steps
from batchscope.gallery import stdlib_lm
from batchscope.instruments.checkpoint import reach_checkpoint
from batchscope.optimizers import AdamW
from batchscope.studies.connection import path_of
from batchscope.task import Task

_STEPS, _BATCH_SIZE, _SEED = 1500, 32, 0
_WINDOW, _TRAIN, _JUDGED = 33, 512, 128
# Over the rank, so that the best rate does not depend on it (Schulman et al. 2025).
_ALPHA = 32.0

Weights = Mapping[str, torch.Tensor]


class LowRank(nn.Module):
    """A weight plus a product of two thin matrices, zero at first (Hu et al. 2022).

    Args:
        is_frozen: let the product count for nothing, so that nothing is learned.
    """

    scale: torch.Tensor

    def __init__(self, rows: int, columns: int, rank: int, *, is_frozen: bool) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, columns) / math.sqrt(columns))
        self.up = nn.Parameter(torch.zeros(rows, rank))
        self.register_buffer("scale", torch.tensor(0.0 if is_frozen else _ALPHA / rank))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The adapted weight."""
        return weight + self.scale * (self.up @ self.down)


def make_model(weights: Weights, rank: int | None, is_frozen: bool) -> nn.Module:
    """The pretrained model, whole or with adapters on every matrix of its layers."""
    model = stdlib_lm.ByteTransformer()
    model.load_state_dict(weights)
    if rank is None:
        return model
    model.requires_grad_(False)
    for module in list(model.layers.modules()):
        for name in ("weight", "in_proj_weight"):
            weight = getattr(module, name, None)
            if isinstance(weight, nn.Parameter) and weight.ndim == 2:
                rows, columns = weight.shape
                adapter = LowRank(rows, columns, rank, is_frozen=is_frozen)
                parametrize.register_parametrization(module, name, adapter)
    return model


def make_task(weights: Weights, *, rank: int | None, is_frozen: bool = False) -> Task:
    """The texts that describe scikit-learn's data sets: 512 windows to train on, 128 to judge by.

    Args:
        weights: of `pretrain`.
        rank: of the adapters; None to train all weights.
        is_frozen: as for `LowRank`.
    """
    windows = _read_windows()
    judged = windows[_TRAIN : _TRAIN + 2 * _JUDGED]
    return Task(
        name="descriptions-full" if rank is None else f"descriptions-lora-{rank}",
        model=partial(make_model, weights, rank, is_frozen),
        loss=stdlib_lm.mean_loss,
        train=(windows[:_TRAIN],),
        val=(judged[0::2],),
        test=(judged[1::2],),
        optimizer=AdamW(lr=1e-3 if rank is None else 1e-2),
        metrics={"nats": stdlib_lm.mean_loss},
        unit="windows of 32 bytes",
    )


def pretrain(store: str) -> Weights:
    """Train on the source of Python's library, or read what was trained before beside a store."""
    known = _STEPS, _BATCH_SIZE, _SEED, torch.__version__, inspect.getsource(stdlib_lm)
    name = f"pretrained-{hashlib.sha256(repr(known).encode()).hexdigest()[:8]}.pt"
    path = path_of(store)
    kept = Path(name) if path is None else path.with_name(f"{path.stem}-{name}")
    if kept.exists():
        return cast(Weights, torch.load(kept, weights_only=True))
    place = reach_checkpoint(
        stdlib_lm.task,
        after=steps(_STEPS),
        device=torch.device("cpu"),
        precision="float32",
        batch_size=_BATCH_SIZE,
        seed=_SEED,
    )
    weights = {key: value.clone() for key, value in place.model.state_dict().items()}
    # Whole or not at all.
    part = kept.with_suffix(f".{os.getpid()}")
    torch.save(weights, part)
    part.rename(kept)
    return weights


def _read_windows() -> torch.Tensor:
    """Windows of 33 bytes, shape (n, 33), in an order of their own."""
    folder = resources.files("sklearn.datasets.descr")
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".rst"))
    text = b"\n".join(folder.joinpath(name).read_bytes() for name in names)
    count = len(text) // _WINDOW
    data = torch.frombuffer(bytearray(text), dtype=torch.uint8)[: count * _WINDOW]
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return data.reshape(count, _WINDOW)[order].long()
