"""A small language model that was trained once, and low-rank adapters on such models."""

import hashlib
import inspect
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from batchscope.metrics import BatchFunction
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
        is_by_input: for a weight of shape (inputs, outputs), rather than (outputs, inputs).
    """

    scale: torch.Tensor

    def __init__(
        self, outputs: int, inputs: int, rank: int, *, is_frozen: bool, is_by_input: bool = False
    ) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, inputs) / math.sqrt(inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        self.register_buffer("scale", torch.tensor(0.0 if is_frozen else _ALPHA / rank))
        self._is_by_input = is_by_input

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The adapted weight."""
        product = self.up @ self.down
        return weight + self.scale * (product.T if self._is_by_input else product)


def make_model(weights: Weights, rank: int | None, is_frozen: bool) -> nn.Module:
    """The pretrained model, whole or with adapters on every matrix of its layers."""
    model = stdlib_lm.ByteTransformer()
    model.load_state_dict(weights)
    if rank is not None:
        adapt(model, [(module, False) for module in model.layers.modules()], rank, is_frozen)
    return model


def adapt(
    model: nn.Module, modules: Sequence[tuple[nn.Module, bool]], rank: int, is_frozen: bool
) -> None:
    """Leave only adapters of these modules to be trained.

    Args:
        modules: with whether their matrices have a row for each input, rather than a column.
    """
    model.requires_grad_(False)
    for module, is_by_input in modules:
        for name in ("weight", "in_proj_weight"):
            weight = getattr(module, name, None)
            if isinstance(weight, nn.Parameter) and weight.ndim == 2:
                outputs, inputs = weight.T.shape if is_by_input else weight.shape
                adapter = LowRank(
                    outputs, inputs, rank, is_frozen=is_frozen, is_by_input=is_by_input
                )
                parametrize.register_parametrization(module, name, adapter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A pretrained model, and the texts that it is tuned on.

    Attributes:
        name: of the texts.
        loss: nats per token of a batch of windows.
        build: the model from the rank of its adapters, None to train all weights, and whether they
            are frozen as for `LowRank`.
        windows: of tokens, shape (n, tokens), of which `train` are trained on and the others are
            judged by, for validation and for the test in turn.
        full_rate, lora_rate: in the middle of where the best rates are looked for.
        vocabulary: how many tokens there are.
        token: what one is called.
        notes: on what was left out.
    """

    name: str
    loss: BatchFunction
    build: Callable[[int | None, bool], nn.Module]
    windows: torch.Tensor
    train: int
    full_rate: float
    lora_rate: float
    vocabulary: int
    token: str
    notes: tuple[str, ...] = ()

    def make_task(self, *, rank: int | None, is_frozen: bool = False) -> Task:
        """With adapters of a rank; None to train all weights."""
        judged = self.windows[self.train :]
        return Task(
            name=f"{self.name}-full" if rank is None else f"{self.name}-lora-{rank}",
            model=partial(self.build, rank, is_frozen),
            loss=self.loss,
            train=(self.windows[: self.train],),
            val=(judged[0::2],),
            test=(judged[1::2],),
            optimizer=AdamW(lr=self.full_rate if rank is None else self.lora_rate),
            metrics={"nats": self.loss},
            unit=f"windows of {self.windows.shape[1] - 1} {self.token}s",
        )


def describe_data(weights: Weights) -> Subject:
    """The texts that describe scikit-learn's data sets: 512 windows to train on, 128 to judge by.

    Args:
        weights: of `pretrain`.
    """
    return Subject(
        name="descriptions",
        loss=stdlib_lm.mean_loss,
        build=partial(make_model, weights),
        windows=_read_windows()[: _TRAIN + 2 * _JUDGED],
        train=_TRAIN,
        full_rate=1e-3,
        lora_rate=1e-2,
        vocabulary=256,
        token="byte",
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
