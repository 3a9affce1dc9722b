"""Whether the noise of batch norm regularises: nets with it, without it, and over ghost batches."""

import math
from dataclasses import replace

from torch import nn
from torch.nn import functional as F

from batchscope.budget import Target
from batchscope.findings.claims import Seen
from batchscope.gallery.digits import load_train_and_test
from batchscope.metrics import error_rate
from batchscope.optimizers import SGD
from batchscope.replications.lab import Lab, Trained
from batchscope.task import Task

# So many that no batch of 16 or 512 is short.
_IMAGES = 512
_SMALL, _LARGE = 16, 512
_RATE = 0.05
_UPDATES = 600
_LEVEL = 0.03
# Of two test losses where a run missed the level: both are at most the untrained net's.
_UNKNOWN = Seen(-math.log(10), math.log(10))


def compare_gaps(lab: Lab) -> tuple[list[Seen], list[Seen], str]:
    """How much larger the gap of test and training loss is at 512 than at 16, and than with ghosts.

    Digits, a net of 64-64-64-10 with batch norm, read where its training loss first is 0.03.

    Returns:
        Per seed the difference of 512 and 16, that of 512 and 512 normalised over 16 examples, and
        what the net without batch norm does, in a sentence.
    """
    normed = make_task(is_normed=True)
    ghosts = replace(normed, name="digits-ghost", ghost_batch=_SMALL)
    plain = _train(lab, make_task(is_normed=False), [_SMALL, _LARGE])
    by_size = _train(lab, normed, [_SMALL, _LARGE])
    by_part = _train(lab, ghosts, [_LARGE])
    without = [_subtract(plain, _LARGE, plain, _SMALL, seed) for seed in lab.seeds]
    middle = sum((seen.low + seen.high) / 2 for seen in without) / len(without)
    return (
        [_subtract(by_size, _LARGE, by_size, _SMALL, seed) for seed in lab.seeds],
        [_subtract(by_size, _LARGE, by_part, _LARGE, seed) for seed in lab.seeds],
        f"O4 is of {_IMAGES} digits and a dense net at a training loss of {_LEVEL}; without batch "
        f"norm its gap at {_LARGE} less that at {_SMALL} is {middle:+.3f}.",
    )


def make_task(*, is_normed: bool) -> Task:
    """The first 512 digits of the training part, with or without batch norm."""
    (images, classes), test = load_train_and_test()
    return Task(
        name="digits-normed" if is_normed else "digits-unnormed",
        model=make_normed_net if is_normed else make_plain_net,
        loss=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]),
        train=(images[:_IMAGES], classes[:_IMAGES]),
        val=test,
        optimizer=SGD(lr=_RATE, momentum=0.9),
        metrics={"error": error_rate},
        unit="images",
    )


def make_normed_net() -> nn.Module:
    """64-64-64-10 with batch norm before each ReLU."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(),
        nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(),
        nn.Linear(64, 10),
    )  # fmt: skip


def make_plain_net() -> nn.Module:
    """The same without batch norm."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 64), nn.ReLU(),
        nn.Linear(64, 64), nn.ReLU(),
        nn.Linear(64, 10),
    )  # fmt: skip


def _train(lab: Lab, task: Task, sizes: list[int]) -> Trained:
    return lab.train(task, sizes, rates=[_RATE], budget=f"{_UPDATES}steps")


def _subtract(runs: Trained, size: int, others: Trained, other: int, seed: int) -> Seen:
    """Of the test losses of two arms, each where its training loss first is at the level."""
    target = Target("train_loss", _LEVEL, "<=")
    first = runs.reach((size, _RATE, seed), target, "val_loss")
    second = others.reach((other, _RATE, seed), target, "val_loss")
    if first is None or second is None:
        return _UNKNOWN
    return Seen(first - second, first - second)
