"""Which steps of a training are measured, so that measuring takes a small share of its time."""

import math
import statistics
import time
from collections import deque

_WARM_UP_STEPS = 10
_STEPS_REMEMBERED = 51


class Pace:
    """Steps between measurements, from what a measurement and a step take.

    Args:
        share: of the training time that measuring may take, in (0, 1).
        every: a fixed number of steps instead.
    """

    def __init__(self, *, share: float = 0.015, every: int | None = None) -> None:
        self.share = share
        self.steps = 0
        self.measured = 0
        self.seconds = 0.0
        self._every = every
        self._next = every or _WARM_UP_STEPS
        self._plain: deque[float] = deque(maxlen=_STEPS_REMEMBERED)
        self._step_began: float | None = None
        self._cost = 0.0

    @property
    def is_due(self) -> bool:
        """Whether the step that goes on is to be measured."""
        return self.steps + 1 >= self._next

    @property
    def every(self) -> float:
        """Steps for each that was measured; NaN before the first."""
        return self.steps / self.measured if self.measured else math.nan

    @property
    def step_seconds(self) -> float:
        """What a step takes without measuring: the median of the latest; NaN before the first."""
        return statistics.median(self._plain) if self._plain else math.nan

    def charge(self, seconds: float) -> None:
        """Count time that this step spent on being measured."""
        self._cost += seconds

    def end_step(self, *, is_measured: bool, slowest: float | None = None) -> None:
        """Count a step, and plan the next measurement.

        Args:
            slowest: steps between measurements that another process of the same training needs.
        """
        now = time.perf_counter()
        if self._step_began is not None and not is_measured:
            self._plain.append(now - self._step_began)
        self._step_began = now
        self.steps += 1
        if is_measured:
            self.measured += 1
            self.seconds += self._cost
            self._next = self.steps + (self._every or math.ceil(max(1.0, slowest or self.gap)))
        self._cost = 0.0

    def pause(self) -> None:
        """Leave what happens until the next step, such as an evaluation, out of its time."""
        self._step_began = None

    @property
    def gap(self) -> float:
        """Steps between measurements at which the latest one's cost stays within the share."""
        return self._cost / (self.share * self.step_seconds) if self._plain else 1.0
