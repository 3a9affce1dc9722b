"""Practice: the batch size is tried out between 2 and 128, on validation data."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from sklearn import model_selection
from torch import nn
from torch.nn import functional as F

from batchscope.findings.claims import Claim, Seen, see_trend
from batchscope.gallery.digits import load_train_and_test
from batchscope.metrics import error_rate
from batchscope.optimizers import SGD
from batchscope.replications.growing import grow_at_seed
from batchscope.replications.lab import ANYTHING, Arm, Ends, Lab, Trained
from batchscope.replications.published import Figure, Line, Measured, Published
from batchscope.task import Task

_POWERS = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_USUAL = 128
# Between powers of two, so that the grid is three times as fine.
_FINER = (3, 5, 6, 10, 13, 20, 25, 40, 51, 81, 102)
_RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
_RUINOUS = 10.0
_EPOCHS = 15
_TRAIN, _VALIDATION = 1200, 237
_CHANCE = (0.0, 0.9)

CLAIMS = (
    Claim(
        id="C1",
        name="the neighbours of the batch size chosen on validation data are as good on test data, "
        "within half a point",
        kind="claim",
        direction="within",
        margin=0.005,
    ),
    Claim(
        id="C2",
        name="the best of 2 to 128 is within a point of the best of 2 to 1,024",
        kind="claim",
        direction="below",
        margin=0.01,
    ),
    Claim(
        id="C3",
        name="the best power of two is within a point of the best of a grid three times as fine",
        kind="claim",
        direction="below",
        margin=0.01,
    ),
    Claim(
        id="C4",
        name="the epoch of the lowest validation loss rises with the batch size, at one rate",
        kind="claim",
        direction="above",
        margin=0.0,
    ),
    Claim(
        id="C5a",
        name="a batch that doubles where validation stalls takes under 0.8 of the updates of the "
        "chosen size, equal epochs",
        kind="claim",
        direction="below",
        margin=0.8,
        is_ratio=True,
    ),
    Claim(
        id="C5b",
        name="a batch that doubles where validation stalls ends at the test error of the chosen "
        "size, within half a point",
        kind="claim",
        direction="within",
        margin=0.005,
    ),
)


def make_model() -> nn.Module:
    """A net of 64-64-10."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def _loss(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def make_task() -> Task:
    """Digits: 1,200 to train on, 237 to choose by, 360 to test."""
    (inputs, classes), test = load_train_and_test()
    train, val = cast(Any, model_selection).train_test_split(
        np.arange(len(inputs)), test_size=_VALIDATION, stratify=classes.numpy(), random_state=0
    )
    return Task(
        name="digits-selection",
        model=make_model,
        loss=_loss,
        train=(inputs[train], classes[train]),
        val=(inputs[val], classes[val]),
        test=test,
        optimizer=SGD(lr=0.01, momentum=0.9),
        metrics={"error": error_rate},
        unit="images",
    )


@dataclass(frozen=True, slots=True)
class _Grown:
    """Updates, batch size and test error at the end of a run whose batch grew."""

    updates: int
    size: int
    error: float


