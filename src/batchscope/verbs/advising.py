"""The advisor for jobs that run again and again: it answers at once and learns from every run."""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from batchscope.decisions.recurring.job import Direction, Job, refuse, to_number, to_whole
from batchscope.decisions.recurring.planner import Next, Planner
from batchscope.decisions.recurring.record import Event, Record
from batchscope.errors import CannotTell
from batchscope.estimate import write_number
from batchscope.studies.connection import path_of
from batchscope.studies.events import MemoryEvents, StoredEvents, Turn

_DAY = 86_400.0
# Of what a run costs; less is not worth a number.
_LEAST_SAVING = 0.001
# A probability of reaching the target.
_HARDLY = 0.05


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
        return asdict(self)


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
        recurrences: how often the job is to reach its target in all; None for as many times again
            as it did, at least one per batch size.
        max_cost: of one run, a limit that is never passed.
        lease_seconds: after which a run of which nothing was told is taken for lost; its outcome
            may still be told.
        state: a file or a database URL, shared by all jobs; None for this process alone. It keeps
            what was last said of recurrences, max_cost and lease_seconds for the command line.
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
        self._job = Job(
            batch_sizes=sorted({to_whole("batch_sizes", size) for size in batch_sizes}),
            default=to_whole("default", default),
            power_limits=None
            if power_limits is None
            else sorted({to_number("power_limits", watts) for watts in power_limits}),
            max_epochs=to_number("max_epochs", max_epochs),
            target=None if target is None else to_number("target", target),
            direction=direction,
            recurrences=None if recurrences is None else to_whole("recurrences", recurrences),
            max_cost=None if max_cost is None else to_number("max_cost", max_cost),
            lease_seconds=to_number("lease_seconds", lease_seconds),
        )
        self._max_cost = self._job.max_cost or math.inf
        self._planner = Planner(
            self._job.batch_sizes,
            self._job.default,
            max_epochs=self._job.max_epochs,
            max_cost=self._max_cost,
            seed=seed,
        )
        self._record = Record(self._job.max_epochs, target=self._job.target, direction=direction)
        self._events = MemoryEvents() if state is None else StoredEvents(state)
        with self._events.turn() as turn:
            kept = _read_kept(turn)
            if kept is not None:
                self._job.check_same(kept, state)
            changed = self._job.changed_from(kept or {})
            if changed:
                turn.add({"kind": "settings"} | changed)

    def timed(
        self, batch_size: int, cost_per_epoch: float, power_limit: float | None = None
    ) -> None:
        """Take the cost of an epoch as a few timed steps have it; any number of times.

        Where two timings one after another are not what earlier ones of the same batch sizes and
        power limits predict, both higher or both lower, costs from before them count no longer.

        Raises:
            InvalidInput: the batch size or the power limit is not on offer, or the cost is not
                above 0.
        """
        setting = self._job.check_setting(batch_size, power_limit)
        if not 0 < to_number("cost_per_epoch", cost_per_epoch) < math.inf:
            raise refuse(
                f"a cost of {cost_per_epoch} per epoch",
                "cost_per_epoch",
                "a number above 0",
                "time a few steps and scale them to an epoch",
            )
        self._add({"kind": "timed", "cost": float(cost_per_epoch)} | setting)

    def ask(self) -> Trial:
        """The next run. It never waits for runs that are not told of yet.

        Raises:
            CannotTell: one epoch costs more than a run may, at every batch size.
        """
        with self._events.turn() as turn:
            self._catch_up(turn)
            now = time.time()
            running = self._record.running(now=now, lease_seconds=self._job.lease_seconds)
            chosen, reason = self._choose(running)
            trial = Trial(
                id=str(len(self._record.asked) + 1),
                batch_size=chosen.batch_size,
                power_limit=chosen.power_limit,
                stop_cost=None if math.isinf(chosen.stop_cost) else chosen.stop_cost,
                reason=reason,
            )
            said = {"is_best": chosen.is_best, "stops_late": chosen.stops_late}
            turn.add({"kind": "ask", "at": now} | said | trial.to_dict())
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
            InvalidInput: there is no such trial, it was told of before, a number makes no sense, or
                the target was passed and not reached; nothing is changed then.
        """
        name = trial.id if isinstance(trial, Trial) else str(trial)
        with self._events.turn() as turn:
            self._catch_up(turn)
            asked = self._record.asked.get(name)
            if asked is None:
                raise refuse(
                    f"there is no trial {name!r}",
                    "tell",
                    f"one of the {len(self._record.asked)} that were asked for",
                    "give the id that ask() gave; record() takes runs that nobody asked for",
                )
            if isinstance(trial, Trial) and asked["batch_size"] != trial.batch_size:
                raise refuse(
                    f"trial {name} was asked for at batch size {asked['batch_size']}, and this is "
                    f"one at {trial.batch_size}",
                    "tell",
                    "a trial of this advisor",
                    "tell the advisor that was asked, or record() the run",
                )
            if name in self._record.told:
                raise refuse(
                    f"trial {name} was told of before",
                    "tell",
                    "one outcome for each trial",
                    "use record() for a run that nobody asked for",
                )
            outcome = self._job.check_outcome(
                cost=cost, reached=reached, epochs=epochs, progress=progress
            )
            size, watts = asked["batch_size"], asked["power_limit"]
            stopped = self._job.was_stopped(
                cost=cost,
                reached=reached,
                epochs=epochs,
                stop_cost=asked["stop_cost"],
                epoch_cost=self._record.history.costs.see_one((size, watts)),
            )
            setting = {"batch_size": size, "power_limit": watts}
            turn.add({"kind": "tell", "id": name, "stopped": stopped} | setting | outcome)

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
        setting = self._job.check_setting(batch_size, power_limit)
        outcome = self._job.check_outcome(
            cost=cost, reached=reached, epochs=epochs, progress=progress
        )
        self._add({"kind": "record", "stopped": False} | setting | outcome)

    def close(self) -> None:
        """Let go of the state."""
        if isinstance(self._events, StoredEvents):
            self._events.close()

    def _add(self, event: Event) -> None:
        with self._events.turn() as turn:
            turn.add(event)

    def _catch_up(self, turn: Turn) -> None:
        for event in turn.read(self._record.taken):
            self._record.take(event)

    def _choose(self, running: Sequence[int]) -> tuple[Next, str]:
        history = self._record.history
        self._check_affordable()
        at = self._job.batch_sizes.index(self._job.default)
        price, _ = history.costs.see(self._job.batch_sizes).get(at, (0.0, None))
        is_affordable = price <= self._max_cost
        if not history.seen and not running and is_affordable:
            first = self._planner.begin(self._job.default, history)
            return first, "the default first: nothing is known yet"
        left = self._left(len(running))
        chosen = self._planner.plan(history, running=running, recurrences=left)
        return chosen, self._explain(chosen, left, len(running))

    def _check_affordable(self) -> None:
        sizes = self._job.batch_sizes
        known = self._record.history.costs.see(sizes)
        if len(known) < len(sizes):
            return
        at = min(known, key=lambda at: known[at][0])
        least = known[at][0]
        if least > self._max_cost:
            raise CannotTell(
                f"one epoch costs {write_number(least)} at batch size {sizes[at]}, the cheapest",
                where="max_cost",
                expected=f"a limit from there on; it is {write_number(self._max_cost)}",
                do="raise the limit, or begin a new state with other batch sizes",
            )

    def _is_settled(self) -> bool:
        """Whether as many answers in a row as there are batch sizes were the best already.

        Where it is known how many recurrences are left, they alone say whether a try pays.
        """
        enough = self._record.best_in_a_row >= len(self._job.batch_sizes)
        works = self._record.history.is_anything_known_to_work
        return self._job.recurrences is None and enough and works

    def _left(self, running: int) -> float:
        """Recurrences after the one that is asked for, for which a try could pay."""
        if self._is_settled():
            return 0.0
        done = self._record.history.reached
        if self._job.recurrences is None:
            return float(max(done, len(self._job.batch_sizes)))
        return float(max(self._job.recurrences - done - running - 1, 0))

    def _explain(self, chosen: Next, left: float, running: int) -> str:
        is_little = chosen.saving < _LEAST_SAVING
        share = "less than 0.1%" if is_little else f"about {write_number(100 * chosen.saving)}%"
        open_runs = "1 other run is" if running == 1 else f"{running} other runs are"
        others = f"; {open_runs} open" if running else ""
        is_new = self._record.since_drift < len(self._job.batch_sizes)
        drift = (
            f"; {self._record.drifted} changed: looking again"
            if self._record.drifted is not None and is_new and not self._is_settled()
            else ""
        )
        if chosen.reach < _HARDLY:
            limit = f"{self._job.max_epochs:g} epochs"
            if self._job.max_cost is not None:
                limit += f" and a cost of {write_number(self._job.max_cost)}"
            return f"no batch size is expected to reach the target within {limit}{others}{drift}"
        if not self._record.history.is_anything_known_to_work:
            since = " since" if self._record.history.reached else ""
            return f"a guess: no run has reached the target yet{since}{others}{drift}"
        if chosen.is_expected and not chosen.is_best:
            return f"expected to cost least: no run of it has reached the target yet{others}{drift}"
        if not chosen.is_best:
            return (
                f"worth a try: knowing it saves {share} of a run on average, "
                f"{left:,.0f} times{others}{drift}"
            )
        if self._is_settled():
            return f"the best known: nothing is to be gained by trying others{others}"
        return (
            "the best known: trying another costs more than it would save, "
            f"{share} of a run each time{others}{drift}"
        )


def read_settings(state: str) -> dict[str, Any] | None:
    """What was last said of a state, as arguments of `Advisor`; None where there is no state."""
    path = path_of(state)
    if path is not None and not path.exists():
        return None
    stored = StoredEvents(state)
    with stored.turn() as turn:
        kept = _read_kept(turn)
    stored.close()
    return kept


def _read_kept(turn: Turn) -> dict[str, Any] | None:
    kept: dict[str, Any] = {}
    for event in turn.read(0):
        if event["kind"] == "settings":
            kept |= event
    kept.pop("kind", None)
    return kept or None
