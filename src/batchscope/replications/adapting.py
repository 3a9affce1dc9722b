"""Language models that were trained before, and low-rank adapters on them."""

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
from batchscope.optimizers import AdamW
from batchscope.replications.formats.files import refuse
from batchscope.replications.formats.language_models import (
    LanguageModel,
    check_language_model,
    tokenize,
)
from batchscope.replications.formats.texts import read_texts
from batchscope.studies.connection import path_of
from batchscope.task import Task

_STEPS, _BATCH_SIZE, _SEED = 1500, 32, 0
_WINDOW, _TRAIN, _JUDGED = 33, 512, 128
# Over the rank, so that the best rate does not depend on it (Schulman et al. 2025).
_ALPHA = 32.0
# Of texts from elsewhere.
_MOST_TEXT, _MOST_TOKENS, _MOST_WINDOWS = 2**24, 128, 5120

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
    if rank is not None:
        _adapt(model, list(model.layers.modules()), rank, is_frozen)
    return model


def load_model(folder: Path, rank: int | None, is_frozen: bool) -> nn.Module:
    """A model that was trained elsewhere, whole or with adapters on every matrix of its layers."""
    model = LanguageModel(folder)
    if rank is not None:
        _adapt(model, model.matrices(), rank, is_frozen)
    return model


def _adapt(model: nn.Module, modules: Sequence[nn.Module], rank: int, is_frozen: bool) -> None:
    """Leave only adapters to be trained."""
    model.requires_grad_(False)
    for module in modules:
        for name in ("weight", "in_proj_weight"):
            weight = getattr(module, name, None)
            if isinstance(weight, nn.Parameter) and weight.ndim == 2:
                rows, columns = weight.shape
                adapter = LowRank(rows, columns, rank, is_frozen=is_frozen)
                parametrize.register_parametrization(module, name, adapter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A pretrained model, and the texts that it is tuned on.

    Attributes:
        name: of the texts.
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
            loss=stdlib_lm.mean_loss,
            train=(self.windows[: self.train],),
            val=(judged[0::2],),
            test=(judged[1::2],),
            optimizer=AdamW(lr=self.full_rate if rank is None else self.lora_rate),
            metrics={"nats": stdlib_lm.mean_loss},
            unit=f"windows of {self.windows.shape[1] - 1} {self.token}s",
        )


def describe_data(weights: Weights) -> Subject:
    """The texts that describe scikit-learn's data sets: 512 windows to train on, 128 to judge by.

    Args:
        weights: of `pretrain`.
    """
    return Subject(
        name="descriptions",
        build=partial(make_model, weights),
        windows=_read_windows()[: _TRAIN + 2 * _JUDGED],
        train=_TRAIN,
        full_rate=1e-3,
        lora_rate=1e-2,
        vocabulary=256,
        token="byte",
    )


def read_subject(folder: Path, *, limit: int | None = None) -> Subject:
    """The model in the folder `model`, and the texts of the JSON lines in `texts`.

    Args:
        limit: texts; None for all.

    Raises:
        InvalidInput: either is missing or cannot be read, or the texts are too short.
    """
    model_folder = check_language_model(folder / "model")
    text, skips = read_texts(folder / "texts", limit=limit)
    model = LanguageModel(model_folder)
    tokens = tokenize(model_folder, text[:_MOST_TEXT].decode("utf-8", errors="ignore"))
    if int(tokens.max()) >= model.vocabulary:
        raise refuse(
            model_folder,
            f"a tokenizer of tokens up to {int(tokens.max()):,}",
            f"at most the {model.vocabulary:,} that the model knows",
            "take the tokenizer that belongs to the model",
        )
    length = min(_MOST_TOKENS, model.window or _MOST_TOKENS) + 1
    count = min(_MOST_WINDOWS, len(tokens) // length)
    judged = count // 10
    if count - 2 * judged < _TRAIN:
        raise refuse(
            folder / "texts",
            f"{len(tokens):,} tokens",
            f"at least {math.ceil(_TRAIN / 0.8) * length:,}",
            "add texts, or raise --limit",
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return Subject(
        name="texts",
        build=partial(load_model, model_folder),
        windows=tokens[: count * length].reshape(count, length)[order],
        train=count - 2 * judged,
        full_rate=1e-4,
        lora_rate=1e-3,
        vocabulary=model.vocabulary,
        token="token",
        notes=skips.notes,
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
