"""Where a gradient noise scale does not exist, and why."""

from collections.abc import Iterable
from typing import cast

from torch import nn

from batchscope.errors import CannotTell
from batchscope.task import Task


def refuse_coupled_examples(task: Task, model: nn.Module, *, allow: bool) -> None:
    """See that the gradient of a batch is a mean over its examples.

    Args:
        allow: go on all the same; the noise scale then belongs to that micro-batch alone.

    Raises:
        CannotTell: an example's loss depends on the others in its batch.
    """
    if allow:
        return
    if task.batch_coupled:
        raise CannotTell(
            "the loss depends on the whole batch: at every batch size it is another objective, "
            "whose gradient is no mean over examples",
            where=f"{task.name}, batch_coupled=True",
            expected="a loss that is a mean over examples",
            do="compare batch sizes by training: batchscope study",
        )
    modules = dict(cast(Iterable[tuple[str, nn.Module]], model.named_modules()))
    normalized = [name for name, module in modules.items() if is_batch_norm(module)]
    if normalized:
        raise CannotTell(
            f"{normalized[0]} is a batch norm in training mode, which couples the examples of a "
            "batch: the noise then depends on the micro-batch",
            where=f"{task.name}, {len(normalized)} batch norms",
            expected="examples whose losses do not depend on one another",
            do="--allow-coupled measures at one micro-batch all the same; or use a group norm",
        )


def is_batch_norm(module: nn.Module) -> bool:
    """Whether a module normalises by the statistics of its batch now."""
    # torch has no public name for what its batch norms share.
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and (  # pyright: ignore[reportPrivateUsage]
        module.training or not module.track_running_stats
    )
