"""How the best learning rate moves with the batch size."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from batchscope.studies.learning_rate import fit_exponent
from batchscope.studies.rules import gain

# What a rate gains when the batch doubles, as a power of two: 0.8 below the critical batch size for
# SGD; for Adam, whose best rates rise more slowly and fall in the end, 0.35.
_EXPONENTS = {"SGD": 0.8}
_USUAL_EXPONENT = 0.35
_ENOUGH_FOR_A_FIT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RateTrend:
    """What is known of how the best rate moves with the batch size, before three sizes say it.

    Attributes:
        optimizer: its name.
        is_adaptive: as for the published rules: whether it has a beta2.
        noise_scale: in examples; None where nobody has measured it.
    """

    optimizer: str
    is_adaptive: bool = False
    noise_scale: float | None = None

    def foresee(
        self,
        best: Mapping[int, float],
        size: int,
        *,
        nearest: int,
        exponents: tuple[float, float] = (-math.inf, math.inf),
    ) -> float:
        """Where the best rate of a batch size lies, as far as those of others say.

        Args:
            best: batch size -> its best rate.
            nearest: of these, the one to begin from.
            exponents: out of which a fitted one is not let.
        """
        if len(best) < _ENOUGH_FOR_A_FIT:
            return self.move(best[nearest], known=nearest, size=size)
        exponent = float(np.clip(fit_exponent(best)[0], *exponents))
        return best[nearest] * (size / nearest) ** exponent

    def move(self, rate: float, *, known: int, size: int) -> float:
        """The rate to look at first, from the best one of another batch size.

        With a noise scale n by the gain (n / known + 1) / (n / size + 1) (McCandlish et al. 2018),
        for Adam by its square root (Qiao et al. 2021); else by the optimizer's usual exponent.

        Example:
            >>> round(RateTrend(optimizer="SGD", noise_scale=64.0).move(0.1, known=64, size=128), 4)
            0.1333
        """
        if self.noise_scale is not None:
            return rate * gain(self.noise_scale, known, size, is_adaptive=self.is_adaptive)
        exponent = _EXPONENTS.get(self.optimizer, _USUAL_EXPONENT)
        return rate * (size / known) ** exponent
