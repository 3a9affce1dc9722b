"""The power that a device takes while it trains, by batch size."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from batchscope.errors import InvalidInput, check_above_zero
from batchscope.estimate import write_number

_DO = "batchscope energy measures it, and with --store keeps it"


@dataclass(frozen=True, slots=True)
class Power:
    """Watts of one device.

    Attributes:
        by_size: batch size -> watts; of one batch size alone they count for all.

    Raises:
        InvalidInput: there are none, a batch size is below 1, or watts are not above 0.

    Example:
        >>> Power({32: 100.0, 128: 200.0}).at(64)
        150.0
    """

    by_size: Mapping[int, float]

    def __post_init__(self) -> None:
        if not self.by_size or min(self.by_size) < 1:
            raise _no_power(self.by_size)
        for size, watts in self.by_size.items():
            at = "" if len(self.by_size) == 1 else f" at batch size {size}"
            check_above_zero(
                watts,
                f"a power of {watts:g} W{at}",
                where="--watts",
                expected="what a device takes while it trains, above 0",
                do=_DO,
            )

    def at(self, batch_size: int) -> float:
        """Watts at a batch size: between known ones linear in its logarithm, beyond the nearest."""
        sizes = sorted(self.by_size)
        return float(
            np.interp(math.log2(batch_size), np.log2(sizes), [self.by_size[size] for size in sizes])
        )

    @property
    def words(self) -> str:
        """For a reader."""
        sizes = sorted(self.by_size)
        if len({self.by_size[size] for size in sizes}) == 1:
            return f"{write_number(self.by_size[sizes[0]])} W"
        each = [f"{write_number(self.by_size[size])} W at batch size {size:,}" for size in sizes]
        return f"{', '.join(each[:-1])} and {each[-1]}"


def power_of(watts: float | Mapping[int, float] | None) -> Power | None:
    """The power of watts at every batch size, or of some by batch size; None where unknown.

    Raises:
        InvalidInput: as for `Power`.
    """
    if watts is None:
        return None
    if not isinstance(watts, Mapping):
        return Power({1: float(watts)})
    try:
        by_size = {int(size): float(each) for size, each in watts.items()}
    except (TypeError, ValueError) as error:
        raise _no_power(watts) from error
    return Power(by_size)


def _no_power(watts: Mapping[int, float]) -> InvalidInput:
    said = ", ".join(f"{size}: {each}" for size, each in watts.items())
    return InvalidInput(
        f"a power of {{{said}}}",
        where="--watts",
        expected="batch sizes from 1 on, and the watts at each",
        do="write for example 300, or 32=180,512=290",
    )
