"""What was asked and told of a recurring job so far, folded from its events one by one."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from batchscope.decisions.recurring.history import History, Outcome
from batchscope.decisions.recurring.job import Direction

Event = Mapping[str, Any]
# Deviations of the cost per epoch that runs may have.
_WIDE = 2.0


class Record:
    """Where a job stands after the events taken.

    Attributes:
        taken: how many events.
        asked: id -> the event of each trial.
        told: ids of the trials whose outcome is known.
        history: what the outcomes and timings show.
        best_in_a_row: how many of the newest answers were the best already, by the outcomes of
            those before; of answers that were given together one counts.
        drifted: what changed last, in words; None for nothing.
        since_drift: how many outcomes came after that.
    """

    def __init__(self, max_epochs: float, *, target: float | None, direction: Direction) -> None:
        self.taken = 0
        self.asked: dict[str, Event] = {}
        self.told: set[str] = set()
        self.history = History(max_epochs, target=target, direction=direction)
        self.best_in_a_row = 0
        self.drifted: str | None = None
        self.since_drift = 0
        # How many events had been taken when each trial was asked for, and at the last outcome
        # that counted.
        self._asked_at: dict[str, int] = {}
        self._counted_at: int | None = None

    def take(self, event: Event) -> None:
        """Take the next event."""
        self.taken += 1
        match event["kind"]:
            case "ask":
                self.asked[event["id"]] = event
                self._asked_at[event["id"]] = self.taken
                if not event["is_best"]:
                    self.best_in_a_row = 0
            case "timed":
                setting = event["batch_size"], event["power_limit"]
                if self.history.costs.time(setting, event["cost"]):
                    self._look_again("the timed cost per epoch")
            case "tell":
                asked = self.asked[event["id"]]
                self.told.add(event["id"])
                self._count(asked)
                if event["stopped"] and not event["epochs"] and not event["cost"]:
                    self._price_first_epoch(asked)
                self._take_outcome(event, is_late=self._is_late(event, asked))
            case "record":
                self._take_outcome(event)
            case _:
                pass

    def running(self, *, now: float, lease_seconds: float) -> list[int]:
        """Batch sizes of the trials that are open and whose lease has not run out."""
        return [
            asked["batch_size"]
            for name, asked in self.asked.items()
            if name not in self.told and now - asked["at"] < lease_seconds
        ]

    def _count(self, asked: Event) -> None:
        """Count an answer that was the best already, if outcomes led to it."""
        if self._counted_at is None:
            self._counted_at = self.taken
        elif self._asked_at[asked["id"]] > self._counted_at:
            self._counted_at = self.taken
            if asked["is_best"]:
                self.best_in_a_row += 1

    def _take_outcome(self, event: Event, *, is_late: bool = False) -> None:
        outcome = Outcome(
            batch_size=event["batch_size"],
            power_limit=event["power_limit"],
            cost=event["cost"],
            epochs=event["epochs"],
            reached=event["reached"],
            stopped=event["stopped"],
            is_late=is_late,
            progress=self._improvements(event["progress"]),
        )
        drifted = self.history.add(outcome)
        self.since_drift += 1
        if drifted is not None:
            self._look_again(f"of the last choice the {drifted}")

    def _is_late(self, event: Event, asked: Event) -> bool:
        """Whether a run was given up since it had more likely failed than it was only late.

        Not where that was for its cost per epoch, higher than it was known to be.
        """
        # What was asked for before runs of the best were given up does not say.
        if not event["stopped"] or not asked.get("stops_late", False):
            return False
        costs = self.history.costs
        each = costs.see_one((event["batch_size"], event["power_limit"]))
        if each is None:
            return True
        most = (event["epochs"] + 1) * each * math.exp(_WIDE * costs.spread())
        return most >= asked["stop_cost"]

    def _look_again(self, drifted: str) -> None:
        self.best_in_a_row = self.since_drift = 0
        self.drifted = drifted

    def _price_first_epoch(self, asked: Event) -> None:
        """Take its cost to be what was too little for it, where it is not known.

        Asked again, such a run would end as soon.
        """
        setting = asked["batch_size"], asked["power_limit"]
        if self.history.costs.see_one(setting) is None:
            self.history.costs.suppose(setting, asked["stop_cost"])

    def _improvements(self, progress: Sequence[tuple[float, float]]) -> dict[float, float]:
        """Levels better than all before, of what may be the metric after every epoch."""
        best = -math.inf
        found: dict[float, float] = {}
        for level, epoch in progress:
            if self.history.rise(level) > best:
                best = self.history.rise(level)
                found[level] = epoch
        return found
