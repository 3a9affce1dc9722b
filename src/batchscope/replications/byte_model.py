"""A byte transformer that is trained once on source code, then tuned on descriptions of data."""

import hashlib
import inspect
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from importlib import resources
from pathlib import Path
from typing import cast

import torch
from torch import nn

from batchscope.budget import steps
from batchscope.gallery import stdlib_lm
from batchscope.instruments.checkpoint import reach_checkpoint
from batchscope.replications.adapting import Subject, adapt
from batchscope.studies.connection import path_of

_STEPS, _BATCH_SIZE, _SEED = 1500, 32, 0
_WINDOW, _TRAIN, _JUDGED = 33, 512, 128
# Windows of source code, which 1,500 batches of 32 see about twelve times.
_SOURCE = 4096

Weights = Mapping[str, torch.Tensor]


def make_model(weights: Weights, rank: int | None, is_frozen: bool) -> nn.Module:
    """The pretrained model, whole or with adapters on every matrix of its layers."""
    model = stdlib_lm.ByteTransformer()
    model.load_state_dict(weights)
    if rank is not None:
        adapt(model, [(module, False) for module in model.layers.modules()], rank, is_frozen)
    return model


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
    numbers = _STEPS, _BATCH_SIZE, _SEED, _SOURCE, _WINDOW
    known = numbers, torch.__version__, inspect.getsource(stdlib_lm)
    name = f"pretrained-{hashlib.sha256(repr(known).encode()).hexdigest()[:8]}.pt"
    path = path_of(store)
    kept = Path(name) if path is None else path.with_name(f"{path.stem}-{name}")
    if kept.exists():
        return cast(Weights, torch.load(kept, weights_only=True))
    windows = stdlib_lm.cut_windows(stdlib_lm.read_source(), _SOURCE, _WINDOW)
    place = reach_checkpoint(
        # In windows as long as those that it is tuned on.
        replace(stdlib_lm.task, train=(windows,)),
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
