"""Chang 2020 and Shen 2018: large batches stay near the initial weights."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from batchscope.budget import epochs
from batchscope.errors import CannotTell
from batchscope.findings.claims import Claim, Seen
from batchscope.gallery.digits import Images, load_train_and_test
from batchscope.instruments.checkpoint import reach_checkpoint
from batchscope.metrics import error_rate
from batchscope.optimizers import SGD, OptimizerSpec
from batchscope.replications.departing import (
    FromStart,
    Layers,
    compare_layers,
    distance_from_start,
    draw_layers,
)
from batchscope.replications.formats.mnist import read_mnist
from batchscope.replications.formats.photographs import read_photographs
from batchscope.replications.lab import Ends, Lab
from batchscope.replications.published import Figure, Line, Measured, Published
from batchscope.task import Task, tensors_of

_RATE = 0.05
_EPOCHS = 40
_RAISED = (2, 4, 8, 16, 32)
_QUICK = (32, 1024)
_ALL = (8, 32, 128, 512, 1024)
# Of a run that diverged: no distance at all, or a hundred times that of the net's own weights.
_FAR = (1e-3, 1e3)
_CHANCE = (0.0, 0.9)

CLAIMS = (
    Claim(
        id="C1",
        name="at equal epochs the distance at 1,024 is under half of that at 32",
        kind="claim",
        direction="below",
        margin=0.5,
        is_ratio=True,
    ),
    Claim(
        id="C2",
        name="a raised rate brings 1,024 to the distance of 32",
        kind="claim",
        direction="within",
        margin=1.25,
        is_ratio=True,
    ),
    Claim(
        id="C3",
        name="a raised rate brings 1,024 to within 3 points of the accuracy at 32",
        kind="claim",
        direction="below",
        margin=0.03,
    ),
    Claim(
        id="C4",
        name="switched to 32 half-way, 1,024 comes within 3 points of the accuracy at 32",
        kind="claim",
        direction="below",
        margin=0.03,
    ),
    Claim(
        id="O1",
        name="at equal updates the distances at 1,024 and 32 are the same",
        kind="objection",
        direction="within",
        margin=1.25,
        is_ratio=True,
    ),
)


def make_dense_net(inputs: int = 64) -> nn.Module:
    """A net of 64-128-128-10, or of so many inputs instead."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, 128),
        nn.ReLU(),
        nn.Linear(128, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def make_photograph_net() -> nn.Module:
    """Four convolutions of 16 to 64 channels on photographs of 64 by 64 pixels, two classes."""
    layers: list[nn.Module] = []
    for before, after in ((3, 16), (16, 32), (32, 64), (64, 64)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 64), nn.ReLU(), nn.Linear(64, 2))


