"""Three clouds of points in the plane, the textbook's problem, with one hidden layer."""

from typing import Any, cast

import torch
from sklearn import datasets
from torch import nn
from torch.nn import functional as F

from batchscope.budget import epochs
from batchscope.gallery.splits import Splits
from batchscope.metrics import error_rate
from batchscope.optimizers import SGD
from batchscope.task import Task


def load_split() -> Splits:
    """Points of shape (n, 2) with their clouds, shape (n,): 500, then 250 and 250."""
    points, clouds = cast(Any, datasets).make_blobs(
        n_samples=1000, centers=3, n_features=2, cluster_std=2, random_state=2
    )
    inputs = torch.tensor(points, dtype=torch.float32)
    classes = torch.tensor(clouds, dtype=torch.int64)
    return {
        "train": (inputs[:500], classes[:500]),
        "val": (inputs[500:750], classes[500:750]),
        "test": (inputs[750:], classes[750:]),
    }


def make_model() -> nn.Module:
    """50 hidden units with the initial weights of He et al. 2015, uniform."""
    hidden, output = nn.Linear(2, 50), nn.Linear(50, 3)
    nn.init.kaiming_uniform_(hidden.weight, nonlinearity="relu")
    nn.init.zeros_(hidden.bias)
    return nn.Sequential(hidden, nn.ReLU(), output)


task = Task(
    name="blobs-mlp",
    model=make_model,
    loss=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]),
    **load_split(),
    optimizer=SGD(lr=0.01, momentum=0.9),
    metrics={"error": error_rate},
    unit="points",
    budget=epochs(50),
)
