"""A language model from local files, tuned on local texts."""

import hashlib
import math
from functools import partial
from pathlib import Path
from typing import Any, cast

import psutil
import torch
from torch import nn
from torch.nn import functional as F

from batchscope.instruments.memory.predicting import predict_peak
from batchscope.replications.adapting import Subject, adapt
from batchscope.replications.formats.files import check_folder, check_inside, refuse
from batchscope.replications.formats.language_models import (
    LanguageModel,
    check_language_model,
    tokenize,
)
from batchscope.replications.formats.texts import read_texts
from batchscope.training.devices import count_cores
from batchscope.workers.extras import import_extra

_MOST_TEXT, _MOST_TOKENS = 2**24, 64
_LEAST_TRAIN, _MOST_TRAIN = 512, 4096
# Windows at once where nothing is learned from them: of 64 tokens and 50,000 words 200 MiB.
_AT_ONCE = 16


def read_subject(folder: Path, *, largest: int, limit: int | None = None) -> Subject:
    """The model in the folder `model`, and the texts of the JSON lines in `texts`.

    The first four fifths of the windows are trained on.

    Args:
        largest: batch size that is to be trained.
        limit: texts; None for all.

    Raises:
        InvalidInput: either is missing or cannot be read, the texts are too short, or training
            takes more memory than there is.
    """
    check_folder(folder)
    places = {name: check_folder(folder / name) for name in ("model", "texts")}
    for place in places.values():
        check_inside(folder, place)
    model_folder = check_language_model(places["model"])
    text, skips = read_texts(places["texts"], limit=limit)
    model = LanguageModel(model_folder)
    tokens = tokenize(model_folder, text[:_MOST_TEXT].decode("utf-8", errors="ignore"))
    length = min(_MOST_TOKENS, model.window or _MOST_TOKENS) + 1
    train = min(_MOST_TRAIN, len(tokens) // length * 4 // 5)
    if train < _LEAST_TRAIN:
        raise refuse(
            places["texts"],
            f"{len(tokens):,} tokens",
            f"at least {_LEAST_TRAIN * 5 // 4 * length:,}",
            "add texts, or raise --limit",
        )
    if int(tokens.max()) >= model.vocabulary:
        raise refuse(
            model_folder,
            f"a tokenizer of tokens up to {int(tokens.max()):,}",
            f"at most the {model.vocabulary:,} that the model knows",
            "take the tokenizer that belongs to the model",
        )
    windows = tokens[: train * 5 // 4 * length].reshape(-1, length)
    used = f"Trained on {train:,} windows of {length - 1} tokens, judged by {len(windows) - train}."
    subject = Subject(
        name="texts",
        loss=mean_loss,
        build=partial(load_model, str(model_folder), describe_model(model_folder)),
        windows=windows,
        train=train,
        full_rate=1e-4,
        lora_rate=1e-3,
        vocabulary=model.vocabulary,
        token="token",
        notes=(used, *skips.notes),
    )
    _check_memory(subject, largest)
    return subject


def load_model(folder: str, known: str, rank: int | None, is_frozen: bool) -> nn.Module:
    """The model, whole or with adapters on every matrix of its layers.

    Args:
        known: what `describe_model` said of it.

    Raises:
        InvalidInput: it cannot be loaded, or is another one by now.
    """
    if describe_model(Path(folder)) != known:
        raise refuse(folder, "is another model than when the study began", "the same files")
    model = LanguageModel(Path(folder))
    if rank is not None:
        adapt(model, model.matrices(), rank, is_frozen)
    return model


def describe_model(folder: Path) -> str:
    """What its weights do not tell: a digest of its configuration and of who reads it."""
    transformers = import_extra("transformers", extra="data", where="--data")
    said = (folder / "config.json").read_bytes() + transformers.__version__.encode()
    return hashlib.sha256(said).hexdigest()[:16]


def mean_loss(model: nn.Module, batch: Any) -> torch.Tensor:
    """Nats per token; where nothing is learned from them, of a few windows at a time."""
    (windows,) = cast(tuple[torch.Tensor], batch)
    at_once = len(windows) if torch.is_grad_enabled() else _AT_ONCE
    total = torch.zeros((), device=windows.device)
    for start in range(0, len(windows), at_once):
        part = windows[start : start + at_once]
        logits = model(part[:, :-1]).flatten(0, 1)
        total = total + F.cross_entropy(logits, part[:, 1:].flatten(), reduction="sum")
    return total / (len(windows) * (windows.shape[1] - 1))


def _check_memory(subject: Subject, largest: int) -> None:
    """See that one training on each core fits, where no GPU trains."""
    if torch.cuda.is_available():
        return
    task = subject.make_task(rank=None)
    needed = predict_peak(task, largest, mode="training", precision="float32")
    free, count = psutil.virtual_memory().available, count_cores()
    if needed * count > free:
        raise refuse(
            f"a batch of {largest}",
            f"{count} trainings at once take {math.ceil(needed * count / 2**30):,} GiB",
            f"at most the {free / 2**30:,.0f} GiB of memory that are free",
            "take a smaller model",
        )
