"""How many runs of a batch size share a program, so that no worker is left idle."""

import heapq
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# Beyond, a member costs hardly less, and the weights of all no longer stay near the core.
_MOST_MEMBERS = 24
# Fewer that are left of a larger program leave a worker idle for little.
_LEAST_LEFT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Runs of one batch size, and what sharing a program gained where some were tried.

    Attributes:
        count: of them.
        seconds: of each alone.
        tried: how many of them; 1 for none.
        gain: seconds of these one after another over those together.
    """

    count: int
    seconds: float
    tried: int = 1
    gain: float = 1.0

    @property
    def choices(self) -> list[int]:
        """Members of a program that cut the runs into like parts."""
        if self.tried == 1:
            return [1]
        equal = {math.ceil(self.count / parts) for parts in range(1, self.count + 1)}
        return sorted(members for members in equal if members <= _MOST_MEMBERS)

    def jobs(self, members: int) -> list[float]:
        """Seconds of each job where so many share a program."""
        return [self._foresee(length) for length in cut(self.count, members)]

    def _foresee(self, members: int) -> float:
        """On the line through one run and the program that was tried."""
        if members == 1:
            return self.seconds
        further = max(0.0, self.tried / self.gain - 1) / (self.tried - 1)
        return self.seconds * (1 + (members - 1) * further)


def balance(loads: Mapping[int, Workload], *, workers: int) -> dict[int, int]:
    """Batch size -> how many of its runs share a program.

    What becomes least is the time until the last worker is done, with the longest jobs begun first,
    and the time that they would take on average: idleness and work count alike.

    Example:
        >>> few, many = (Workload(count=5, seconds=s, tried=5, gain=2.5) for s in (1.0, 6.0))
        >>> balance({512: few}, workers=2), balance({8: many, 512: few}, workers=2)
        ({512: 3}, {8: 3, 512: 5})
    """
    chosen = {size: max(load.choices) for size, load in loads.items()}

    def weigh(size: int, members: int) -> float:
        jobs = [s for b, n in {**chosen, size: members}.items() for s in loads[b].jobs(n)]
        ends = [0.0] * max(1, workers)
        for seconds in sorted(jobs, reverse=True):
            heapq.heapreplace(ends, ends[0] + seconds)
        return max(ends) + sum(ends) / len(ends)

    for size in sorted(loads, key=lambda size: -loads[size].count * loads[size].seconds):
        chosen[size] = min(loads[size].choices, key=lambda members: weigh(size, members))
    return chosen


def count_tried(runs: int, *, sizes: int, workers: int) -> int:
    """How many runs of a batch size would share a program, so that no worker is left idle.

    Before anything is known of their times.

    Example:
        >>> count_tried(12, sizes=1, workers=2), count_tried(12, sizes=2, workers=2)
        (6, 12)
        >>> count_tried(35, sizes=2, workers=2)
        18
    """
    share = math.ceil(min(1.0, sizes / max(1, workers)) * runs)
    return math.ceil(share / math.ceil(share / _MOST_MEMBERS))


def cut(runs: int, members: int) -> Iterator[int]:
    """How many runs each job has, where so many share a program."""
    if runs < min(members, _LEAST_LEFT):
        members = 1
    for start in range(0, runs, members):
        yield min(members, runs - start)
