"""Digits with a two-layer perceptron and Adam: 8,970 parameters."""

from torch import nn
from torch.nn import functional as F

from batchscope.budget import epochs
from batchscope.gallery.digits import load_split
from batchscope.metrics import error_rate
from batchscope.optimizers import Adam
from batchscope.task import Task


def make_model() -> nn.Module:
    """64 hidden units twice."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


task = Task(
    name="digits-mlp",
    model=make_model,
    loss=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]),
    **load_split(),
    optimizer=Adam(lr=1e-3),
    metrics={"error": error_rate},
    unit="images",
    budget=epochs(25),
)
