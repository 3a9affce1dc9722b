"""How long steps were timed to take, and what accumulating and a drifting machine make of that."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from batchscope.estimate import Estimate, Interval, NotIdentified, multiply

Steps = Mapping[int, Sequence[float]]

# Of two times of the same steps: what a drifting machine hardly does, and other programs do.
_APART = 2.0


def are_apart(one: float, other: float) -> bool:
    """Whether two times are so different that one of them was disturbed.

    Example:
        >>> are_apart(0.9, 2.0), are_apart(1.1, 2.0)
        (True, False)
    """
    return max(one, other) > _APART * min(one, other)


def leave_out_disturbed(medians: Sequence[float]) -> list[int]:
    """The positions of those that tell how fast a machine is: all, or but one that is apart from
    all others, where these are not apart from one another.

    Of two that are apart nothing says which was disturbed.

    Example:
        >>> leave_out_disturbed([1.0, 5.0, 1.2]), leave_out_disturbed([1.0, 5.0])
        ([0, 2], [0, 1])
    """
    every = list(range(len(medians)))
    for at in every:
        others = [place for place in every if place != at]
        times = [medians[place] for place in others]
        if (
            len(others) > 1
            and not are_apart(min(times), max(times))
            and all(are_apart(medians[at], other) for other in times)
        ):
            return others
    return every


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

    def at_each_time(self, batch_size: int) -> list[Sequence[float]]:
        """A size's steps at each time that any was timed: a drift is that of all sizes."""
        own = self.own(batch_size)
        if len(own) > 1 or batch_size not in self.seconds:
            return own
        drifts = [
            float(np.median(again) / np.median(self.seconds[size]))
            for times in self.again
            for size, again in times.items()
            if size in self.seconds
        ]
        return [*own, *([drift * seconds for seconds in own[0]] for drift in drifts)]

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