def make_model(make_net: Callable[[], nn.Module] = make_dense_net) -> nn.Module:
    """A net that remembers where it began."""
    return FromStart(make_net())


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What is trained on, by which net.

    Attributes:
        notes: on what was left out.
    """

    name: str
    train: Images
    test: Images
    make_net: Callable[[], nn.Module] = make_dense_net
    notes: tuple[str, ...] = ()


def read_material(lab: Lab) -> Material:
    """Digits, or at the scale of the paper cats and dogs if the folder has them, else MNIST."""
    if lab.data is None:
        train, test = load_train_and_test()
        return Material(name="digits-distance", train=train, test=test)
    if any((lab.data / name).is_dir() for name in ("PetImages", "Cat")):
        images, classes, skips = read_photographs(lab.data, limit=lab.limit)
        order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(0))
        images, classes, count = images[order], classes[order], max(1, len(classes) // 5)
        return Material(
            name="pets-distance",
            train=(images[count:], classes[count:]),
            test=(images[:count], classes[:count]),
            make_net=make_photograph_net,
            notes=skips.notes,
        )
    train, test = read_mnist(lab.data, limit=lab.limit)
    inputs = train[0][0].numel()
    return Material(
        name="mnist-distance", train=train, test=test, make_net=partial(make_dense_net, inputs)
    )


def _loss(model: nn.Module, batch: Any) -> torch.Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def make_task(material: Material, *, optimizer: OptimizerSpec | None = None) -> Task:
    """Plain SGD unless another optimizer is given."""
    return Task(
        name=material.name,
        model=partial(make_model, material.make_net),
        loss=_loss,
        train=material.train,
        val=material.test,
        optimizer=optimizer or SGD(lr=_RATE),
        metrics={"error": error_rate, "distance": distance_from_start},
        unit="images",
        budget=epochs(_EPOCHS),
    )


def measure(lab: Lab) -> Measured:
    """Equal epochs, equal updates, and the rate raised for the large batch."""
    material = read_material(lab)
    task = make_task(material)
    budget = f"{_EPOCHS}ep"
    updates = _EPOCHS * -(-task.train_size // 32)
    sizes = _QUICK if lab.is_quick or lab.is_control else _ALL
    if lab.is_control:
        by_epochs = by_updates = lab.train(task, sizes, rates=[_RATE], budget=f"{updates}steps")
    else:
        by_epochs = lab.train(task, sizes, rates=[_RATE], budget=budget)
        # The epochs of 32 are its updates.
        by_updates = lab.train(task, [1024], rates=[_RATE], budget=f"{updates}steps")
    rate = _choose_rate(lab, task)
    raised = lab.train(task, [1024], rates=[rate], budget=budget)
    switched = lab.ask(task, _switch_at_seed, [(s,) for s in lab.seeds], words="switching to 32")

    def ratio(runs: Any, arm: tuple[int, float, int], beside: Any, seed: int) -> Seen:
        small = beside.last((32, _RATE, seed), "distance", censored=_FAR)
        return runs.last(arm, "distance", censored=_FAR).over(small)

    seen = {
        "C1": [ratio(by_epochs, (1024, _RATE, s), by_epochs, s) for s in lab.seeds],
        "C2": [ratio(raised, (1024, rate, s), by_epochs, s) for s in lab.seeds],
        "C3": [
            raised.last((1024, rate, s), "error", censored=_CHANCE).minus(
                by_epochs.last((32, _RATE, s), "error", censored=_CHANCE)
            )
            for s in lab.seeds
        ],
        "C4": [
            (Ends(*_CHANCE) if error is None else Ends(error, error)).minus(
                by_epochs.last((32, _RATE, s), "error", censored=_CHANCE)
            )
            for s, error in zip(lab.seeds, cast(list[float | None], switched), strict=True)
        ],
        "O1": [ratio(by_updates, (1024, _RATE, s), by_epochs, s) for s in lab.seeds],
    }
    lines = tuple(
        Line(
            name=f"batch size {size}",
            places=list(by_epochs.column((size, _RATE, lab.first_seed), "step")),
            values=list(by_epochs.column((size, _RATE, lab.first_seed), "distance")),
        )
        for size in sizes
    )
    figure = Figure(
        title="Distance from the initial weights against updates, one seed",
        x="updates",
        y="distance",
        lines=lines,
        logarithmic=(True, False),
    )
    (answer,) = lab.ask(task, _read_layers, [(lab.first_seed,)], words="reading the layers")
    layers = cast(Layers | None, answer)
    return Measured(
        seen=seen,
        figures=(figure, *([] if layers is None else draw_layers(layers, epochs=_EPOCHS))),
        causes={"C1": by_epochs.explain(32, 1024)},
        notes=(
            f"The rate for 1,024 was raised {rate / _RATE:.0f} times, chosen on four other seeds.",
            f"Equal updates are the {updates:,} of 32.",
            f"At 1,024 the last batch of an epoch has {task.train_size % 1024 or 1024:,} images.",
            "In Chang's runs, one each on photographs (figures unverified), the best solutions lie "
            "about 6 from the initial weights, and the validation loss is 0.344 at 32 and 0.395 at "
            "256.",
            *material.notes,
        ),
    )


def _switch_at_seed(task: Task, seed: int, *, report: Callable[[object], None]) -> float | None:
    """The error after half of the epochs at 1,024 and the other half at 32; None if it diverged."""
    del report
    try:
        first = _train(task, 1024, seed, share=0.5)
        second = _train(replace(task, model=partial(deepcopy, first)), 32, seed, share=0.5)
    except CannotTell:
        return None
    with torch.no_grad():
        return float(error_rate(second, tensors_of(task.datasets["val"])))


def _train(task: Task, batch_size: int, seed: int, *, share: float) -> FromStart:
    """The net after a share of the epochs."""
    found = reach_checkpoint(
        task,
        after=epochs(share * _EPOCHS),
        device=torch.device("cpu"),
        precision="float32",
        batch_size=batch_size,
        learning_rate=_RATE,
        seed=seed,
    )
    return cast(FromStart, found.model)


def _read_layers(task: Task, seed: int, *, report: Callable[[object], None]) -> Layers | None:
    """What 32 and 1,024 made of the layers; None where one of the two diverged."""
    del report
    try:
        ends = {f"batch size {size}": _train(task, size, seed, share=1.0) for size in (32, 1024)}
    except CannotTell:
        return None
    return compare_layers(ends)


def _choose_rate(lab: Lab, task: Task) -> float:
    """Of the raised rates the one whose distance is nearest to that of 32, on other seeds."""
    rates = [_RATE * factor for factor in _RAISED]
    large = lab.train(task, [1024], rates=rates, budget=f"{_EPOCHS}ep", seeds=lab.pilot)
    small = lab.train(task, [32], rates=[_RATE], budget=f"{_EPOCHS}ep", seeds=lab.pilot)

    def away(rate: float) -> float:
        return sum(
            abs(
                large.last((1024, rate, seed), "distance", censored=_FAR)
                .over(small.last((32, _RATE, seed), "distance", censored=_FAR))
                .low
            )
            for seed in lab.pilot
        )

    return min(rates, key=away)


STUDY = Published(
    name="distance",
    title="How far training goes from the initial weights",
    source="D. Chang, Effect of Batch Size on Neural Net Training, Medium, 2020 (attribution "
    "unverified); K. Shen, Effect of batch size on training dynamics, Mini Distill, 2018",
    data="Stands in for cats and dogs and MNIST: the 1,797 digits of scikit-learn, a net of "
    "64-128-128-10, SGD.",
    claims=CLAIMS,
    control="equal updates at both batch sizes",
    kills=("C1",),
    seeds={"quick": 5, "standard": 10},
    minutes={"quick": 1, "standard": 2},
    measure=measure,
    paper="MNIST's four IDX files, or the photographs of PetImages/Cat and PetImages/Dog, of which "
    "a fifth tests",
)
