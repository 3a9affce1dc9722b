"""LoRA and the batch size: "LoRA Without Regret", and what is told of image models."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, product
from typing import cast

import numpy as np
import torch
from torch.nn import functional as F

from batchscope.budget import steps
from batchscope.errors import CannotTell
from batchscope.findings.claims import Claim, Seen, exactly
from batchscope.instruments.checkpoint import reach_checkpoint
from batchscope.instruments.memory.predicting import predict_peak
from batchscope.replications.adapting import Subject
from batchscope.replications.byte_model import describe_data, pretrain
from batchscope.replications.lab import ANYTHING, Arm, Ends, Lab, Trained
from batchscope.replications.local_models import read_subject
from batchscope.replications.published import Figure, Line, Measured, Published
from batchscope.replications.rates import find_best, search_ladders
from batchscope.studies.learning_rate import on_ladder
from batchscope.task import Task, tensors_of

_SMALL, _LARGE = 16, 256
_ALL = (4, 16, 64, 256)
_RANKS = {"C2a": 1, "C2b": 8}
_RANK = 8
_EPOCHS = 4
_BUDGET = f"{_EPOCHS}ep"
# The usual evaluations take longer than training does, and only the end is read.
_EVALUATE_EVERY = _BUDGET
# Half a decade apart; further ones where the best lies at the edge.
_RUNGS, _MOST_RATES = (-1, 0, 1), 6
# Batch size, examples in all, and rate over batch size: each in two values.
_Version = tuple[int, int, float]
_VERSIONS = tuple(product((16, 64), (256, 1024), (2.0**-13, 2.0**-11)))
# Those rates are for a best one of about this at 16.
_VERSIONS_RATE = 1e-2
# Of each version, 256 MiB.
_MOST_LOGITS = 2**26
_MEMORY_SIZES = (4, 16, 64, 256)

CLAIMS = (
    Claim(
        id="C1",
        name="LoRA at 256 ends more than 0.02 nats worse than at 16, equal epochs, rates tuned",
        kind="claim",
        direction="above",
        margin=0.02,
    ),
    Claim(
        id="C2a",
        name="from 16 to 256 LoRA of rank 1 loses more than full fine-tuning",
        kind="claim",
        direction="above",
        margin=0.0,
    ),
    Claim(
        id="C2b",
        name="from 16 to 256 LoRA of rank 8 loses more than full fine-tuning",
        kind="claim",
        direction="above",
        margin=0.0,
    ),
    Claim(
        id="C3a",
        name="the best rate of LoRA is more than 3 times that of full fine-tuning",
        kind="claim",
        direction="above",
        margin=3.0,
        is_ratio=True,
        source=10.0,
    ),
    Claim(
        id="C3b",
        name="the best rate of LoRA is less than 30 times that of full fine-tuning",
        kind="claim",
        direction="below",
        margin=30.0,
        is_ratio=True,
        source=10.0,
    ),
    Claim(
        id="C4",
        name="versions of equal examples and equal rate over batch size speak more alike than "
        "others: ratio of their divergences",
        kind="claim",
        direction="below",
        margin=1.0,
        is_ratio=True,
    ),
    Claim(
        id="C5",
        name="memory is linear in the batch size: largest departure from the line",
        kind="claim",
        direction="below",
        margin=0.05,
    ),
    Claim(
        id="O1",
        name="at equal updates LoRA at 256 ends less than 0.02 nats worse than at 16",
        kind="objection",
        direction="below",
        margin=0.02,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """A way of tuning the model.

    Attributes:
        rate: in the middle of where the best ones are looked for.
        worst: what a run that did not finish may have ended at: twice a uniform guess.
    """

    task: Task
    rate: float
    worst: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tuned:
    """A way at its best rates, which two other seeds chose."""

    runs: Trained
    rates: Mapping[int, float]
    worst: float

    def nats(self, size: int, seed: int) -> Ends:
        arm = (size, self.rates[size], seed)
        return self.runs.last(arm, "test_nats", censored=(0.0, self.worst))

    def mean(self, size: int, seeds: Sequence[int]) -> float:
        return float(np.mean([self.nats(size, seed).high for seed in seeds]))


def take_subject(lab: Lab) -> Subject:
    """The byte transformer, or at the scale of the paper a model that was trained elsewhere."""
    if lab.data is None:
        return describe_data(pretrain(lab.store))
    return read_subject(lab.data, largest=_LARGE, limit=lab.limit)


def measure(lab: Lab) -> Measured:
    """Rates are tuned on two other seeds at every size, then held fixed."""
    subject = take_subject(lab)
    sizes = (_SMALL, _LARGE) if lab.is_quick else _ALL
    whole = _take_way(lab, subject, None)
    full = _tune(lab, whole, sizes, _BUDGET)
    ways = {rank: _take_way(lab, subject, rank) for rank in _RANKS.values()}
    tuned = _tune(lab, ways[_RANK], sizes, _BUDGET)
    # With a scale over the rank the best rate does not depend on the rank (Schulman et al. 2025).
    lora = {
        rank: tuned if rank == _RANK else _train_at(lab, way, tuned.rates, _BUDGET)
        for rank, way in ways.items()
    }
    steps_taken = _EPOCHS * math.ceil(subject.train / _LARGE)
    updates = _tune(lab, ways[_RANK], (_SMALL,), f"{steps_taken}steps")

    def losses(arm: _Tuned) -> list[Seen]:
        return [arm.nats(_LARGE, s).minus(arm.nats(_SMALL, s)) for s in lab.seeds]

    def further(arm: _Tuned) -> list[Seen]:
        return [
            Seen(one.low - other.high, one.high - other.low)
            for one, other in zip(losses(arm), losses(full), strict=True)
        ]

    best = [
        _best_rates(lab, way, arm.rates[_SMALL])
        for way, arm in ((ways[_RANK], lora[_RANK]), (whole, full))
    ]
    ratios = [one.minus(other) for one, other in zip(*best, strict=True)]
    departure, fixed = _fit_memory(ways[_RANK].task)
    seen: dict[str, Sequence[Seen]] = {
        "C1": losses(lora[_RANK]),
        "C3a": ratios,
        "C3b": ratios,
        "C4": _compare_versions(lab, ways[_RANK]),
        "C5": exactly([departure] * len(lab.seeds)),
        "O1": [tuned.nats(_LARGE, s).minus(updates.nats(_SMALL, s)) for s in lab.seeds],
        **{name: further(lora[rank]) for name, rank in _RANKS.items()},
    }
    named = {"full": full, **{f"LoRA, rank {rank}": arm for rank, arm in lora.items()}}
    chosen = "; ".join(
        f"{name} {', '.join(f'{arm.rates[b]:.2g} at {b}' for b in sizes)}"
        for name, arm in named.items()
    )
    return Measured(
        seen=seen,
        figures=(_draw(named, sizes, lab.seeds, subject.token),),
        notes=(
            f"Rates, chosen on two other seeds: {chosen}. Those of rank 1 are rank {_RANK}'s.",
            f"Equal updates are the {steps_taken} of {_LARGE}, for which the rate at {_SMALL} is "
            f"{updates.rates[_SMALL]:.2g}.",
            f"Memory is that of a step's tensors, {fixed / 2**20:.2g} MiB of it without examples; "
            "it is the same for every seed.",
            *subject.notes,
        ),
    )


def _take_way(lab: Lab, subject: Subject, rank: int | None) -> _Way:
    """All weights where no rank is given, which no control freezes."""
    return _Way(
        task=subject.make_task(rank=rank, is_frozen=lab.is_control and rank is not None),
        rate=subject.full_rate if rank is None else subject.lora_rate,
        worst=2 * math.log(subject.vocabulary),
    )


def _draw(
    named: Mapping[str, _Tuned], sizes: Sequence[int], seeds: Sequence[int], token: str
) -> Figure:
    return Figure(
        title="Test loss after 4 epochs at the best rate, mean over seeds",
        x="batch size",
        y=f"nats per {token}",
        lines=tuple(
            Line(name=name, places=list(sizes), values=[arm.mean(b, seeds) for b in sizes])
            for name, arm in named.items()
        ),
    )


def _tune(lab: Lab, way: _Way, sizes: Sequence[int], budget: str) -> _Tuned:
    """By validation loss on seeds of the pilot; beyond the edge while the best lies there."""
    first = [on_ladder(way.rate, rung) for rung in _RUNGS]

    def choose(tried: Mapping[int, Sequence[float]]) -> dict[int, float]:
        runs = _train(lab, way, tried, budget, lab.short_pilot)

        def loss(size: int, rate: float) -> float:
            return sum(_nats(runs, way, (size, rate, seed)) for seed in lab.short_pilot)

        return {size: min(each, key=partial(loss, size)) for size, each in tried.items()}

    most = len(first) if lab.is_control else _MOST_RATES
    rates = search_ladders(dict.fromkeys(sizes, first), choose, most=most)
    return _train_at(lab, way, rates, budget)


def _train_at(lab: Lab, way: _Way, rates: Mapping[int, float], budget: str) -> _Tuned:
    """The seeds that claims are judged on, at rates that are chosen."""
    own = {size: [rate] for size, rate in rates.items()}
    runs = _train(lab, way, own, budget, lab.seeds)
    return _Tuned(runs=runs, rates=rates, worst=way.worst)


def _train(
    lab: Lab, way: _Way, rates: Mapping[int, Sequence[float]], budget: str, seeds: range
) -> Trained:
    return lab.train(
        way.task,
        list(rates),
        rates=rates,
        budget=budget,
        seeds=seeds,
        evaluate_every=_EVALUATE_EVERY,
    )


def _nats(runs: Trained, way: _Way, arm: Arm) -> float:
    """On validation data, at the end."""
    return runs.last(arm, "nats", censored=(0.0, way.worst)).high


def _best_rates(lab: Lab, way: _Way, middle: float) -> list[Ends]:
    """The log of each seed's best rate at 16, of the one chosen and its neighbours.

    Further rates are tried on a side where the best of any seed lies at the edge.
    """
    rungs = list(_RUNGS)
    while True:
        rates = [on_ladder(middle, rung) for rung in rungs]
        runs = _train(lab, way, {_SMALL: rates}, _BUDGET, lab.seeds)
        losses = [[_nats(runs, way, (_SMALL, rate, s)) for rate in rates] for s in lab.seeds]
        best = {int(np.argmin(own)) for own in losses}
        if best.isdisjoint({0, len(rungs) - 1}) or len(rungs) >= _MOST_RATES or lab.is_control:
            # A uniform guess is what no way begins above.
            return [find_best(rates, own, dead=way.worst / 2) for own in losses]
        lower = [rungs[0] - 1] if 0 in best else []
        rungs = [*lower, *rungs, *([rungs[-1] + 1] if len(rungs) - 1 in best else [])]


def _compare_versions(lab: Lab, way: _Way) -> list[Seen]:
    calls = [(seed, way.rate / _VERSIONS_RATE) for seed in lab.seeds]
    ratios = lab.ask(way.task, _compare_at_seed, calls, words="training versions")
    return [
        ANYTHING if ratio is None else Seen(ratio, ratio)
        for ratio in cast(list[float | None], ratios)
    ]


def _compare_at_seed(
    task: Task, seed: int, scale: float, *, report: Callable[[object], None]
) -> float | None:
    """The log of the divergence of pairs that the lore calls equal, less that of all others.

    None where a version diverges or learns nothing.

    Args:
        scale: of all rates.
    """
    del report
    try:
        spoken = {version: _speak(task, version, seed, scale) for version in _VERSIONS}
    except CannotTell:
        return None
    equal: list[float] = []
    other: list[float] = []
    for one, two in combinations(_VERSIONS, 2):
        divergence = _divergence(spoken[one], spoken[two])
        if not 1e-12 < divergence < math.inf:
            return None
        (equal if one[1:] == two[1:] else other).append(math.log(divergence))
    return float(np.mean(equal) - np.mean(other))


def _speak(task: Task, version: _Version, seed: int, scale: float) -> torch.Tensor:
    """Logs of the next token's probabilities on test windows, shape (tokens, vocabulary)."""
    size, examples, rate_per_example = version
    place = reach_checkpoint(
        task,
        after=steps(examples // size),
        device=torch.device("cpu"),
        precision="float32",
        batch_size=size,
        learning_rate=scale * rate_per_example * size,
        seed=seed,
    )
    tensors = tensors_of(task.datasets["test"])
    assert tensors is not None
    place.model.eval()
    windows = tensors[0][:, :-1]
    with torch.no_grad():
        vocabulary = place.model(windows[:1]).shape[-1]
        some = windows[: max(1, _MOST_LOGITS // (windows.shape[1] * vocabulary))]
        return F.log_softmax(place.model(some).flatten(0, 1), -1)


def _divergence(one: torch.Tensor, two: torch.Tensor) -> float:
    """Kullback and Leibler's, of each from the other, summed; nats per byte."""
    return float(((one.exp() - two.exp()) * (one - two)).sum(1).mean())


def _fit_memory(task: Task) -> tuple[float, float]:
    """The largest departure of a step's peak from a line, over the peak; and the line at 0."""
    peaks = [
        predict_peak(task, size, mode="training", precision="float32") for size in _MEMORY_SIZES
    ]
    # Weighed by the inverse of each, since departures are relative.
    slope, fixed = np.polyfit(_MEMORY_SIZES, peaks, 1, w=[1 / peak for peak in peaks])
    departures = [
        abs(peak - (fixed + slope * size)) / peak
        for size, peak in zip(_MEMORY_SIZES, peaks, strict=True)
    ]
    return max(departures), float(fixed)


STUDY = Published(
    name="lora",
    title="LoRA and the batch size",
    source="Schulman et al., LoRA Without Regret, 2025; Lee and Lee, Beware of the Batch Size, "
    "2026 (arXiv 2602.09492); a blog, Optimizing LoRA Training with Various Batch Sizes (original "
    "not found, unverified)",
    data="Stands in for large language and image models: a byte transformer of two layers, trained "
    "here on the source of Python's library, tuned on the texts that describe scikit-learn's data.",
    claims=CLAIMS,
    control="adapters that count for nothing",
    kills=("C1", "C2a", "C2b", "C3a", "C3b", "C4"),
    seeds={"quick": 5, "standard": 10},
    minutes={"quick": 3, "standard": 8},
    measure=measure,
    paper="a causal language model in model (config.json, safetensors, tokenizer.json) and JSON "
    "lines with a text in texts, cut into windows of up to 64 tokens",
)
