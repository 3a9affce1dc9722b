"""How far one step misses what the gradient promised."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch

from batchscope.budget import epochs
from batchscope.instruments.checkpoint import reach_checkpoint
from batchscope.task import Task, tensors_of

_EXAMPLES, _DRAWS = 512, 32
_SMALL, _LARGE = 1, 256


def compare_misses(
    task: Task, rate: float, seed: int, *, report: Callable[[object], None]
) -> float:
    """The log of the mean miss of one step at a batch of 256, over that at single examples.

    A step along the gradient g of a batch should lower the loss L of all examples by rate g.G, G
    being the gradient of L: |L(w - rate g) - L(w) + rate g.G| is what it misses. After one epoch at
    32, on 512 training examples of which batches are drawn with replacement, in float64.
    """
    del report
    place = reach_checkpoint(
        task, after=epochs(1), device=torch.device("cpu"), precision="float32", seed=seed
    )
    model = place.model.double()
    generator = torch.Generator().manual_seed(seed)
    inputs, classes = cast(tuple[torch.Tensor, torch.Tensor], tensors_of(task.train))
    keep = torch.randperm(len(inputs), generator=generator)[:_EXAMPLES]
    inputs, classes = inputs[keep].double(), _widen(classes[keep])
    weights = {name: value.detach() for name, value in model.named_parameters()}

    def loss(at: dict[str, torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
        moved = partial(torch.func.functional_call, model, at)
        return task.loss(cast(Any, moved), (inputs[rows], classes[rows]))

    everything = torch.arange(len(inputs))
    whole, before = torch.func.grad_and_value(loss)(weights, everything)

    def miss(size: int) -> float:
        rows = torch.randint(len(inputs), (size,), generator=generator)
        step = torch.func.grad(loss)(weights, rows)
        after = {name: value - rate * step[name] for name, value in weights.items()}
        promised = rate * sum(float((step[name] * whole[name]).sum()) for name in weights)
        with torch.no_grad():
            return abs(float(loss(after, everything)) - float(before) + promised)

    means = [sum(miss(size) for _ in range(_DRAWS)) / _DRAWS for size in (_LARGE, _SMALL)]
    return math.log(means[0] / means[1])


def _widen(values: torch.Tensor) -> torch.Tensor:
    return values.double() if values.is_floating_point() else values
