"""Digits with a small convolutional net, without batch norm: 9,800 parameters."""

from torch import nn
from torch.nn import functional as F

from batchscope.budget import epochs
from batchscope.gallery.digits import load_split
from batchscope.metrics import error_rate
from batchscope.optimizers import SGD
from batchscope.task import Task


def make_model() -> nn.Module:
    """Two convolutions of 8 and 16 channels, one pooling, 32 hidden units."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 4 * 4, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


task = Task(
    name="digits-cnn",
    model=make_model,
    loss=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]),
    **load_split(),
    optimizer=SGD(lr=0.01, momentum=0.9),
    metrics={"error": error_rate},
    unit="images",
    budget=epochs(25),
)
