"""How well letters are read from the frames of speech: a linear probe."""

from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from batchscope.workers.extras import import_extra

ALPHABET = " 'ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_RIDGE, _ROUNDS = 1e-3, 40
_LEARNED_SHARE = 2 / 3


def misread_letters(features: torch.Tensor, letters: torch.Tensor, lengths: torch.Tensor) -> float:
    """Changes that turn what is read into what was said, over the letters said; at most 1.

    Of features that are no numbers, and where no letters are known, it is 1.

    The probe is one linear map from a frame to letters, fitted by connectionist temporal
    classification (Graves et al. 2006) on two thirds of the utterances and read greedily on the
    others.

    Args:
        features: of shape (n, frames, d).
        letters: from 1 on, of shape (n, letters), 0 behind the last.
        lengths: frames of each utterance, of shape (n,).
    """
    if not letters.any() or not features.isfinite().all():
        return 1.0
    distance = import_extra("rapidfuzz.distance", extra="data", where="--data").Levenshtein
    known = round(len(letters) * _LEARNED_SHARE)
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
    probe = nn.Linear(x.shape[-1], 1 + len(ALPHABET))
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
