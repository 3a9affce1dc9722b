"""Recorded speech for the network of `talking`, and how well its letters are read from that."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from batchscope.optimizers import AdamW
from batchscope.replications.formats.files import refuse
from batchscope.replications.formats.recordings import BANDS, Recording, read_recordings
from batchscope.replications.talking import MASK_FRAMES, Listener, contrast, draw_mask
from batchscope.task import Task
from batchscope.workers.extras import import_extra

# Four seconds of 20 ms.
WINDOW = 200
_ALPHABET = " 'ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Every tenth speaker is kept for the letters.
_APART = 10
# For the probe to learn from, and to be judged by.
_LEAST_LABELLED, _MOST_LABELLED = 40, 200
_LEAST_JUDGED, _MOST_JUDGED = 20, 100
_LEAST_TRAIN = 256
_RIDGE, _ROUNDS = 1e-3, 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Windows of recordings.

    Attributes:
        train, labelled: frames of shape (n, 200, 40), which of them are masked, of shape (n, 200),
            letters from 1 on, of shape (n, letters), 0 behind the last, and how many frames there
            are, of shape (n,). Of those to train on no letters are known.
        notes: on what was left out.
    """

    train: tuple[torch.Tensor, ...]
    labelled: tuple[torch.Tensor, ...]
    notes: tuple[str, ...]


def read_recorded(folder: Path, *, limit: int | None = None, is_shuffled: bool = False) -> Recorded:
    """Parts of long recordings to train on, and whole short ones of other speakers to read.

    Args:
        limit: recordings; None for all.
        is_shuffled: in an order of frames that tells nothing.

    Raises:
        InvalidInput: there are too few of either.
    """
    found, skips = read_recordings(folder, window=WINDOW, limit=limit)
    kept_apart = set(sorted({one.speaker for one in found})[::_APART])
    train = [one for one in found if one.speaker not in kept_apart and not one.is_whole]
    labelled: list[Recording] = []
    for one in found:
        if one.speaker not in kept_apart or not one.is_whole or len(one.frames) <= MASK_FRAMES:
            continue
        if set(one.text) <= set(_ALPHABET):
            labelled.append(one)
        else:
            skips.add(one.speaker, "texts with more than capital letters")
    least = _LEAST_LABELLED + _LEAST_JUDGED
    if len(labelled) < least or len(train) < _LEAST_TRAIN:
        raise refuse(
            folder,
            f"{len(train):,} recordings of over 4 seconds, and {len(labelled):,} shorter ones by "
            "every tenth speaker",
            f"at least {_LEAST_TRAIN} and {least}",
            "add recordings, or raise --limit",
        )
    rng = np.random.default_rng(0)
    # Of all of these speakers.
    some = rng.permutation(len(labelled))[: _MOST_LABELLED + _MOST_JUDGED]
    return Recorded(
        train=_stack(train, rng, is_spelled=False, is_shuffled=is_shuffled),
        labelled=_stack(
            [labelled[int(n)] for n in some], rng, is_spelled=True, is_shuffled=is_shuffled
        ),
        notes=skips.notes,
    )


def _stack(
    recordings: Sequence[Recording],
    rng: np.random.Generator,
    *,
    is_spelled: bool,
    is_shuffled: bool,
) -> tuple[torch.Tensor, ...]:
    count = len(recordings)
    longest = max(len(one.text) for one in recordings) if is_spelled else 1
    frames = torch.zeros(count, WINDOW, BANDS)
    masks = torch.zeros(count, WINDOW, dtype=torch.bool)
    letters = torch.zeros(count, longest, dtype=torch.long)
    lengths = torch.tensor([len(one.frames) for one in recordings])
    for n, one in enumerate(recordings):
        length = len(one.frames)
        masks[n, :length] = torch.from_numpy(draw_mask(rng, length))
        order = torch.from_numpy(rng.permutation(length)) if is_shuffled else slice(None)
        frames[n, :length] = one.frames[order]
        if is_spelled:
            spelled = [1 + _ALPHABET.index(letter) for letter in one.text]
            letters[n, : len(spelled)] = torch.tensor(spelled)
    return frames, masks, letters, lengths


def make_task(recorded: Recorded, *, count: int | None = None) -> Task:
    """All recordings to train on, or the first `count`."""
    return Task(
        name="recordings",
        model=partial(Listener, BANDS),
        loss=contrast,
        train=tuple(part[:count] for part in recorded.train),
        val=recorded.labelled,
        optimizer=AdamW(lr=1.5e-3, reference_batch_size=32),
        metrics={"misread": misread_letters},
        unit="utterances",
    )


def misread_letters(model: nn.Module, batch: Any) -> torch.Tensor:
    """The share of letters that a linear probe misreads; 1 where no letters are known."""
    frames, _, letters, lengths = batch
    if not letters.any():
        return torch.tensor(1.0)
    heard = cast(Listener, model).hear(frames).detach()
    if not heard.isfinite().all():
        return torch.tensor(1.0)
    return torch.tensor(misread_by_probe(heard, letters, lengths))


def misread_by_probe(features: torch.Tensor, letters: torch.Tensor, lengths: torch.Tensor) -> float:
    """Changes that turn what is read into what was said, over the letters said; at most 1.

    The probe is one linear map from a frame to letters, fitted by connectionist temporal
    classification (Graves et al. 2006) on two thirds of the utterances and read greedily on the
    others.

    Args:
        features: of shape (n, frames, d).
        letters: from 1 on, of shape (n, letters), 0 behind the last.
        lengths: frames of each utterance, of shape (n,).
    """
    distance = import_extra("rapidfuzz.distance", extra="data", where="--data").Levenshtein
    known = len(letters) * _MOST_LABELLED // (_MOST_LABELLED + _MOST_JUDGED)
    seen = torch.arange(features.shape[1], device=lengths.device) < lengths[:, None]
    own = features[:known][seen[:known]]
    x = ((features - own.mean(0)) / (own.std(0) + 1e-6)).float().cpu()
    logs = _fit(x[:known], letters[:known].cpu(), lengths[:known].cpu())(x[known:])
    wrong = said = 0
    for best, length, spelled in zip(
        logs.argmax(-1), lengths[known:], letters[known:].cpu(), strict=True
    ):
        read = best[: int(length)].unique_consecutive()
        truth = cast(list[int], spelled[spelled > 0].tolist())
        wrong += distance.distance(read[read > 0].tolist(), truth)
        said += len(truth)
    return min(1.0, wrong / said)


def _fit(x: torch.Tensor, letters: torch.Tensor, lengths: torch.Tensor) -> nn.Linear:
    probe = nn.Linear(x.shape[-1], 1 + len(_ALPHABET))
    nn.init.zeros_(probe.weight)
    nn.init.zeros_(probe.bias)
    search = torch.optim.LBFGS(probe.parameters(), max_iter=_ROUNDS, line_search_fn="strong_wolfe")
    counts = (letters > 0).sum(1)

    def loss() -> torch.Tensor:
        search.zero_grad()
        logs = F.log_softmax(probe(x), -1).transpose(0, 1)
        found = F.ctc_loss(logs, letters, lengths, counts, zero_infinity=True)
        found = found + _RIDGE * probe.weight.square().sum()
        found.backward()
        return found

    with torch.enable_grad():
        cast(Any, search).step(loss)
    return probe
