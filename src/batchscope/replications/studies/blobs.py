"""Brownlee 2019: batch size against speed and stability on three blobs."""

import functools
from typing import Any, cast

import numpy as np
import torch
from sklearn import datasets
from torch.nn import functional as F

from batchscope.budget import Target, epochs
from batchscope.findings.claims import Claim, Seen, see_trend
from batchscope.gallery.blobs_mlp import make_model
from batchscope.metrics import error_rate
from batchscope.optimizers import SGD
from batchscope.replications.lab import Arm, Ends, Lab, Trained
from batchscope.replications.published import Figure, Line, Measured, Published
from batchscope.task import Task

_RATE, _LOWER_RATE = 0.01, 0.001
_EPOCHS, _LAST = 200, 50
_WHOLE = 500
_FRESH = 20_000
_SIZES = (4, 8, 16, 32, 64, 128, 256, _WHOLE)
_CHANCE = (0.0, 2 / 3)
_REACHED = Target("error", 0.2, "<=")

CLAIMS = (
    Claim(
        id="C1",
        name="a batch of one is 10 points worse than the whole set",
        kind="claim",
        direction="above",
        margin=0.10,
        source=0.218,
    ),
    Claim(
        id="C2",
        name="at a tenth of the rate a batch of one is as good as the whole set",
        kind="claim",
        direction="within",
        margin=0.02,
        source=0.006,
    ),
    Claim(
        id="C3",
        name="epochs to 80% at 32 are under half of those of the whole set",
        kind="claim",
        direction="below",
        margin=0.5,
        is_ratio=True,
    ),
    Claim(
        id="C4",
        name="the spread of test accuracy over the last 50 epochs falls with the batch size",
        kind="claim",
        direction="below",
        margin=0.0,
    ),
    Claim(
        id="C5",
        name="the epoch picked on the test set flatters at 32",
        kind="objection",
        direction="above",
        margin=0.0,
    ),
)


@functools.cache
def _points(permuted: bool) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """500 points to train on and 500 to test, of one draw; 20,000 fresh ones of the same blobs."""
    options: dict[str, Any] = {"n_features": 2, "cluster_std": 2}
    make = cast(Any, datasets).make_blobs
    points, clouds, centers = make(
        n_samples=2 * _WHOLE, centers=3, random_state=2, return_centers=True, **options
    )
    fresh, fresh_clouds = make(n_samples=_FRESH, centers=centers, random_state=3, **options)
    if permuted:
        rng = np.random.default_rng(0)
        clouds, fresh_clouds = rng.permutation(clouds), rng.permutation(fresh_clouds)

    def tensors(x: np.ndarray, y: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.int64)

    return {
        "train": tensors(points[:_WHOLE], clouds[:_WHOLE]),
        "val": tensors(points[_WHOLE:], clouds[_WHOLE:]),
        "test": tensors(fresh, fresh_clouds),
    }


def _loss(model: torch.nn.Module, batch: Any) -> torch.Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def make_task(permuted: bool) -> Task:
    """Two inputs, 50 hidden units, three classes; the test set is what it is validated on."""
    parts = _points(permuted)
    return Task(
        name="blobs-permuted" if permuted else "blobs-of-brownlee",
        model=make_model,
        loss=_loss,
        train=parts["train"],
        val=parts["val"],
        test=parts["test"],
        optimizer=SGD(lr=_RATE, momentum=0.9),
        metrics={"error": error_rate},
        unit="points",
        budget=epochs(_EPOCHS),
    )


