"""Which steps of a training are measured, so that measuring takes a small share of its time."""

import math
import statistics
import time
from collections import deque

_WARM_UP_STEPS = 10
_STEPS_REMEMBERED = 51


class StepClock:
    """What the steps of a training take, and what measuring some of them takes.

    Attributes:
        steps: done so far.
        measured: of them.
        seconds: that measuring took.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.measured = 0
        self.seconds = 0.0
        self._plain: deque[float] = deque(maxlen=_STEPS_REMEMBERED)
        self._step_began: float | None = None
        self._cost = 0.0

    @property
    def is_warm(self) -> bool:
        """Whether enough steps were seen to know what one takes."""
        return self.steps + 1 >= _WARM_UP_STEPS and len(self._plain) > 0

    @property
    def step_seconds(self) -> float:
        """What a step takes without measuring: the median of the latest; NaN before the first."""
        return statistics.median(self._plain) if self._plain else math.nan

    def charge(self, seconds: float) -> None:
        """Count time that this step spent on being measured."""
        self._cost += seconds

    def end_step(self, *, is_measured: bool) -> None:
        """Count a step."""
        now = time.perf_counter()
        if self._step_began is not None and not is_measured:
            self._plain.append(now - self._step_began)
        self._step_began = now
        self.steps += 1
        if is_measured:
            self.measured += 1
            self.seconds += self._cost
        self._cost = 0.0

    def pause(self) -> None:
        """Leave what happens until the next step, such as an evaluation, out of its time."""
        self._step_began = None


class Pace:
    """Steps between measurements, from what a measurement and a step take.

    Args:
        share: of the training time that measuring may take, in (0, 1).
        every: a fixed number of steps instead.
    """

    def __init__(self, *, share: float, every: int | None = None) -> None:
        self.clock = StepClock()
        self.gap = 1.0
        self._share = share
        self._every = every
        self._next = every or _WARM_UP_STEPS

    @property
    def is_due(self) -> bool:
        """Whether the step that goes on is to be measured."""
        return self.clock.steps + 1 >= self._next

    def end_step(self, *, is_measured: bool) -> None:
        """Count a step, and find the gap at which its cost would stay within the share."""
        before = self.clock.seconds
        self.clock.end_step(is_measured=is_measured)
        if is_measured:
            cost, step = self.clock.seconds - before, self.clock.step_seconds
            self.gap = 1.0 if math.isnan(step) else cost / (self._share * step)

    def plan(self, gap: float) -> None:
        """Measure again after this many steps."""
        self._next = self.clock.steps + (self._every or math.ceil(max(1.0, gap)))
