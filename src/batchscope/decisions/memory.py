"""How a batch is split so that each part of it fits in memory."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from batchscope.errors import CannotTell
from batchscope.estimate import Estimate, Interval, write_number

_MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeed:
    """What a training step's tensors take on each device, predicted, and what they may.

    Attributes:
        limit_bytes: that there are.
        fixed_bytes: without any example.
        bytes_per_example: more for each.
        at_most: examples that fit at a time.
        can_split: whether accumulating over parts of a batch is the same as the whole.
        devices: that share each batch.
    """

    limit_bytes: int
    fixed_bytes: int
    bytes_per_example: float
    at_most: int
    can_split: bool
    devices: int = 1

    def split(self, batch_size: int) -> tuple[int, int]:
        """Examples at a time on each device and how often: the fewest parts that fit, as even as
        can be.

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
        share = math.ceil(batch_size / self.devices)
        parts = math.ceil(share / self.at_most)
        return math.ceil(share / parts), parts

    def leave_out(self, sizes: Sequence[int], *, task: str) -> list[int]:
        """The batch sizes that can be trained with: all of them where they can be split.

        Raises:
            CannotTell: there is none; the largest that fits is named.
        """
        fitting = self.at_most * self.devices
        kept = [size for size in sizes if self.can_split or size <= fitting]
        if kept:
            return kept
        raise CannotTell(
            f"{self.at_most} examples at a time fit in {_in_mib(self.limit_bytes)}, and a larger "
            "batch of this task cannot be split, since its examples depend on one another",
            where=f"recommend {task}, --memory",
            expected=f"a batch size up to {fitting}",
            do=f"--batch-sizes with sizes up to {fitting}, or more --memory",
        )

    def explain(self, batch_size: int, slowdown: Estimate | None) -> str:
        """How a batch is split, in a few sentences.

        Args:
            slowdown: the time of an accumulated step over that of a whole one; None where the
                batch is not split.
        """
        size, parts = self.split(batch_size)
        takes = _in_mib(self.fixed_bytes + size * self.bytes_per_example)
        each = "" if self.devices == 1 else f" on each of {self.devices} devices"
        said = (
            f"The tensors of {size} examples take about {takes} of {_in_mib(self.limit_bytes)}, "
            "predicted without running them; the allocator and libraries take more."
        )
        if parts == 1:
            return f"The whole batch fits in memory at once{each}. {said}"
        enough = math.ceil(batch_size / self.at_most)
        parts_said = (
            f"The batch is accumulated over {parts} parts of at most {size}{each}.",
            *_explain_slowdown(slowdown),
            f"Shared by {enough} devices it fits without that.",
            said,
        )
        return " ".join(parts_said)

    def to_dict(self) -> dict[str, object]:
        """The need as JSON."""
        return asdict(self)


def _in_mib(amount: float) -> str:
    return f"{write_number(amount / _MIB)} MiB"


def _explain_slowdown(slowdown: Estimate | None) -> Iterator[str]:
    if isinstance(slowdown, Interval):
        yield (
            f"By the steps that were timed that takes {slowdown} times as long, in the predicted "
            "time as well; it is rather less, since these update the weights once for each part."
        )
    elif slowdown is not None:
        yield (
            f"That takes at most {slowdown.high or math.inf:g} times as long, and how long is not "
            f"known: {slowdown.reason}; it takes {slowdown.remedy}."
        )