def measure(lab: Lab) -> Measured:
    """Every size at the source's rate, a batch of one at a tenth of it too."""
    task = make_task(lab.is_control)
    budget = f"{_EPOCHS}ep"
    last = [f"{epoch}ep" for epoch in range(_EPOCHS - _LAST, _EPOCHS, 2)]
    runs = lab.train(task, _SIZES, rates=[_RATE], budget=budget, also_read=last)
    one = lab.train(task, [1], rates=[_LOWER_RATE, _RATE], budget=budget)
    error = {
        seed: runs.last((_WHOLE, _RATE, seed), "error", censored=_CHANCE) for seed in lab.seeds
    }
    seen = {
        "C1": [
            one.last((1, _RATE, seed), "error", censored=_CHANCE).minus(error[seed])
            for seed in lab.seeds
        ],
        "C2": [
            one.last((1, _LOWER_RATE, seed), "error", censored=_CHANCE).minus(error[seed])
            for seed in lab.seeds
        ],
        "C3": [_places(runs, 32, seed).over(_places(runs, _WHOLE, seed)) for seed in lab.seeds],
        "C4": [
            see_trend([e.low for e in spreads], [e.high for e in spreads])
            for spreads in ([_spread(runs, size, s) for size in _SIZES] for s in lab.seeds)
        ],
        "C5": [_flattery(runs, seed) for seed in lab.seeds],
    }
    lines = tuple(
        Line(
            name=f"batch size {size}",
            places=[x / _WHOLE for x in runs.column((size, _RATE, lab.first_seed), "examples")],
            values=[1 - x for x in runs.column((size, _RATE, lab.first_seed), "error")],
        )
        for size in (4, 32, _WHOLE)
    )
    figure = Figure(
        title="Test accuracy while training, one seed",
        x="epochs",
        y="accuracy",
        lines=lines,
        logarithmic=(False, False),
    )
    return Measured(
        seen=seen,
        figures=(figure,),
        notes=(
            "At 256 the second batch of an epoch has 244 points.",
            "C5 is by how much the picked epoch flatters beyond what all late epochs do on the "
            "500 points of the test set.",
        ),
    )


def _places(runs: Trained, size: int, seed: int) -> Ends:
    """Examples to 80%; where it is not reached the horizon and eight times that."""
    found = runs.reach((size, _RATE, seed), _REACHED, "examples")
    horizon = float(_EPOCHS * _WHOLE)
    return Ends(horizon, 8 * horizon) if found is None else Ends(found, found)


def _late(runs: Trained, arm: Arm, column: str) -> list[float]:
    """A column over the last epochs."""
    places = runs.column(arm, "examples")
    first = _WHOLE * (_EPOCHS - _LAST)
    return [x for x, at in zip(runs.column(arm, column), places, strict=True) if at > first]


def _spread(runs: Trained, size: int, seed: int) -> Ends:
    """The error's deviation over the last epochs; of a run that diverged what it can be."""
    arm = (size, _RATE, seed)
    if runs.runs[arm].status != "finished":
        return Ends(0.0, 0.5)
    deviation = float(np.std(_late(runs, arm, "error")))
    return Ends(deviation, deviation)


def _flattery(runs: Trained, seed: int) -> Seen:
    """Accuracy of the best epoch by the test set, less what it is on fresh points.

    By how much more than that of all late epochs, since the test set's 500 points may be easier
    than others whichever epoch is picked.
    """
    arm = (32, _RATE, seed)
    if runs.runs[arm].status != "finished":
        return Seen(-1.0, 1.0)
    errors, fresh = runs.column(arm, "error"), runs.column(arm, "test_error")
    best = int(np.argmin(errors))
    usual = np.mean(_late(runs, arm, "test_error")) - np.mean(_late(runs, arm, "error"))
    value = fresh[best] - errors[best] - float(usual)
    return Seen(value, value)


STUDY = Published(
    name="blobs",
    title="Speed and stability on three blobs",
    source="J. Brownlee, How to Control the Speed and Stability of Training Neural Networks, "
    "machinelearningmastery.com, 2019",
    data="The source's own data, generated by its own call of make_blobs; 20,000 fresh points.",
    claims=CLAIMS,
    control="permuted labels: nothing can be learnt but the points themselves",
    kills=("C1", "C3"),
    seeds={"quick": 5, "standard": 10},
    minutes={"quick": 2, "standard": 2},
    measure=measure,
)