def measure(lab: Lab) -> Measured:
    """Every batch size at every rate; each seed chooses its rates and its size as people do, on
    validation data.
    """
    task, budget = make_task(), f"{_EPOCHS}ep"
    finer = [size for size in _FINER if size >= 10] if lab.is_quick else _FINER
    sizes = tuple(sorted({*_POWERS, *finer}))
    runs = lab.train(task, sizes, rates=_RATES, budget=budget)
    tuned = {
        seed: {size: min(_RATES, key=lambda r: _validate(runs, (size, r, seed))) for size in sizes}
        for seed in lab.seeds
    }

    def choose(among: Iterable[int], seed: int) -> int:
        return min(among, key=lambda size: _validate(runs, (size, tuned[seed][size], seed)))

    def test(size: int, seed: int) -> Ends:
        return runs.last((size, tuned[seed][size], seed), "test_error", censored=_CHANCE)

    best = {seed: choose(_POWERS, seed) for seed in lab.seeds}
    beside = {seed: _neighbours(size) for seed, size in best.items()}
    around = {seed: [test(b, seed) for b in sizes] for seed, sizes in beside.items()}
    if lab.is_control:
        wanted = sorted({size for sizes in beside.values() for size in sizes})
        ruined = lab.train(task, wanted, rates=[_RUINOUS], budget=budget)
        around = {
            seed: [ruined.last((b, _RUINOUS, seed), "test_error", censored=_CHANCE) for b in sizes]
            for seed, sizes in beside.items()
        }
    small = [size for size in _POWERS if size <= _USUAL]
    grown = _grow(lab, task, {s: (best[s], tuned[s][best[s]], s) for s in lab.seeds})
    seen: dict[str, list[Seen]] = {
        "C1": [_mean(around[s]).minus(test(best[s], s)) for s in lab.seeds],
        "C2": [test(choose(small, s), s).minus(test(best[s], s)) for s in lab.seeds],
        "C3": [test(best[s], s).minus(test(choose(sizes, s), s)) for s in lab.seeds],
        "C4": [
            see_trend([e.low for e in stops], [e.high for e in stops])
            for stops in ([_stop(runs, size, s) for size in _POWERS] for s in lab.seeds)
        ],
        "C5a": [_compare_updates(runs, arm, found) for arm, found in grown.items()],
        "C5b": [
            (Ends(*_CHANCE) if found is None else Ends(found.error, found.error)).minus(
                test(arm[0], arm[2])
            )
            for arm, found in grown.items()
        ],
    }
    figure = Figure(
        title="Error at each batch size, its rate tuned on validation data",
        x="batch size",
        y="error, mean over seeds",
        lines=tuple(
            Line(
                name=name,
                places=list(sizes),
                values=[_mean_over(runs, tuned, size, column) for size in sizes],
            )
            for name, column in (("validation", "error"), ("test", "test_error"))
        ),
    )
    chosen = ", ".join(str(size) for size in best.values())
    return Measured(
        seen=seen,
        figures=(figure,),
        notes=(
            f"Of the powers of two the seeds chose {chosen}.",
            "From these, and at their rates, batches that double where the lowest validation loss "
            "is an epoch old grew to "
            + ", ".join("(diverged)" if g is None else f"{g.size}" for g in grown.values())
            + ".",
            f"The finer grid is {', '.join(map(str, finer))}, between the powers of two.",
        ),
    )


def _grow(lab: Lab, task: Task, chosen: Mapping[int, Arm]) -> dict[Arm, _Grown | None]:
    """A run of each seed that begins as the one that it chose; None where it diverged."""
    calls = [(*arm, _EPOCHS, _POWERS[-1]) for arm in chosen.values()]
    answers = lab.ask(task, grow_at_seed, calls, words="training with batches that grow")
    return {
        arm: None if found is None else _Grown(round(found[0]), round(found[1]), found[2])
        for arm, found in zip(chosen.values(), cast(list[list[float] | None], answers), strict=True)
    }


def _compare_updates(runs: Trained, arm: Arm, found: _Grown | None) -> Seen:
    """The log of the updates with growth over those of the fixed size."""
    if found is None:
        return ANYTHING
    fixed = runs.last(arm, "step", censored=(1.0, float(_EPOCHS * _TRAIN)))
    return Ends(found.updates, found.updates).over(fixed)


def _neighbours(size: int) -> list[int]:
    place = _POWERS.index(size)
    return [_POWERS[p] for p in (place - 1, place + 1) if 0 <= p < len(_POWERS)]


def _validate(runs: Trained, arm: Arm) -> tuple[float, float]:
    """Validation error of a run, and where errors tie its loss."""
    error, loss = (runs.last(arm, c, censored=(0.0, 1e9)).high for c in ("error", "val_loss"))
    return error, loss


def _mean(ends: Sequence[Ends]) -> Ends:
    return Ends(float(np.mean([e.low for e in ends])), float(np.mean([e.high for e in ends])))


def _mean_over(
    runs: Trained, tuned: Mapping[int, Mapping[int, float]], size: int, column: str
) -> float:
    ends = [
        runs.last((size, rates[size], seed), column, censored=_CHANCE)
        for seed, rates in tuned.items()
    ]
    return _mean(ends).high


def _stop(runs: Trained, size: int, seed: int) -> Ends:
    """The epoch at which validation loss is lowest, at the rate in the middle.

    Of one that falls to the end it is known to be no earlier, of one that diverged nothing.
    """
    arm = (size, _RATES[len(_RATES) // 2], seed)
    if runs.runs[arm].status != "finished":
        return Ends(0.0, math.inf)
    losses, seen = runs.column(arm, "val_loss"), runs.column(arm, "examples")
    at = int(np.argmin(losses))
    epoch = float(seen[at]) / _TRAIN
    return Ends(epoch, math.inf if at == len(losses) - 1 else epoch)


STUDY = Published(
    name="selection",
    title="Choosing a batch size by trial and error",
    source="practice, no one paper (unverified)",
    data="No data are published: the 1,797 digits of scikit-learn, 237 of them to choose by, a net "
    "of 64-64-10.",
    claims=CLAIMS,
    control="the neighbours of the best are given a ruinous rate",
    kills=("C1",),
    seeds={"quick": 8, "standard": 12},
    minutes={"quick": 2, "standard": 2},
    measure=measure,
)
