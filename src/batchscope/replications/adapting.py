"""Low-rank adapters on a language model, and the tasks that tune it with them or whole."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn.utils import parametrize

from batchscope.metrics import BatchFunction
from batchscope.optimizers import AdamW
from batchscope.task import Task

# Over the rank, so that the best rate does not depend on it (Schulman et al. 2025).
_ALPHA = 32.0


class LowRank(nn.Module):
    """A weight plus a product of two thin matrices, zero at first (Hu et al. 2022).

    Args:
        is_frozen: let the product count for nothing, so that nothing is learned.
        is_by_input: for a weight of shape (inputs, outputs), rather than (outputs, inputs).
    """

    scale: torch.Tensor

    def __init__(
        self, outputs: int, inputs: int, rank: int, *, is_frozen: bool, is_by_input: bool = False
    ) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, inputs) / math.sqrt(inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        self.register_buffer("scale", torch.tensor(0.0 if is_frozen else _ALPHA / rank))
        self._is_by_input = is_by_input

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The adapted weight."""
        product = self.up @ self.down
        return weight + self.scale * (product.T if self._is_by_input else product)


def adapt(
    model: nn.Module, modules: Sequence[tuple[nn.Module, bool]], rank: int, is_frozen: bool
) -> None:
    """Leave only adapters of these modules to be trained.

    Args:
        modules: with whether their matrices have a row for each input, rather than a column.
    """
    model.requires_grad_(False)
    for module, is_by_input in modules:
        for name in ("weight", "in_proj_weight"):
            weight = getattr(module, name, None)
            if isinstance(weight, nn.Parameter) and weight.ndim == 2:
                outputs, inputs = weight.T.shape if is_by_input else weight.shape
                adapter = LowRank(
                    outputs, inputs, rank, is_frozen=is_frozen, is_by_input=is_by_input
                )
                parametrize.register_parametrization(module, name, adapter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A pretrained model, and the texts that it is tuned on.

    Attributes:
        name: of the texts.
        loss: nats per token of a batch of windows.
        build: the model from the rank of its adapters, None to train all weights, and whether they
            are frozen as for `LowRank`.
        windows: of tokens, shape (n, tokens), of which `train` are trained on and the others are
            judged by, for validation and for the test in turn.
        full_rate, lora_rate: in the middle of where the best rates are looked for.
        vocabulary: how many tokens there are.
        token: what one is called.
        notes: on what was left out.
    """

    name: str
    loss: BatchFunction
    build: Callable[[int | None, bool], nn.Module]
    windows: torch.Tensor
    train: int
    full_rate: float
    lora_rate: float
    vocabulary: int
    token: str
    notes: tuple[str, ...] = ()

    def make_task(self, *, rank: int | None, is_frozen: bool = False) -> Task:
        """With adapters of a rank; None to train all weights."""
        judged = self.windows[self.train :]
        return Task(
            name=f"{self.name}-full" if rank is None else f"{self.name}-lora-{rank}",
            model=partial(self.build, rank, is_frozen),
            loss=self.loss,
            train=(self.windows[: self.train],),
            val=(judged[0::2],),
            test=(judged[1::2],),
            optimizer=AdamW(lr=self.full_rate if rank is None else self.lora_rate),
            metrics={"nats": self.loss},
            unit=f"windows of {self.windows.shape[1] - 1} {self.token}s",
        )
