"""A task on tensors without data: what a step would take, without computing one."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._pytree import tree_map_only

from batchscope.errors import CannotTell
from batchscope.instruments.memory.largest import order_by_size
from batchscope.optimizers import starting_rate
from batchscope.records import Precision
from batchscope.task import Task
from batchscope.training.batches import Batches, MicroBatch
from batchscope.training.stepper import Stepper

_CPU = torch.device("cpu")


def lay_out(
    task: Task, batch_size: int, *, split: Literal["train", "val"]
) -> tuple[FakeTensorMode, nn.Module, MicroBatch]:
    """A model and the worst batch of a size, both without data, and the mode to compute them in.

    The worst batch has the longest examples, where they differ.
    """
    data = task.datasets[split]
    order = order_by_size(task, data)
    worst = torch.arange(batch_size) if order is None else torch.tensor(order[:batch_size])
    (piece,) = Batches(task, data, _CPU).chunks(worst, size=batch_size)
    model = task.model()
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    _empty_weights(model, fake)
    batch = tree_map_only(torch.Tensor, fake.from_tensor, piece.batch)
    return fake, model, MicroBatch(batch, piece.weight, piece.size)


@contextmanager
def refusing_values(task: Task) -> Generator[None]:
    """Where a task asks a tensor for the value that it has not, say so.

    Raises:
        CannotTell: it does.
    """
    try:
        yield
    except DataDependentOutputException as error:
        raise CannotTell(
            f"the task asks a tensor for its value: {error}",
            where=task.name,
            expected="a loss and a model that look at no value (.item(), if x > 0)",
            do="run batchscope fit on the device itself",
        ) from error


def make_stepper(task: Task, model: nn.Module, size: int, precision: Precision) -> Stepper:
    """The optimizer's step of a model without data.

    Loss scaling would ask for a value, so that fp16 is taken as bf16, whose tensors are as large.
    """
    spec = task.optimizer_spec
    rate = spec.lr or starting_rate(spec, model.parameters())
    return Stepper(
        task,
        model,
        hyper_parameters=spec.hyper_parameters(batch_size=size, lr=rate),
        precision="bf16" if precision == "fp16" else precision,
        device=_CPU,
    )


def _empty_weights(model: nn.Module, fake: FakeTensorMode) -> None:
    """Replace every parameter and buffer by one without data; what is shared stays shared."""
    known: dict[int, Any] = {}

    def replace(tensors: dict[str, Any], make: Callable[[torch.Tensor], torch.Tensor]) -> None:
        for name, tensor in tensors.items():
            if tensor is not None:
                known.setdefault(id(tensor), make(tensor))
                tensors[name] = known[id(tensor)]

    for module in model.modules():
        replace(
            vars(module)["_parameters"],
            lambda p: nn.Parameter(fake.from_tensor(p.detach()), requires_grad=p.requires_grad),
        )
        replace(vars(module)["_buffers"], fake.from_tensor)
