"""What an epoch costs at each setting: as runs have it, and as a few timed steps do."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from batchscope.decisions.recurring.drift import NEWEST, PRIOR_RUNS, find_side, is_drifting

# Batch size, watts; None where the device chose.
Setting = tuple[int, float | None]
# Of a timing of a few steps.
_TIMING_SPREAD = 0.03


@dataclass(frozen=True, slots=True)
class _Timing:
    """One timing.

    Attributes:
        side: of what earlier ones of its setting predict, above (1) or below (-1); 0 where there is
            none.
    """

    setting: Setting
    log: float
    side: int


@dataclass(slots=True)
class Costs:
    """Costs per epoch in logs, since the last drift."""

    _runs: dict[Setting, list[float]] = field(default_factory=dict[Setting, list[float]])
    _timings: dict[Setting, list[float]] = field(default_factory=dict[Setting, list[float]])
    # What was too little for a first epoch, of settings of which no more is known.
    _supposed: dict[Setting, float] = field(default_factory=dict[Setting, float])
    # The timings since the first that those before it do not predict, and how many runs each
    # setting had then.
    _newest: list[_Timing] = field(default_factory=list[_Timing])
    _runs_before: dict[Setting, int] = field(default_factory=dict[Setting, int])
    # What runs had cost beside their timings when these were forgotten.
    _beside: float = 0.0

    def add(self, setting: Setting, cost: float) -> bool:
        """Take the cost per epoch of a run; where those of its setting drift, keep the newest only.

        Returns:
            Whether they do.
        """
        logs = self._runs.setdefault(setting, [])
        logs.append(math.log(cost))
        if not is_drifting(logs, _TIMING_SPREAD):
            return False
        self._runs[setting] = logs[:-NEWEST]
        self._forget()
        self._runs[setting] = logs[-NEWEST:]
        return True

    def suppose(self, setting: Setting, cost: float) -> None:
        """Take a cost per epoch that counts until a run or a timing tells."""
        self._supposed[setting] = math.log(cost)

    def time(self, setting: Setting, cost: float) -> bool:
        """Take the cost per epoch of a few timed steps.

        Where two one after another are not what earlier ones of their settings predict, and on the
        same side, the machine is another: what came before them is forgotten, runs included.

        Returns:
            Whether it is.
        """
        log = math.log(cost)
        known = self._timings.setdefault(setting, [])
        count = len(known) - sum(timing.setting == setting for timing in self._newest)
        side = find_side(known[:count], log, _TIMING_SPREAD) if count else 0
        known.append(log)
        if count and any(timing.side not in (0, side) for timing in self._newest):
            self._newest.clear()
        if side and not self._newest:
            self._runs_before = {at: len(logs) for at, logs in self._runs.items()}
        if side or (self._newest and not count):
            self._newest.append(_Timing(setting, log, side))
        if sum(timing.side != 0 for timing in self._newest) < NEWEST:
            return False
        before = self._runs_before
        since = {at: logs[before.get(at, 0) :] for at, logs in self._runs.items()}
        self._runs = {at: logs[: before.get(at, 0)] for at, logs in self._runs.items()}
        self._forget()
        self._runs = {at: logs for at, logs in since.items() if logs}
        return True

    def see(self, order: Sequence[int]) -> dict[int, tuple[float, float | None]]:
        """Position -> the least known cost per epoch, and the power limit that has it.

        Args:
            order: batch sizes by position.
        """
        best: dict[int, tuple[float, float | None]] = {}
        for (size, limit), log in self._see_logs().items():
            cost, at = math.exp(log), order.index(size)
            if at not in best or cost < best[at][0]:
                best[at] = (cost, limit)
        return best

    def see_one(self, setting: Setting) -> float | None:
        """The cost per epoch of one setting; None where it is not known."""
        log = self._see_logs().get(setting)
        return None if log is None else math.exp(log)

    def spread(self) -> float:
        """Standard deviation of the log of the cost per epoch between runs of one setting."""
        total, freedom = PRIOR_RUNS * _TIMING_SPREAD**2, float(PRIOR_RUNS)
        for logs in self._runs.values():
            if len(logs) > 1:
                total += float(np.var(logs)) * len(logs)
                freedom += len(logs) - 1
        return math.sqrt(total / freedom)

    def _see_logs(self) -> dict[Setting, float]:
        """Of runs where there are any; of timings with what runs cost beside, such as evaluation.

        That is taken for the same share everywhere.
        """
        beside = self._see_beside()
        timed = {setting: log + beside for setting, log in _average(self._timings).items()}
        return self._supposed | timed | _average(self._runs)

    def _see_beside(self) -> float:
        """The mean over settings with both, on the machine of the timings before the newest."""
        runs, timings = _average(self._runs), _average(self._timings_before())
        both = [runs[setting] - timings[setting] for setting in runs if setting in timings]
        return sum(both) / len(both) if both else self._beside

    def _timings_before(self) -> dict[Setting, list[float]]:
        before = {setting: logs.copy() for setting, logs in self._timings.items()}
        for timing in self._newest:
            before[timing.setting].pop()
        return before

    def _forget(self) -> None:
        """Forget what came before a drift, but for what runs had cost beside their timings."""
        self._beside = self._see_beside()
        self._runs, self._timings, self._supposed = {}, {}, {}
        for timing in self._newest:
            self._timings.setdefault(timing.setting, []).append(timing.log)
        self._newest.clear()


def _average(known: Mapping[Setting, Sequence[float]]) -> dict[Setting, float]:
    return {setting: sum(logs) / len(logs) for setting, logs in known.items() if logs}
