"""Metrics of a model on a batch, and which direction is better."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn

# A batch is whatever the task's collate gives; only the task's own functions look into it.
Batch = Any
BatchFunction = Callable[[nn.Module, Batch], torch.Tensor]

_HIGHER = "batchscope_higher"


def error_rate(model: nn.Module, batch: Batch) -> torch.Tensor:
    """The share of wrong classes, in [0, 1].

    Args:
        model: gives logits, shape (..., classes).
        batch: (inputs, classes), classes of shape (...).
    """
    inputs, classes = batch
    return (_predict(model, inputs) != classes).float().mean()


def accuracy(model: nn.Module, batch: Batch) -> torch.Tensor:
    """The share of right classes, in [0, 1]; higher is better."""
    inputs, classes = batch
    return (_predict(model, inputs) == classes).float().mean()


def higher(metric: BatchFunction) -> BatchFunction:
    """Mark a metric as better when higher.

    Example:
        >>> is_higher_better(higher(lambda model, batch: 1 - error_rate(model, batch)))
        True
    """

    def marked(model: nn.Module, batch: Batch) -> torch.Tensor:
        return metric(model, batch)

    setattr(marked, _HIGHER, True)
    return marked


def is_higher_better(metric: BatchFunction) -> bool:
    """Whether the metric was marked with `higher`."""
    return bool(getattr(metric, _HIGHER, False))


def _predict(model: nn.Module, inputs: Batch) -> torch.Tensor:
    return cast(torch.Tensor, model(inputs)).argmax(-1)


setattr(accuracy, _HIGHER, True)
