"""What a training step computes and moves, counted on tensors without data."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from batchscope.decisions.hardware.roofline import StepDemand
from batchscope.instruments.without_data import lay_out, make_stepper, refusing_values
from batchscope.records import Precision
from batchscope.task import Task


def count_demand(task: Task, batch_size: int, *, precision: Precision) -> StepDemand:
    """Count one pass over the worst batch of a size, and one update.

    Matrix products and convolutions count as torch counts them, two operations for a multiplication
    and an addition. Each operation reads its inputs from memory and writes its outputs: what
    compilers fuse moves less.

    Raises:
        CannotTell: the task asks a tensor for its value, which it has not.
    """
    fake, model, piece = lay_out(task, batch_size, split="train")
    traffic, flops = _Traffic(), FlopCounterMode(display=False)
    with refusing_values(task), fake:
        stepper = make_stepper(task, model, piece.size, precision)
        # The first step makes what the optimizer keeps, once for a whole training.
        stepper.accumulate([piece], after_each=lambda _: None)
        stepper.apply()
        with flops, traffic:
            stepper.accumulate([piece], after_each=lambda _: None)
        passed, kernels = traffic.bytes_moved, traffic.kernels
        with traffic:
            stepper.apply()
    convolutions = sum(
        count
        for operation, count in flops.get_flop_counts()["Global"].items()
        if "convolution" in str(operation)
    )
    return StepDemand(
        examples=batch_size,
        products=float(flops.get_total_flops() - convolutions),
        convolutions=float(convolutions),
        bytes_moved=float(passed),
        kernels=kernels,
        update_bytes=float(traffic.bytes_moved - passed),
    )


class _Traffic(TorchDispatchMode):
    """Bytes that operations read and write, and how many of them do."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes_moved = 0
        self.kernels = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        written = _count_bytes(result) or _count_bytes(_changed(func, args, kwargs))
        # Views move nothing, nor does what asks for a tensor's device.
        if written and not func.is_view:
            self.kernels += 1
            self.bytes_moved += written + _count_bytes((args, kwargs))
        return result


def _changed(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """The arguments that an operation writes to, which it need not return."""
    given = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | kwargs
    writes = (a.name for a in func._schema.arguments if a.is_write)
    return [given[name] for name in writes if name in given]


def _count_bytes(values: object) -> int:
    tensors = (x for x in tree_leaves(values) if isinstance(x, torch.Tensor))
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
