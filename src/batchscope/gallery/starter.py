"""A task of your own: mend the five parts, then run this.

    batchscope recommend {file}

It runs as it is, on scikit-learn's wine data.
"""

import torch
from sklearn.datasets import load_wine
from torch import nn
from torch.nn import functional as F

import batchscope as bs

# The data: tensors of one first dimension, or any map-style data set. The validation set chooses
# learning rates and batch sizes; the test set is only reported. `test` may be left out.
features, classes = load_wine(return_X_y=True)
order = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))
x = torch.tensor(features, dtype=torch.float32)[order]
y = torch.tensor(classes)[order]
x = (x - x[:100].mean(0)) / x[:100].std(0)


# The model: called once per run, after seeding.
def make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3))


# The loss: the mean over the batch, which is what the data give: here (x[i], y[i]).
def loss(model, batch):
    inputs, labels = batch
    return F.cross_entropy(model(inputs), labels)


task = bs.Task(
    model=make_model,
    loss=loss,
    train=(x[:100], y[:100]),
    val=(x[100:139], y[100:139]),
    test=(x[139:], y[139:]),
    # The rate is where the search begins. bs.Adam, bs.AdamW, or any function of parameters that
    # returns a torch optimizer, work as well.
    optimizer=bs.SGD(lr=0.05, momentum=0.9),
    # Optional: lower is better, unless marked with bs.higher.
    metrics={"error": bs.metrics.error_rate},
    unit="wines",
    budget=bs.epochs(25),
    # target=bs.reach("error", 0.05),
)
