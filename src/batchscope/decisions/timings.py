"""How long steps were timed to take, and what accumulating and a drifting machine make of that."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from batchscope.estimate import Estimate, Interval, NotIdentified, multiply

Steps = Mapping[int, Sequence[float]]

# Of two times of the same steps: what a drifting machine hardly does, and other programs do.
_APART = 2.0
_THIRDS = 3


def median_thirds(times: Sequence[float]) -> list[float]:
    """The medians of what was timed first, in the middle and last; of fewer steps their median."""
    parts = np.array_split(np.array(times), _THIRDS if len(times) >= _THIRDS else 1)
    return [float(np.median(part)) for part in parts]


def are_apart(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two timings of the same steps differ so much that something ran beside one of them.

    By the slowest third of each, since what runs beside may have begun in between.

    Example:
        >>> are_apart([1.0] * 9, [1.0] * 6 + [3.0] * 3), are_apart([1.1] * 9, [2.0] * 9)
        (True, False)
    """
    fast, slow = sorted(max(median_thirds(times)) for times in (one, other))
    return slow > _APART * fast


def find_disturbed(timings: Sequence[Sequence[float]]) -> int | None:
    """The position of a timing that other programs slowed: apart from two or more others that are
    not apart from one another.

    What is faster than the others was not: they are what became of the machine.

    Example:
        >>> find_disturbed([[1.0], [5.0], [1.2]]), find_disturbed([[1.0], [5.0], [5.0]])
        (1, None)
    """
    if len(timings) <= 2:
        return None
    slowest = max(range(len(timings)), key=lambda at: max(median_thirds(timings[at])))
    others = [times for at, times in enumerate(timings) if at != slowest]
    if any(are_apart(one, other) for one, other in combinations(others, 2)):
        return None
    is_alone = all(are_apart(timings[slowest], other) for other in others)
    return slowest if is_alone else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """The steps that were timed at each batch size.

    Attributes:
        seconds: batch size -> the timed steps, each of a whole batch.
        again: at each further time, batch size -> those timed then, of some sizes.
        slowdowns: batch size -> the time of an accumulated step over that of a whole one, of those
            that have to be split; where it is not identified, with both ends of what it can be.
    """

    seconds: Steps
    again: Sequence[Steps] = ()
    slowdowns: Mapping[int, Estimate] = field(default_factory=dict[int, Estimate])

    def own(self, batch_size: int) -> list[Sequence[float]]:
        """A size's steps at each time that it was timed."""
        return [times[batch_size] for times in (self.seconds, *self.again) if batch_size in times]

    @property
    def drift(self) -> float:
        """By what the first times of all sizes are longer at the speed of all times: by one factor,
        so that sizes compare as they did, the geometric mean of those of the sizes timed again.
        """
        logs = [
            float(np.mean([math.log(np.median(times)) for times in self.at_each_time(size)]))
            - math.log(np.median(self.seconds[size]))
            for size in self._find_repeated()
        ]
        return math.exp(float(np.mean(logs))) if logs else 1.0

    @property
    def settled(self) -> Steps:
        """The steps of all sizes at the speed of all times."""
        drift = self.drift
        return {size: [drift * one for one in times] for size, times in self.seconds.items()}

    def at_each_time(self, batch_size: int) -> list[Sequence[float]]:
        """A size's steps at each time that any was timed: a drift is that of all sizes.

        A timing that was disturbed is left out. Where that was the first, by which the drift of the
        other sizes is known, nothing is left out for them.
        """
        own = self.own(batch_size)
        if len(own) > 1 or batch_size not in self.seconds:
            disturbed = find_disturbed(own)
            return [times for at, times in enumerate(own) if at != disturbed]
        return [*own, *([drift * seconds for seconds in own[0]] for drift in self._find_drifts())]

    def _find_drifts(self) -> list[float]:
        """By how much the steps of sizes that were timed again take longer than at first."""
        drifts: list[float] = []
        for size in self._find_repeated():
            own = self.own(size)
            disturbed = find_disturbed(own)
            first = float(np.median(own[0]))
            drifts += [
                float(np.median(own[at])) / first
                for at in range(1, len(own))
                if disturbed in (None, 0) or at != disturbed
            ]
        return drifts

    def _find_repeated(self) -> list[int]:
        """The sizes that were timed at first and again."""
        again = dict.fromkeys(size for times in self.again for size in times)
        return [size for size in again if size in self.seconds]

    def slowdown(self, batch_size: int) -> float:
        """By what accumulating makes a step longer; where that is not known, the most it can be."""
        ratio = self.slowdowns.get(batch_size)
        if isinstance(ratio, NotIdentified):
            return ratio.high or 1.0
        return 1.0 if ratio is None else ratio.value

    def lengthen(self, batch_size: int, seconds: Estimate) -> Estimate:
        """Seconds of whole steps, as accumulating makes them."""
        ratio = self.slowdowns.get(batch_size)
        if isinstance(ratio, NotIdentified):
            least, most = ratio.low or 1.0, self.slowdown(batch_size)
            ratio = Interval(value=math.sqrt(least * most), low=least, high=most, unit="")
        return seconds if ratio is None else multiply([seconds, ratio], unit=seconds.unit)
