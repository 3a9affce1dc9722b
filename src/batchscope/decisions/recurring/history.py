"""What recurring runs have shown: epochs at each batch size, costs, and whether they drift."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from batchscope.decisions.recurring.costs import Costs
from batchscope.decisions.recurring.drift import (
    BY_CHANCE,
    NEWEST,
    PRIOR_RUNS,
    find_side,
    is_drifting,
)
from batchscope.decisions.recurring.failing import (
    chance_of_failures,
    doubt_of,
    rate_of_chance,
)
from batchscope.decisions.recurring.job import Direction
from batchscope.decisions.recurring.worlds import Seen

# The spread of epochs between seeds, a tenth, worth as much as the prior runs' evidence.
_PRIOR_SPREAD = 0.1
# Runs that reached the target whose ways there are kept, the newest; further ones tell little.
_MOST_WAYS = 8
# How well a level on the way tells the rest: half of what is extrapolated, in logs.
_EXTRAPOLATED = 0.5
# Epochs.
_NEXT_TO_NOTHING = 1e-3
# Runs of one batch size without the target that are looked at one by one.
_MOST_SINGLE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run came to.

    Attributes:
        batch_size: examples per step.
        power_limit: watts; None where the device chose.
        cost: of the whole run, in the user's unit.
        epochs: trained, perhaps in part.
        reached: whether the target was reached.
        stopped: whether it was given up for its cost, so that it might have reached the target.
        is_late: whether it was given up since it had more likely failed than it was only late.
        progress: level of the metric -> the epoch in which it was passed.
    """

    batch_size: int
    power_limit: float | None
    cost: float
    epochs: float
    reached: bool
    stopped: bool
    is_late: bool = False
    progress: Mapping[float, float] = field(default_factory=dict[float, float])


@dataclass(slots=True)
class _Size:
    """What runs of one batch size came to.

    Attributes:
        logs: log epochs of runs that reached the target.
        stopped: runs that were given up for their cost and may have been about to get there.
        failures: how many ended without the target, or were given up for late.
        newest: of these, those since the last that reached it.
    """

    logs: list[float] = field(default_factory=list[float])
    stopped: list[Outcome] = field(default_factory=list[Outcome])
    failures: int = 0
    newest: list[Outcome] = field(default_factory=list[Outcome])
    total: float = 0.0
    squares: float = 0.0

    def add(self, outcome: Outcome, *, least: float, spread: float) -> None:
        """Take a run's end.

        Args:
            least: epochs that a run takes.
            spread: of the log of epochs between runs.
        """
        log = math.log(max(outcome.epochs, least))
        if outcome.reached:
            self.reach(log)
            return
        is_late = outcome.is_late or self._is_late(log, spread)
        if outcome.stopped and not (self.logs and is_late):
            self.stopped.append(outcome)
            return
        self.failures += 1
        self.newest.append(outcome)

    def reach(self, log: float) -> None:
        """Take a run that reached the target after so many epochs."""
        self.newest.clear()
        self.logs.append(log)
        self.total += log
        self.squares += log * log

    def _is_late(self, log: float, spread: float) -> bool:
        return len(self.logs) > 0 and find_side(self.logs, log, spread) > 0

    def mean(self) -> float:
        return self.total / len(self.logs)

    def scatter(self) -> float:
        """Sum of squares about the mean."""
        return max(self.squares - self.total * self.mean(), 0.0) if self.logs else 0.0


