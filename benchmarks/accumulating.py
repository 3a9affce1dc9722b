"""A loop of plain PyTorch that accumulates passes of 4,096 tokens, with the meter or without."""

import time
from collections.abc import Callable

import torch
from torch import nn

import batchscope as bs
from batchscope.gallery import stdlib_lm

TOKENS = 4096
PASSES = 2


class AccumulatingLoop:
    """Steps of stdlib-lm, each of two passes.

    Args:
        wrap: what data-parallel training makes of the model.
    """

    def __init__(
        self,
        *,
        is_metered: bool,
        wrap: Callable[[nn.Module], nn.Module] = lambda model: model,
        passes: int = PASSES,
    ) -> None:
        task = stdlib_lm.task
        torch.manual_seed(0)
        self._model = wrap(task.model())
        self._optimizer = torch.optim.AdamW(self._model.parameters(), lr=1e-3)
        self._loss = task.loss
        self._passes = passes
        examples = [task.datasets["train"][i] for i in range(TOKENS // 64)]
        self._batch = torch.utils.data.default_collate(examples)
        if is_metered:
            bs.NoiseMeter(self._model, self._optimizer, every=1).__enter__()

    def step(self) -> float:
        """Seconds of one step."""
        began = time.perf_counter()
        self._optimizer.zero_grad()
        for _ in range(self._passes):
            (self._loss(self._model, self._batch) / self._passes).backward()
        self._optimizer.step()
        return time.perf_counter() - began
