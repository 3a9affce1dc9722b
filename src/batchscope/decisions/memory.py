"""How a batch is split so that each part of it fits in memory."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from batchscope.errors import CannotTell
from batchscope.estimate import write_number

_MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeed:
    """What a training step's tensors take, predicted, and what they may.

    Attributes:
        limit_bytes: that there are.
        fixed_bytes: without any example.
        bytes_per_example: more for each.
        at_most: examples that fit at a time.
        can_split: whether accumulating over parts of a batch is the same as the whole.
    """

    limit_bytes: int
    fixed_bytes: int
    bytes_per_example: float
    at_most: int
    can_split: bool

    def split(self, batch_size: int) -> tuple[int, int]:
        """Examples at a time and how often, the fewest parts that fit, as even as can be.

        Example:
            >>> need = MemoryNeed(
            ...     limit_bytes=900,
            ...     fixed_bytes=0,
            ...     bytes_per_example=10.0,
            ...     at_most=90,
            ...     can_split=True,
            ... )
            >>> need.split(256)
            (86, 3)
        """
        parts = math.ceil(batch_size / self.at_most)
        return math.ceil(batch_size / parts), parts

    def leave_out(self, sizes: Sequence[int], *, task: str) -> list[int]:
        """The batch sizes that can be trained with: all of them where they can be split.

        Raises:
            CannotTell: there is none; the largest that fits is named.
        """
        kept = [size for size in sizes if self.can_split or size <= self.at_most]
        if kept:
            return kept
        raise CannotTell(
            f"{self.at_most} examples at a time fit in {_in_mib(self.limit_bytes)}, and a larger "
            "batch of this task cannot be split, since its examples depend on one another",
            where=f"recommend {task}, --memory",
            expected=f"a batch size up to {self.at_most}",
            do=f"--batch-sizes with sizes up to {self.at_most}, or more --memory",
        )

    def explain(self, batch_size: int) -> str:
        """How a batch is split, in a sentence or two."""
        size, parts = self.split(batch_size)
        takes = _in_mib(self.fixed_bytes + size * self.bytes_per_example)
        said = (
            f"The tensors of {size} examples take about {takes} of {_in_mib(self.limit_bytes)}, "
            "predicted without running them; the allocator and libraries take more."
        )
        if parts == 1:
            return f"The whole batch fits in memory at once. {said}"
        return (
            f"The batch is accumulated over {parts} parts of at most {size}. {said} Steps were "
            "timed without accumulating."
        )

    def to_dict(self) -> dict[str, object]:
        """The need as JSON."""
        return asdict(self)


def _in_mib(amount: float) -> str:
    return f"{write_number(amount / _MIB)} MiB"
