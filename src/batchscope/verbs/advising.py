"""The advisor for jobs that run again and again: it answers at once and learns from every run."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from batchscope.decisions.recurring.history import History, Outcome
from batchscope.decisions.recurring.planner import Next, Planner
from batchscope.errors import InvalidInput
from batchscope.estimate import write_number
from batchscope.studies.connection import path_of
from batchscope.studies.events import Event, MemoryEvents, StoredEvents, Turn

Direction = Literal["max", "min"]

_DAY = 86_400.0
# Of a stop: rounding of the epoch that would have passed it.
_SLACK = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What the next run of the job should be.

    Attributes:
        id: to tell of it afterwards.
        batch_size: examples per step.
        power_limit: watts; None where none was timed.
        stop_cost: give the run up before the epoch that would pass this cost; None for never.
        reason: a sentence.
    """

    id: str
    batch_size: int
    power_limit: float | None
    stop_cost: float | None
    reason: str

    def to_dict(self) -> dict[str, object]:
        """The trial as JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


class Advisor:
    """Chooses the batch size of each run of a job that runs again and again.

    One model over all batch sizes, epochs to the target times cost per epoch, with what is not
    known of both; the next run is the one whose cost, less what its outcome saves later, is least.

    Args:
        batch_sizes: on offer.
        default: the one used so far; it is run first.
        power_limits: watts on offer, where cost depends on them.
        max_epochs: after which a run has failed.
        target: the level of the metric that a run must reach; None where only the runs know.
        direction: of the metric.
        recurrences: of the job; None for as many again as were seen, at least one per batch size.
        max_cost: of one run, a limit that is never passed.
        lease_seconds: after which a run of which nothing was told is taken for lost; its outcome
            may still be told.
        state: a file or a database URL, shared by all jobs; None for this process alone.
        seed: of the numbers drawn; the same history gives the same answers.

    Raises:
        InvalidInput: the arguments contradict each other, or the state has others.
        StoreError: the state cannot be read or written.

    Example:
        >>> advisor = Advisor([32, 64, 128], default=64, max_epochs=50, state=None)
        >>> trial = advisor.ask()
        >>> trial.batch_size, trial.stop_cost
        (64, None)
        >>> advisor.tell(trial, cost=120.0, reached=True, epochs=12)
    """

    def __init__(
        self,
        batch_sizes: Sequence[int],
        *,
        default: int,
        power_limits: Sequence[float] | None = None,
        max_epochs: float,
        target: float | None = None,
        direction: Direction = "max",
        recurrences: int | None = None,
        max_cost: float | None = None,
        lease_seconds: float = _DAY,
        state: str | None = "advisor.db",
        seed: int = 0,
    ) -> None:
        # Numbers of NumPy have no place in the state.
        sizes = sorted({int(size) for size in batch_sizes})
        default = int(default)
        _check_settings(sizes, default, max_epochs, recurrences, max_cost, lease_seconds)
        if direction not in get_args(Direction):
            raise _refuse(f"a direction of {direction!r}", "direction", "max or min", "choose one")
        self._sizes = sizes
        self._default = default
        self._limits = None if power_limits is None else sorted({float(w) for w in power_limits})
        self._max_epochs = float(max_epochs)
        self._target = None if target is None else float(target)
        self._direction = direction
        self._recurrences = recurrences
        self._max_cost = math.inf if max_cost is None else float(max_cost)
        self._lease_seconds = lease_seconds
        self._planner = Planner(
            sizes, default, max_epochs=max_epochs, max_cost=self._max_cost, seed=seed
        )
        self._history = History(self._max_epochs)
        self._asked: dict[str, Event] = {}
        self._told: set[str] = set()
        self._read = 0
        self._answers = 0
        self._drifted: str | None = None
        self._planned: tuple[tuple[object, ...], Next] | None = None
        self._events = MemoryEvents() if state is None else StoredEvents(state)
        with self._events.turn() as turn:
            self._begin(turn, state)

    def timed(
        self, batch_size: int, cost_per_epoch: float, power_limit: float | None = None
    ) -> None:
        """Take the cost of an epoch as a few timed steps have it; any number of times.

        Raises:
            InvalidInput: the batch size or the power limit is not on offer, or the cost is not
                above 0.
        """
        self._check_setting(batch_size, power_limit)
        if not 0 < cost_per_epoch < math.inf:
            raise _refuse(
                f"a cost of {cost_per_epoch} per epoch",
                "cost_per_epoch",
                "a number above 0",
                "time a few steps and scale them to an epoch",
            )
        self._add(
            {
                "kind": "timed",
                "batch_size": int(batch_size),
                "power_limit": None if power_limit is None else float(power_limit),
                "cost": float(cost_per_epoch),
            }
        )

    def ask(self) -> Trial:
        """The next run. It never waits for runs that are not told of yet."""
        with self._events.turn() as turn:
            self._catch_up(turn)
            now = time.time()
            running = [
                int(asked["batch_size"])
                for name, asked in self._asked.items()
                if name not in self._told and now - asked["at"] < self._lease_seconds
            ]
            chosen, reason = self._choose(running)
            trial = Trial(
                id=str(len(self._asked) + 1),
                batch_size=chosen.batch_size,
                power_limit=chosen.power_limit,
                stop_cost=None if math.isinf(chosen.stop_cost) else chosen.stop_cost,
                reason=reason,
            )
            self._append(
                turn, {"kind": "ask", "at": now, "is_best": chosen.is_best} | trial.to_dict()
            )
        return trial

    def tell(
        self,
        trial: Trial | str,
        *,
        cost: float,
        reached: bool,
        epochs: float,
        progress: Sequence[tuple[float, float]] = (),
    ) -> None:
        """Take what a run came to.

        Args:
            trial: or its id.
            cost: of the whole run, in the unit of every other cost.
            reached: whether it reached the target.
            epochs: trained.
            progress: (level of the metric, epoch in which it was passed), in the order passed.

        Raises:
            InvalidInput: there is no such trial, it was told of before, or a number makes no
                sense; nothing is changed then.
        """
        name = trial.id if isinstance(trial, Trial) else str(trial)
        with self._events.turn() as turn:
            self._catch_up(turn)
            if name not in self._asked:
                raise _refuse(
                    f"there is no trial {name!r}",
                    "tell",
                    f"one of the {len(self._asked)} that were asked for",
                    "give the id that ask() gave; record() takes runs that nobody asked for",
                )
            if name in self._told:
                raise _refuse(
                    f"trial {name} was told of before",
                    "tell",
                    "one outcome for each trial",
                    "use record() for a run that nobody asked for",
                )
            asked = self._asked[name]
            outcome = self._check_outcome(
                cost, reached, epochs, progress, asked["batch_size"], asked["power_limit"]
            )
            stopped = self._was_stopped(cost, reached, epochs, asked["stop_cost"])
            self._append(turn, {"kind": "tell", "id": name, "stopped": stopped} | outcome)

    def record(
        self,
        batch_size: int,
        *,
        cost: float,
        reached: bool,
        epochs: float,
        power_limit: float | None = None,
        progress: Sequence[tuple[float, float]] = (),
    ) -> None:
        """Take a run that nobody asked for, such as those of the weeks before.

        Raises:
            InvalidInput: the batch size or power limit is not on offer, or a number makes no sense.
        """
        self._check_setting(batch_size, power_limit)
        outcome = self._check_outcome(cost, reached, epochs, progress, batch_size, power_limit)
        self._add({"kind": "record", "stopped": False} | outcome)

    def close(self) -> None:
        """Let go of the state."""
        if isinstance(self._events, StoredEvents):
            self._events.close()

    def _begin(self, turn: Turn, state: str | None) -> None:
        settings = {
            "batch_sizes": self._sizes,
            "default": self._default,
            "power_limits": self._limits,
            "max_epochs": self._max_epochs,
            "target": self._target,
            "direction": self._direction,
        }
        first = turn.read(0)[:1]
        if not first:
            others = {
                "recurrences": self._recurrences,
                "max_cost": None if math.isinf(self._max_cost) else self._max_cost,
                "lease_seconds": self._lease_seconds,
            }
            turn.add({"kind": "settings"} | settings | others)
        elif (other := {name: first[0].get(name) for name in settings}) != settings:
            differing = next(name for name in settings if other[name] != settings[name])
            raise _refuse(
                f"{state} was begun with {differing} {other[differing]}, not {settings[differing]}",
                "Advisor",
                "one job per state, with the same settings",
                "name another state, or give the settings that it has",
            )
        self._catch_up(turn)

    def _add(self, event: Event) -> None:
        with self._events.turn() as turn:
            self._catch_up(turn)
            self._append(turn, event)

    def _append(self, turn: Turn, event: Event) -> None:
        turn.add(event)
        self._catch_up(turn)

    def _catch_up(self, turn: Turn) -> None:
        for event in turn.read(self._read):
            self._read += 1
            self._take(event)

    def _take(self, event: Event) -> None:
        match event["kind"]:
            case "ask":
                self._asked[event["id"]] = event
                self._answers = self._answers + 1 if event["is_best"] else 0
            case "timed":
                self._history.time(event["batch_size"], event["power_limit"], event["cost"])
            case "tell" | "record":
                self._told.add(event.get("id", ""))
                outcome = Outcome(
                    batch_size=event["batch_size"],
                    power_limit=event["power_limit"],
                    cost=event["cost"],
                    epochs=event["epochs"],
                    reached=event["reached"],
                    stopped=event["stopped"],
                    progress=dict(event["progress"]),
                )
                self._history.add(outcome)
                drifted = self._history.forget_drifted(outcome)
                if drifted is not None:
                    self._answers = 0
                    self._drifted = drifted
            case _:
                pass

    def _choose(self, running: Sequence[int]) -> tuple[Next, str]:
        history = self._history
        left = self._left(len(running))
        if not history.seen and not running:
            known = history.see_costs(self._sizes)
            limit = known.get(self._sizes.index(self._default), (0.0, None))[1]
            first = Next(
                batch_size=self._default,
                power_limit=limit,
                stop_cost=self._max_cost,
                is_best=False,
                saving=0.0,
            )
            return first, "the default first: nothing is known yet"
        key = (self._read, tuple(running), left)
        if self._planned is None or self._planned[0] != key:
            is_settled = self._is_settled()
            left = 0.0 if is_settled else left
            self._planned = (key, self._planner.plan(history, running=running, recurrences=left))
        chosen = self._planned[1]
        return chosen, self._explain(chosen, left, len(running))

    def _is_settled(self) -> bool:
        """Whether as many answers in a row as there are batch sizes were the best already.

        Where it is known how many recurrences are left, they alone say whether a try pays.
        """
        return self._recurrences is None and self._answers >= len(self._sizes)

    def _left(self, running: int) -> float:
        """Recurrences after the one that is asked for."""
        done = self._history.reached
        if self._recurrences is None:
            return float(max(done, len(self._sizes)))
        return float(max(self._recurrences - done - running - 1, 0))

    def _explain(self, chosen: Next, left: float, running: int) -> str:
        share = f"{write_number(100 * chosen.saving)}%"
        open_runs = "1 other run is" if running == 1 else f"{running} other runs are"
        others = f"; {open_runs} open" if running else ""
        drift = (
            f"; the {self._drifted} of the last choice has changed: looking again"
            if self._drifted is not None and not self._is_settled()
            else ""
        )
        if not chosen.is_best:
            return (
                f"worth a try: knowing it saves about {share} of a run on average, "
                f"{write_number(left)} times{others}{drift}"
            )
        if self._is_settled():
            return f"the best known: nothing is to be gained by trying others{others}"
        return f"the best known: trying another would save about {share} of a run{others}{drift}"

    def _was_stopped(
        self, cost: float, reached: bool, epochs: float, stop_cost: float | None
    ) -> bool:
        """Whether a run without the target ended for its cost, before its epochs were over."""
        if reached or stop_cost is None or epochs >= self._max_epochs:
            return False
        if epochs > 0:
            return cost + cost / epochs > stop_cost * (1 - _SLACK)
        return stop_cost > 0 and cost == 0

    def _check_setting(self, batch_size: int, power_limit: float | None) -> None:
        if batch_size not in self._sizes:
            raise _refuse(
                f"a batch size of {batch_size}",
                "batch_size",
                f"one of {', '.join(map(str, self._sizes))}",
                "name one of these, or begin a new state with it on offer",
            )
        if power_limit is not None and power_limit not in (self._limits or []):
            raise _refuse(
                f"a power limit of {power_limit} W",
                "power_limit",
                f"one of {', '.join(map(str, self._limits or ['none']))}",
                "name one of these, or begin a new state with it on offer",
            )

    def _check_outcome(
        self,
        cost: float,
        reached: bool,
        epochs: float,
        progress: Sequence[tuple[float, float]],
        batch_size: int,
        power_limit: float | None,
    ) -> dict[str, Any]:
        for name, value in {"cost": cost, "epochs": epochs}.items():
            if not 0 <= value < math.inf:
                raise _refuse(f"{name} of {value}", name, "a number from 0 on", "mend the number")
        for level, epoch in progress:
            if not (math.isfinite(level) and 0 <= epoch < math.inf):
                raise _refuse(
                    f"level {level} passed in epoch {epoch}",
                    "progress",
                    "pairs of a level and the epoch in which it was passed",
                    "leave out what was not passed",
                )
        return {
            "batch_size": int(batch_size),
            "power_limit": None if power_limit is None else float(power_limit),
            "cost": float(cost),
            "epochs": float(epochs),
            "reached": bool(reached),
            "progress": [[float(level), float(epoch)] for level, epoch in progress],
        }


def read_settings(state: str) -> dict[str, Any] | None:
    """What a state was begun with, as arguments of `Advisor`; None where there is no state."""
    path = path_of(state)
    if path is not None and not path.exists():
        return None
    stored = StoredEvents(state)
    with stored.turn() as turn:
        first = turn.read(0)[:1]
    stored.close()
    return {name: value for name, value in first[0].items() if name != "kind"} if first else None


def _check_settings(
    sizes: Sequence[int],
    default: int,
    max_epochs: float,
    recurrences: int | None,
    max_cost: float | None,
    lease_seconds: float,
) -> None:
    if not sizes or sizes[0] < 1:
        raise _refuse(
            f"batch sizes {list(sizes)}", "batch_sizes", "at least one, from 1 on", "name them"
        )
    if default not in sizes:
        raise _refuse(
            f"a default of {default}",
            "default",
            f"one of {', '.join(map(str, sizes))}",
            "name one that is on offer",
        )
    positive: Mapping[str, float | None] = {
        "max_epochs": max_epochs,
        "recurrences": recurrences,
        "max_cost": max_cost,
        "lease_seconds": lease_seconds,
    }
    for name, value in positive.items():
        if value is not None and not 0 < value < math.inf:
            raise _refuse(f"{name} of {value}", name, "a number above 0", "mend the number")


def _refuse(what: str, where: str, expected: str, do: str) -> InvalidInput:
    return InvalidInput(what, where=where, expected=expected, do=do)
