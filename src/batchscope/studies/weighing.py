"""What a second of training counts, where batch sizes differ in what it takes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighing:
    """What a second of training counts in a race.

    Attributes:
        second_cost: batch size -> that.
        terms: that it was worked out of, as JSON, for whoever reads the study later.
    """

    second_cost: Callable[[int], float]
    terms: Mapping[str, object]

    def compare(self, sizes: Sequence[int]) -> tuple[tuple[int, float], ...]:
        """Batch size and cost as a multiple of the first one's; empty where all count alike.

        Rounded, so that prices in another currency ask for the same study.
        """
        base = self.second_cost(sizes[0])
        found = tuple((size, float(f"{self.second_cost(size) / base:.6g}")) for size in sizes)
        return found if any(cost != 1 for _, cost in found) else ()
