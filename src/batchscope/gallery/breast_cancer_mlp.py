"""30 measurements of 569 tumours, benign or not, with one hidden layer."""

from typing import Any, cast

import numpy as np
import torch
from sklearn import datasets, model_selection
from torch import nn
from torch.nn import functional as F

from batchscope.budget import epochs
from batchscope.gallery.splits import Splits
from batchscope.metrics import error_rate
from batchscope.optimizers import AdamW
from batchscope.task import Task

_HELD_OUT = 114


def load_split() -> Splits:
    """Standardised measurements, shape (n, 30), with their class, shape (n,): 341, 114, 114."""
    features, classes = cast(Any, datasets).load_breast_cancer(return_X_y=True)
    split = cast(Any, model_selection).train_test_split
    rest, test, rest_classes, test_classes = split(
        features, classes, test_size=_HELD_OUT, stratify=classes, random_state=0
    )
    train, val, train_classes, val_classes = split(
        rest, rest_classes, test_size=_HELD_OUT, stratify=rest_classes, random_state=0
    )
    mean, deviation = train.mean(0), train.std(0)

    def as_tensors(part: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = torch.tensor((part - mean) / deviation, dtype=torch.float32)
        return inputs, torch.tensor(labels, dtype=torch.int64)

    return {
        "train": as_tensors(train, train_classes),
        "val": as_tensors(val, val_classes),
        "test": as_tensors(test, test_classes),
    }


task = Task(
    name="breast-cancer-mlp",
    model=lambda: nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 2)),
    loss=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]),
    **load_split(),
    optimizer=AdamW(lr=3e-3),
    metrics={"error": error_rate},
    unit="tumours",
    budget=epochs(25),
)
