"""One optimizer step from its micro-batches, with exact accumulation."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import cast

import torch
from torch import nn

from batchscope.errors import InvalidTask
from batchscope.metrics import BatchFunction
from batchscope.records import HyperParameters, Precision
from batchscope.task import Task
from batchscope.training.batches import MicroBatch
from batchscope.training.devices import autocast
from batchscope.training.ranks import ALONE, Ranks


class Stepper:
    """A model and its optimizer, one step at a time.

    Args:
        task: whose loss is minimised.
        model: on the device.
        hyper_parameters: of the optimizer, as used.
        ranks: that share each step.
    """

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        *,
        hyper_parameters: HyperParameters,
        precision: Precision,
        device: torch.device,
        ranks: Ranks = ALONE,
    ) -> None:
        self.model = ranks.spread(model)
        self._ranks = ranks
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = task.optimizer_spec.build(self.parameters, hyper_parameters)
        self._loss = task.loss
        self._clip_norm = task.clip_norm
        self._precision: Precision = precision
        self._device = device
        self._scaler = torch.amp.GradScaler(device.type) if precision == "fp16" else None

    def accumulate(
        self, micro_batches: Sequence[MicroBatch], *, after_each: Callable[[float], None]
    ) -> torch.Tensor:
        """Leave the gradient of the step's mean loss in `.grad`, and return that loss.

        The mean of the micro-batches' means, weighted by their examples or units, is the mean over
        the whole step, also where the last one is short.
        """
        self.optimizer.zero_grad(set_to_none=True)
        ranks = self._ranks
        total = ranks.total(sum(piece.weight for piece in micro_batches))
        losses: list[torch.Tensor] = []
        for number, piece in enumerate(micro_batches, start=1):
            share = piece.weight / total
            is_last = number == len(micro_batches)
            with nullcontext() if is_last else ranks.without_sharing(self.model):
                with autocast(self._device, self._precision):
                    loss = compute_loss(self._loss, self.model, piece.batch)
                weighted = loss if share == 1 else loss * share
                # Gradients are averaged over the ranks; the mean over the step is their sum.
                self._scale(weighted if ranks.size == 1 else weighted * ranks.size).backward()
            losses.append(weighted.detach())
            after_each(share)
        if self._scaler is not None:
            self._scaler.unscale_(self.optimizer)
        return ranks.sum(losses[0] if len(losses) == 1 else torch.stack(losses).sum())

    def gradient_norm(self) -> float:
        """The norm of the gradient that accumulate left, before clipping."""
        return float(torch.nn.utils.get_total_norm(self._gradients()))

    def apply(self) -> None:
        """Clip where asked for, and take the optimizer's step."""
        if self._clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self._clip_norm)
        if self._scaler is None:
            self.optimizer.step()
        else:
            self._scaler.step(self.optimizer)
            self._scaler.update()

    def _scale(self, loss: torch.Tensor) -> torch.Tensor:
        return loss if self._scaler is None else self._scaler.scale(loss)

    def _gradients(self) -> list[torch.Tensor]:
        return [p.grad for p in self.parameters if p.grad is not None]


def compute_loss(loss: BatchFunction, model: nn.Module, batch: object) -> torch.Tensor:
    """The task's loss, checked to be a scalar.

    Raises:
        InvalidTask: it is not.
    """
    value = cast(object, loss(model, batch))
    if not isinstance(value, torch.Tensor) or value.numel() != 1:
        shape = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
        raise InvalidTask(
            f"the loss returned {shape}, not one number",
            where="task.loss",
            expected="the mean loss over the batch, a scalar tensor",
            do='end it with .mean(), or use reduction="mean"',
        )
    return value.reshape(())
