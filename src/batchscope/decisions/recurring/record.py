"""What was asked and told of a recurring job so far, folded from its events one by one."""

from collections.abc import Mapping
from typing import Any

from batchscope.decisions.recurring.history import History, Outcome

Event = Mapping[str, Any]


class Record:
    """Where a job stands after the events taken.

    Attributes:
        taken: how many events.
        asked: id -> the event of each trial.
        told: ids of the trials whose outcome is known.
        history: what the outcomes and timings show.
        best_in_a_row: how many of the newest answers were the best already.
        drifted: what changed last of the choice; None for nothing.
    """

    def __init__(self, max_epochs: float) -> None:
        self.taken = 0
        self.asked: dict[str, Event] = {}
        self.told: set[str] = set()
        self.history = History(max_epochs)
        self.best_in_a_row = 0
        self.drifted: str | None = None

    def take(self, event: Event) -> None:
        """Take the next event."""
        self.taken += 1
        match event["kind"]:
            case "ask":
                self.asked[event["id"]] = event
                self.best_in_a_row = self.best_in_a_row + 1 if event["is_best"] else 0
            case "timed":
                self.history.time(event["batch_size"], event["power_limit"], event["cost"])
            case "tell":
                self.told.add(event["id"])
                self._take_outcome(event)
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

    def _take_outcome(self, event: Event) -> None:
        outcome = Outcome(
            batch_size=event["batch_size"],
            power_limit=event["power_limit"],
            cost=event["cost"],
            epochs=event["epochs"],
            reached=event["reached"],
            stopped=event["stopped"],
            progress=dict(event["progress"]),
        )
        self.history.add(outcome)
        drifted = self.history.forget_drifted(outcome)
        if drifted is not None:
            self.best_in_a_row = 0
            self.drifted = drifted
