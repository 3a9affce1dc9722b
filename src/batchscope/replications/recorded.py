"""Recorded speech for the network of `talking`."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from batchscope.optimizers import AdamW
from batchscope.replications.formats.files import refuse
from batchscope.replications.formats.recordings import BANDS, Recording, read_recordings
from batchscope.replications.spelling import ALPHABET, misread_letters
from batchscope.replications.talking import MASK_FRAMES, Listener, contrast, draw_mask
from batchscope.task import Task

# Four seconds of 20 ms.
_WINDOW = 200
# Every tenth speaker is kept for the letters.
_APART = 10
# Two thirds for the probe to learn from, the others to judge it by.
_LEAST_LABELLED, _MOST_LABELLED = 60, 120
_LEAST_TRAIN = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Windows of recordings.

    Attributes:
        train, labelled: frames of shape (n, 200, 40), which of them are masked, of shape (n, 200),
            letters from 1 on, of shape (n, letters), 0 behind the last, and how many frames there
            are, of shape (n,). Of those to train on no letters are known.
        notes: on how many there are, and what was left out.
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
    found, skips = read_recordings(folder, window=_WINDOW, limit=limit)
    kept_apart = set(sorted({one.speaker for one in found})[::_APART])
    train = [one for one in found if one.speaker not in kept_apart and not one.is_whole]
    labelled: list[Recording] = []
    for one in found:
        if one.speaker not in kept_apart or not one.is_whole or len(one.frames) <= MASK_FRAMES:
            continue
        if set(one.text) <= set(ALPHABET):
            labelled.append(one)
        else:
            skips.add(one.speaker, "texts with more than capital letters")
    if len(labelled) < _LEAST_LABELLED or len(train) < _LEAST_TRAIN:
        raise refuse(
            folder,
            f"{len(train):,} recordings of over 4 seconds, and {len(labelled):,} shorter ones by "
            "every tenth speaker",
            f"at least {_LEAST_TRAIN} and {_LEAST_LABELLED}",
            "add recordings, or raise --limit",
        )
    # The first of either are of all of its speakers.
    train, labelled = (_mix(part) for part in (train, labelled))
    labelled = labelled[:_MOST_LABELLED]
    told = (
        f"Trained on {len(train):,} recordings; letters are read from {len(labelled)}, of which "
        "two thirds teach the probe, by other speakers."
    )
    return Recorded(
        train=_stack(train, is_spelled=False, is_shuffled=is_shuffled),
        labelled=_stack(labelled, is_spelled=True, is_shuffled=is_shuffled),
        notes=(told, *skips.notes),
    )


def _mix(recordings: Sequence[Recording]) -> list[Recording]:
    order = np.random.default_rng(0).permutation(len(recordings))
    return [recordings[int(place)] for place in order]


def _stack(
    recordings: Sequence[Recording], *, is_spelled: bool, is_shuffled: bool
) -> tuple[torch.Tensor, ...]:
    masking, shuffling = np.random.default_rng(1), np.random.default_rng(2)
    count = len(recordings)
    longest = max(len(one.text) for one in recordings) if is_spelled else 1
    frames = torch.zeros(count, _WINDOW, BANDS)
    masks = torch.zeros(count, _WINDOW, dtype=torch.bool)
    letters = torch.zeros(count, longest, dtype=torch.long)
    lengths = torch.tensor([len(one.frames) for one in recordings])
    for n, one in enumerate(recordings):
        length = len(one.frames)
        masks[n, :length] = torch.from_numpy(draw_mask(masking, length))
        order = torch.from_numpy(shuffling.permutation(length)) if is_shuffled else slice(None)
        frames[n, :length] = one.frames[order]
        if is_spelled:
            spelled = [1 + ALPHABET.index(letter) for letter in one.text]
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
        metrics={"misread": misread},
        unit="utterances",
    )


def misread(model: nn.Module, batch: Any) -> torch.Tensor:
    """The share of letters that a linear probe misreads from what the network hears."""
    frames, _, letters, lengths = batch
    heard = cast(Listener, model).hear(frames).detach() if letters.any() else frames
    return torch.tensor(misread_letters(heard, letters, lengths))