@dataclass(slots=True)
class History:
    """Outcomes since the last drift.

    Attributes:
        max_epochs: after which a run has failed.
        target: the level at which a run is at its end; None where only the runs know.
        direction: of the level.
        seen: runs whose end is known, since the beginning.
        reached: of these, those that reached the target.
        is_whole: whether jobs look for the target at the end of each epoch only.
        costs: of an epoch, of runs and timings.
    """

    max_epochs: float
    target: float | None = None
    direction: Direction = "max"
    seen: int = 0
    reached: int = 0
    is_whole: bool = True
    costs: Costs = field(default_factory=Costs)
    _sizes: dict[int, _Size] = field(default_factory=dict[int, _Size])
    # Of runs that reached the target: levels, rising, and the log of how many times the epochs at
    # each it took in all.
    _ways: deque[tuple[list[float], list[float]]] = field(
        default_factory=lambda: deque(maxlen=_MOST_WAYS)
    )

    def add(self, outcome: Outcome) -> str | None:
        """Take a run's end; where its setting drifts, keep only what came with that.

        Returns:
            What drifted; None for nothing.
        """
        self.seen += 1
        self.reached += outcome.reached
        if outcome.reached and not float(outcome.epochs).is_integer():
            self.is_whole = False
        size = self._sizes.setdefault(outcome.batch_size, _Size())
        size.add(outcome, least=self.least_epochs, spread=self.spread())
        if outcome.reached and outcome.progress:
            self._ways.append(self._follow(outcome))
        drifted: list[str] = []
        # One that was at its target as it began is counted, and paid for, as the least there is.
        epochs = max(outcome.epochs, self.least_epochs if outcome.reached else 0.0)
        if epochs > 0 and outcome.cost > 0:
            setting = (outcome.batch_size, outcome.power_limit)
            if self.costs.add(setting, outcome.cost / epochs):
                drifted.append("cost per epoch")
        took_others = is_drifting(size.logs, self.spread())
        if took_others or self._fails_anew(size):
            self._ways.clear()
            again = _Size(stopped=[one for one in size.newest if one.stopped])
            again.failures = len(size.newest) - len(again.stopped)
            for log in size.logs[-NEWEST:] if took_others else ():
                again.reach(log)
            self._sizes = {outcome.batch_size: again}
            drifted.append("epochs" if took_others else "share of runs that fail")
        return " and ".join(drifted) or None

    @property
    def least_epochs(self) -> float:
        """That a run takes: one where only its end tells, else next to nothing."""
        return 1.0 if self.is_whole else _NEXT_TO_NOTHING

    def _fails_anew(self, size: _Size) -> bool:
        """Whether the newest runs failed more often than by chance, after others had not."""
        before = size.failures - len(size.newest)
        chance = chance_of_failures(len(size.newest), reached=len(size.logs), failed=before)
        return bool(size.logs) and chance < BY_CHANCE

    def rise(self, level: float) -> float:
        """A level so that higher is nearer to the target."""
        return level if self.direction == "max" else -level

    def spread(self) -> float:
        """Standard deviation of the log of epochs between runs of one batch size."""
        total, freedom = PRIOR_RUNS * _PRIOR_SPREAD**2, float(PRIOR_RUNS)
        for size in self._sizes.values():
            if len(size.logs) > 1:
                total += size.scatter()
                freedom += len(size.logs) - 1
        return math.sqrt(total / freedom)

    @property
    def is_anything_known_to_work(self) -> bool:
        """Whether a run reached the target since the last drift."""
        return any(size.logs for size in self._sizes.values())

    def count(self, order: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
        """Per batch size, how many runs reached the target, failed, and were given up.

        Args:
            order: batch sizes by position.
        """
        sizes = [self._sizes.get(batch_size, _Size()) for batch_size in order]
        return (
            [len(size.logs) for size in sizes],
            [size.failures for size in sizes],
            [len(size.stopped) for size in sizes],
        )

    def see_epochs(self, order: Sequence[int]) -> list[Seen]:
        """Epochs to the target in logs, per batch size.

        Where some runs reach the target, those that fail say nothing of the others' epochs.

        Args:
            order: batch sizes by position.
        """
        noise = self.spread() ** 2
        reached, failed, _ = self.count(order)
        doubt = doubt_of(reached)
        by_chance = rate_of_chance(reached, failed) if doubt else 0.0
        seen: list[Seen] = []
        for batch_size, size in self._sizes.items():
            at = order.index(batch_size)
            bounds: list[float] = []
            for newer, outcome in enumerate(reversed(size.stopped)):
                limit = math.log(max(outcome.epochs, self.least_epochs / 2))
                further = self._extrapolate(outcome) if newer < _MOST_SINGLE else None
                if further is None:
                    bounds.append(limit)
                else:
                    value, variance = further
                    seen.append(Seen(at, max(value, limit), noise + variance))
            if size.logs:
                # Of whole epochs the last is seen as one.
                rounding = math.exp(-2 * size.mean()) / 12 if self.is_whole else 0.0
                each = noise + rounding
                seen.append(Seen(at, size.mean(), each / len(size.logs)))
                seen += [
                    Seen(at, limit, noise, is_bound=True, count=count)
                    for limit, count in _gather(bounds)
                ]
                continue
            bounds += [math.log(self.max_epochs)] * size.failures
            seen += [
                Seen(at, limit, noise, is_bound=True, doubt=doubt, chance=by_chance, count=count)
                for limit, count in _gather(bounds)
            ]
        return seen

    def _follow(self, outcome: Outcome) -> tuple[list[float], list[float]]:
        """The levels of a run that reached the target, and what was left at each."""
        whole = max(outcome.epochs, self.least_epochs)
        left = {
            self.rise(level): math.log(whole / min(max(epoch, self.least_epochs), whole))
            for level, epoch in outcome.progress.items()
        }
        if self.target is not None:
            left[self.rise(self.target)] = 0.0
        levels = sorted(left)
        return levels, [left[level] for level in levels]

    def _extrapolate(self, outcome: Outcome) -> tuple[float, float] | None:
        """Log epochs that a stopped run would have needed, by what others had left at its level.

        Of the highest level that any of them passed through; between two it is interpolated.
        """
        passed = sorted(outcome.progress.items(), key=lambda item: item[1], reverse=True)
        for level, epoch in passed:
            at = self.rise(level)
            lefts = [
                float(np.interp(at, levels, left))
                for levels, left in self._ways
                if levels[0] <= at <= levels[-1]
            ]
            if lefts:
                left = sum(lefts) / len(lefts)
                at_level = math.log(max(epoch, self.least_epochs))
                return at_level + left, (_EXTRAPOLATED * left) ** 2
        return None


def _gather(bounds: Sequence[float]) -> list[tuple[float, int]]:
    """Bounds with how many there are of each: the highest one by one, the others at their least."""
    ordered = sorted(bounds, reverse=True)
    single, others = ordered[: _MOST_SINGLE - 1], ordered[_MOST_SINGLE - 1 :]
    gathered = [(others[-1], len(others))] if others else []
    return [*((bound, 1) for bound in single), *gathered]
