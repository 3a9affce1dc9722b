"""Utterances made up of phones, and a network that learns from them without their labels."""

from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from batchscope.optimizers import AdamW
from batchscope.task import Task

FRAMES, BANDS = 80, 24
# So many that no run sees one more than twice, as the source's.
_TRAIN, _LABELLED, _HELD_OUT = 8192, 40, 80
_PHONES = 12
# So loud that an untrained network's probe misreads a third of the frames.
_NOISE = 1.6
_PEAK, _BROAD = 3.0, 1.5
_MASK_SHARE, MASK_FRAMES = 0.06, 8
_WIDTH = 64
_TEMPERATURE = 0.1
_RIDGE = 1e-3


def generate_utterances(
    count: int, seed: int, *, is_shuffled: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Frames of shape (n, 80, 24), which of them are masked, and their phones, both (n, 80).

    Twelve phones of two formants each follow one another by a sparse Markov grammar for 4 to 9
    frames, spoken by speakers who differ in formant scale, tilt and gain, in noise that leaves a
    frame by itself ambiguous.

    Args:
        is_shuffled: in an order of frames that tells nothing.
    """
    grammar = np.random.default_rng(0)
    formants = grammar.uniform(0, BANDS, (_PHONES, 2))
    # Of each phone, the chance that one of the first so many comes next.
    chances = grammar.dirichlet(np.full(_PHONES, 0.25), _PHONES).cumsum(axis=1)
    rng = np.random.default_rng([1, seed])
    bands = np.arange(BANDS)
    frames = np.empty((count, FRAMES, BANDS))
    phones = np.empty((count, FRAMES), dtype=np.int64)
    masks = np.empty((count, FRAMES), dtype=bool)
    for n in range(count):
        spoken: list[int] = []
        phone = int(rng.integers(_PHONES))
        while len(spoken) < FRAMES:
            spoken += [phone] * min(9, max(4, round(rng.gamma(9.0, 0.7))))
            phone = min(_PHONES - 1, int(chances[phone].searchsorted(rng.random(), "right")))
        order = rng.permutation(FRAMES) if is_shuffled else np.arange(FRAMES)
        phones[n] = np.array(spoken[:FRAMES])[order]
        scale, tilt, gain = rng.uniform(0.88, 1.12), rng.normal(0, 0.5), rng.normal(0, 0.5)
        off = bands - scale * formants[phones[n]][:, :, None]
        voice = _PEAK * np.exp(-np.square(off / _BROAD) / 2).sum(1)
        noise = _NOISE * rng.standard_normal((FRAMES, BANDS))
        frames[n] = voice + gain + tilt * (bands / BANDS - 0.5) + noise
        masks[n] = draw_mask(rng, FRAMES)
    return torch.tensor(frames, dtype=torch.float32), torch.tensor(masks), torch.tensor(phones)


def draw_mask(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Which frames of an utterance are masked, shape (frames,): spans of 8, at least one."""
    mask = np.zeros(frames, dtype=bool)
    starts = np.flatnonzero(rng.random(frames) < _MASK_SHARE)
    # An utterance without a masked frame would teach nothing.
    for start in starts if len(starts) else rng.integers(frames - MASK_FRAMES, size=1):
        mask[start : start + MASK_FRAMES] = True
    return mask


class Listener(nn.Module):
    """Two convolutions that see 21 frames, masked ones replaced by a learned one.

    Args:
        bands: of a frame.
    """

    def __init__(self, bands: int = BANDS) -> None:
        super().__init__()
        self.masked = nn.Parameter(torch.zeros(bands))
        # Of one dimension they would take a third longer on a CPU.
        self.near = nn.Conv2d(bands, _WIDTH, (1, 5), padding=(0, 2))
        self.far = nn.Conv2d(_WIDTH, _WIDTH, (1, 9), padding=(0, 8), dilation=(1, 2))
        self.guess = nn.Linear(2 * _WIDTH, _WIDTH)
        self.project = nn.Linear(bands, _WIDTH)

    def hear(self, frames: torch.Tensor) -> torch.Tensor:
        """What is known at each frame, shape (n, frames, 128)."""
        near = F.relu(self.near(frames.transpose(1, 2).unsqueeze(2)))
        return torch.cat([near, F.relu(self.far(near))], dim=1).squeeze(2).transpose(1, 2)

    def forward(self, frames: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """How like each frame of its utterance each guess is, shape (n, frames, frames)."""
        seen = torch.where(masks[..., None], self.masked, frames)
        guesses = F.normalize(self.guess(self.hear(seen)), dim=-1)
        own = F.normalize(self.project(frames), dim=-1)
        return guesses @ own.transpose(1, 2) / _TEMPERATURE


def contrast(model: nn.Module, batch: Any) -> torch.Tensor:
    """Telling a masked frame's own projection from the others of its utterance, in nats.

    Each utterance weighs alike, and none looks at another: the loss does not depend on the batch.
    """
    frames, masks, *_ = batch
    logs = F.log_softmax(model(frames, masks), dim=-1).diagonal(dim1=1, dim2=2)
    return -((logs * masks).sum(1) / masks.sum(1)).mean()


def misread_phones(model: nn.Module, batch: Any) -> torch.Tensor:
    """The share of frames that a linear probe misreads, learned from the first 40 utterances.

    Chance where there are no phones, as in training, or none to judge by.
    """
    frames, _, *told = batch
    chance = torch.tensor(1 - 1 / _PHONES)
    if not told or len(frames) <= _LABELLED:
        return chance
    heard = cast(Listener, model).hear(frames).detach()
    return torch.tensor(misread_by_probe(heard, told[0])) if heard.isfinite().all() else chance


def misread_by_probe(features: torch.Tensor, phones: torch.Tensor) -> float:
    """Ridge regression of the phones on features of shape (n, 80, d), labels of 40 utterances."""
    flat = features.double().flatten(0, 1)
    known = _LABELLED * FRAMES
    mean, spread = flat[:known].mean(0), flat[:known].std(0) + 1e-9
    x = torch.cat([(flat - mean) / spread, torch.ones(len(flat), 1, dtype=torch.float64)], dim=1)
    classes = F.one_hot(phones.flatten(), _PHONES).double()
    gram = x[:known].T @ x[:known] + _RIDGE * known * torch.eye(x.shape[1], dtype=torch.float64)
    weights = cast(torch.Tensor, torch.linalg.solve(gram, x[:known].T @ classes[:known]))
    read = (x[known:] @ weights).argmax(1)
    return float((read != phones.flatten()[known:]).double().mean())


def make_task(*, is_shuffled: bool = False, count: int = _TRAIN) -> Task:
    """8,192 utterances without labels, or `count`; 40 with, and 80 to test."""
    return Task(
        name="utterances-shuffled" if is_shuffled else "utterances",
        model=Listener,
        loss=contrast,
        train=generate_utterances(count, 0, is_shuffled=is_shuffled)[:2],
        val=generate_utterances(_LABELLED + _HELD_OUT, 1, is_shuffled=is_shuffled),
        optimizer=AdamW(lr=1.5e-3, reference_batch_size=32),
        metrics={"misread": misread_phones},
        unit="utterances",
    )
