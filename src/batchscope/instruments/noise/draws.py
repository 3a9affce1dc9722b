"""Groups of micro-batch gradients, drawn with replacement."""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import psutil
import torch

from batchscope.instruments.loss_gradients import LossGradients
from batchscope.instruments.noise.moments import Floats, GroupedGradients
from batchscope.instruments.noise.stopping import GROUPS, WHOLE

_LEAST_GROUPS = 16
_SHARE_OF_MEMORY = 0.25


class GroupedDraws:
    """Groups of micro-batches, kept as the sum of each group's gradients.

    Args:
        weightings: name -> a tensor per parameter that multiplies squares and products, for
            preconditioned norms; None for the plain one.
        generator: on the CPU, draws the examples.
    """

    def __init__(
        self,
        gradients: LossGradients,
        *,
        micro_batch: int,
        generator: torch.Generator,
        weightings: Mapping[str, Sequence[torch.Tensor] | None],
    ) -> None:
        self._gradients = gradients
        self._micro_batch = micro_batch
        self._generator = generator
        self._weightings = weightings
        self.examples = 0
        self._per_group = 0
        self._groups = choose_groups(gradients)
        self._sums = [
            torch.zeros(self._groups, p.numel(), device=p.device) for _, p in gradients.named
        ]
        shape = (self._groups, len(gradients.named))
        self._squares = {name: np.zeros(shape) for name in weightings}

    def extend(self, per_group: int) -> None:
        """Draw so many more micro-batches for every group."""
        for group in range(self._groups):
            for _ in range(per_group):
                indices = torch.randint(
                    len(self._gradients), (self._micro_batch,), generator=self._generator
                )
                self._add(group, self._gradients.at(indices))
        self._per_group += per_group
        self.examples += self._groups * per_group * self._micro_batch

    def read(self) -> Mapping[str, GroupedGradients]:
        """What was drawn so far: the whole model, each layer, and each weighting of the whole."""
        plain = [self._multiply(place, None) for place in range(len(self._sums))]
        layers: dict[str, list[int]] = {}
        for place, (name, _) in enumerate(self._gradients.named):
            layers.setdefault(name.rpartition(".")[0] or name, []).append(place)
        everything = list(range(len(self._sums)))
        result = {WHOLE: self._gather(self._squares[WHOLE], plain, everything)}
        for layer, places in layers.items():
            result[f"layer:{layer}"] = self._gather(self._squares[WHOLE], plain, places)
        for name, weights in self._weightings.items():
            if weights is not None:
                products = [self._multiply(place, weights[place]) for place in everything]
                result[name] = self._gather(self._squares[name], products, everything)
        return result

    def _add(self, group: int, gradient: Sequence[torch.Tensor]) -> None:
        for place, part in enumerate(gradient):
            self._sums[place][group] += part
        for name, weights in self._weightings.items():
            squares = [
                part.dot(part if weights is None else part * weights[place])
                for place, part in enumerate(gradient)
            ]
            self._squares[name][group] += torch.stack(squares).double().cpu().numpy()

    def _multiply(self, place: int, weight: torch.Tensor | None) -> Floats:
        means = self._sums[place].double() / self._per_group
        weighted = means if weight is None else means * weight
        return cast(Floats, (weighted @ means.T).cpu().numpy())

    def _gather(
        self, squares: Floats, products: Sequence[Floats], places: Sequence[int]
    ) -> GroupedGradients:
        return GroupedGradients(
            squares=squares[:, places].sum(1) / self._per_group,
            products=np.sum([products[place] for place in places], axis=0),
            micro_batch=self._micro_batch,
            per_group=self._per_group,
        )


def choose_groups(gradients: LossGradients) -> int:
    """As many groups as are useful, or half of them where their sums would fill the memory."""
    needed = GROUPS * sum(p.numel() for _, p in gradients.named) * 4
    device = gradients.device
    free = (
        torch.cuda.mem_get_info(device)[0]
        if device.type == "cuda"
        else psutil.virtual_memory().available
    )
    return GROUPS if needed < _SHARE_OF_MEMORY * free else _LEAST_GROUPS
