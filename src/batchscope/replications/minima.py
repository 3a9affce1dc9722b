"""Nets whose minima are looked at, and the batches that they are trained in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from batchscope.errors import InvalidInput
from batchscope.gallery.digits import Images, load_train_and_test
from batchscope.metrics import error_rate
from batchscope.optimizers import OptimizerSpec
from batchscope.replications.formats.mnist import read_mnist
from batchscope.replications.lab import Lab
from batchscope.task import Task

_TRAIN = 1000
_DECAY = 0.01
# Of Keskar et al.
_PAPER_SMALL = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What is trained on, by which nets, in which batches.

    Attributes:
        matched: the batch that the large one is compared with at equal rate over batch size.
        between: further ones at the larger scales.
        ridge: of the softmax regression, batch size -> a rate and steps that bring it to its one
            minimum.
    """

    name: str
    train: Images
    test: Images
    make_net: Callable[[], nn.Module]
    make_softmax: Callable[[], nn.Module]
    small: int
    large: int
    matched: int
    between: tuple[int, ...]
    ridge: Mapping[int, tuple[float, int]]

    @property
    def words(self) -> str:
        """The batches, for a reader."""
        return (
            f"The small batch is {self.small:,}, the large one {self.large:,}; at equal rate over "
            f"batch size it is compared with {self.matched:,}."
        )


def read_material(lab: Lab) -> Material:
    """1,000 digits to train on, or at the scale of the paper MNIST and its tenth as a batch.

    Raises:
        InvalidInput: a tenth of the images is no larger than the small batch.
    """
    if lab.data is None:
        (train, classes), (rest, rest_classes) = load_train_and_test()
        return Material(
            name="digits",
            train=(train[:_TRAIN], classes[:_TRAIN]),
            test=(torch.cat([train[_TRAIN:], rest]), torch.cat([classes[_TRAIN:], rest_classes])),
            make_net=make_model,
            make_softmax=make_softmax,
            small=8,
            large=_TRAIN,
            matched=32,
            between=(32, 100),
            ridge={8: (0.03, 12_500), _TRAIN: (0.3, 1500)},
        )
    train, test = read_mnist(lab.data, limit=lab.limit)
    large, inputs = len(train[1]) // 10, train[0][0].numel()
    if large <= _PAPER_SMALL:
        raise InvalidInput(
            f"a tenth of {len(train[1]):,} images is not above {_PAPER_SMALL}",
            where=str(lab.data),
            expected=f"at least {10 * (_PAPER_SMALL + 1):,}: a tenth is the large batch",
            do="the whole of MNIST, or a larger --limit",
        )
    return Material(
        name="mnist",
        train=train,
        test=test,
        make_net=partial(make_deep_net, inputs),
        make_softmax=partial(make_softmax, inputs),
        small=_PAPER_SMALL,
        large=large,
        matched=_PAPER_SMALL,
        between=(),
        ridge={_PAPER_SMALL: (0.05, 14_000), large: (0.1, 4000)},
    )


def make_model() -> nn.Module:
    """A net of 64-128-64-10."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 128),
        nn.ReLU(),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def make_deep_net(inputs: int = 784) -> nn.Module:
    """Five hidden layers of 512, as the source's first net, without batch norm."""
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in zip((inputs, *(512,) * 4), (512,) * 5, strict=True):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(512, 10))


def make_softmax(inputs: int = 64) -> nn.Module:
    """Softmax regression."""
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 10))


def loss(model: nn.Module, batch: Any) -> torch.Tensor:
    """Cross-entropy."""
    return F.cross_entropy(model(batch[0]), batch[1])


def ridge_loss(model: nn.Module, batch: Any) -> torch.Tensor:
    """Cross-entropy and the squares of all weights: convex, with one minimum."""
    squares = torch.stack([weights.square().sum() for weights in model.parameters()])
    return loss(model, batch) + _DECAY / 2 * squares.sum()


def make_task(material: Material, optimizer: OptimizerSpec, *, is_ridge: bool) -> Task:
    """The net, or softmax regression with weight decay."""
    kind = "ridge" if is_ridge else f"sharp-{optimizer.name.lower()}"
    return Task(
        name=f"{material.name}-{kind}",
        model=material.make_softmax if is_ridge else material.make_net,
        loss=ridge_loss if is_ridge else loss,
        train=material.train,
        val=material.test,
        optimizer=optimizer,
        metrics={"error": error_rate},
        unit="images",
    )
