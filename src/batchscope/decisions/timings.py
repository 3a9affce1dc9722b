"""How long steps were timed to take, and what accumulating and a drifting machine make of that."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from batchscope.estimate import Estimate, Interval, NotIdentified, multiply

Steps = Mapping[int, Sequence[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """The steps that were timed at each batch size.

    Attributes:
        seconds: batch size -> the timed steps, each of a whole batch.
        again: batch size -> those timed at another time, of some sizes.
        slowdowns: batch size -> the time of an accumulated step over that of a whole one, of those
            that have to be split; where it is not identified, with both ends of what it can be.
    """

    seconds: Steps
    again: Steps = field(default_factory=dict[int, Sequence[float]])
    slowdowns: Mapping[int, Estimate] = field(default_factory=dict[int, Estimate])

    def own(self, batch_size: int) -> list[Sequence[float]]:
        """A size's steps at each time that it was timed."""
        return [times[batch_size] for times in (self.seconds, self.again) if batch_size in times]

    def at_each_time(self, batch_size: int) -> list[Sequence[float]]:
        """A size's steps at each time that any was timed: a drift is that of all sizes."""
        if batch_size in self.again or batch_size not in self.seconds:
            return self.own(batch_size)
        first = self.seconds[batch_size]
        drifts = [
            float(np.median(again) / np.median(self.seconds[size]))
            for size, again in self.again.items()
            if size in self.seconds
        ]
        return [first, *([drift * seconds for seconds in first] for drift in drifts)]

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
