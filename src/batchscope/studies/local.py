"""Runs trained on this machine, by worker processes that share its cores."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import cast

from batchscope.errors import BatchscopeError, StoreError, WorkerDied
from batchscope.records import Configuration, Run
from batchscope.studies.claims import claim, describe_owner, release
from batchscope.studies.progress import Watcher
from batchscope.studies.store import Store
from batchscope.task import Task
from batchscope.training.devices import choose_device
from batchscope.training.hooks import Hook, RunState
from batchscope.training.loop import train
from batchscope.training.provenance import Origin, describe_machine
from batchscope.workers.pool import Pool

_SECONDS_BETWEEN_LOOKS = 0.3
_TRIES = 2

# What to train next, given all that is finished; called again after every run.
NextRuns = Callable[[], Sequence[Configuration]]


def train_run(
    task: Task,
    configuration: Configuration,
    device_name: str | None,
    origin: Origin,
    *,
    report: Callable[[object], None],
) -> Run:
    """Train one run in a worker; `report` is told the share of its budget that is spent."""
    device = choose_device(device_name)
    provenance = describe_machine(device, origin, seconds=0.0)
    outcome = train(task, configuration, device=device, hooks=[_Reporter(report)])
    return Run(
        task=task.name,
        configuration=configuration,
        status=outcome.status,
        steps=outcome.steps,
        trajectory=outcome.trajectory,
        provenance=replace(provenance, seconds=outcome.seconds),
    )


class _Reporter(Hook):
    def __init__(self, report: Callable[[object], None]) -> None:
        self._report = report

    def on_evaluation(self, state: RunState, row: Mapping[str, float]) -> None:
        self._report(state.horizon)


class LocalExecutor:
    """Trains what a study asks for, each run once, whoever else works on the same store.

    Attributes:
        trained: how many runs this executor trained itself.

    Args:
        pool: the workers.
        cost: predicted seconds of one run, to show how long is left and to begin long runs first.
    """

    def __init__(
        self,
        store: Store,
        pool: Pool,
        *,
        device_name: str | None,
        origin: Origin,
        watcher: Watcher,
        cost: Callable[[Configuration], float],
    ) -> None:
        self._store = store
        self._pool = pool
        self._device_name = device_name
        self._origin = origin
        self._watcher = watcher
        self._cost = cost
        self._running: dict[str, Configuration] = {}
        self._spent: dict[str, float] = {}
        self._tries: dict[str, int] = {}
        self.trained = 0
        self._waited_for: set[str | None] = set()

    def train_all(self, next_runs: NextRuns) -> None:
        """Train until nothing is asked for any more.

        Raises:
            BatchscopeError: whatever the task raised; finished runs are kept.
        """
        try:
            wanted = next_runs()
            while wanted:
                self._begin(wanted)
                if self._wait():
                    wanted = next_runs()
        except BaseException:
            # On a full disk giving up the claims fails as well: they end with this process.
            with contextlib.suppress(StoreError):
                release(self._store, self._running)
            raise

    def _begin(self, wanted: Sequence[Configuration]) -> None:
        for configuration in sorted(wanted, key=lambda c: (-self._cost(c), c.key)):
            key = configuration.key
            if key in self._running:
                continue
            if self._pool.free == 0:
                return
            if claim(self._store, key):
                self._running[key] = configuration
                self._spent[key] = 0.0
                self._watcher.begin(label_run(configuration))
                self._submit(configuration)
        if not self._running:
            self._say_who_is_waited_for(wanted)

    def _say_who_is_waited_for(self, wanted: Sequence[Configuration]) -> None:
        owners = {describe_owner(self._store, configuration.key) for configuration in wanted}
        for owner in sorted(owner for owner in owners - self._waited_for if owner is not None):
            self._watcher.say(f"Waiting for runs that {owner} trains.")
        self._waited_for |= owners

    def _submit(self, configuration: Configuration) -> None:
        self._pool.submit(
            configuration.key, train_run, configuration, self._device_name, self._origin
        )

    def _wait(self) -> bool:
        """Wait a little; says whether something may have finished, here or elsewhere."""
        answer = self._pool.wait(_SECONDS_BETWEEN_LOOKS)
        if answer is None:
            return self._pool.free > 0
        configuration = self._running[answer.label]
        match answer.kind:
            case "progress":
                self._advance(configuration, cast(float, answer.value))
                return False
            case "result":
                self._store.save_run(cast(Run, answer.value))
                self.trained += 1
                self._advance(configuration, 1.0)
                self._watcher.end(label_run(configuration))
                del self._running[answer.label]
                return True
            case _:
                self._retry(configuration, cast(BatchscopeError, answer.value))
                return False

    def _advance(self, configuration: Configuration, share: float) -> None:
        key = configuration.key
        gained = max(0.0, share - self._spent[key])
        self._spent[key] += gained
        self._watcher.advance(label_run(configuration), gained * self._cost(configuration))

    def _retry(self, configuration: Configuration, error: BatchscopeError) -> None:
        """A worker that was killed is replaced once; any other error ends the study."""
        key = configuration.key
        self._tries[key] = self._tries.get(key, 1) + 1
        if not isinstance(error, WorkerDied) or self._tries[key] > _TRIES:
            raise error
        self._submit(configuration)


def label_run(configuration: Configuration) -> str:
    """A run in a few words."""
    return (
        f"batch {configuration.batch_size}, rate {configuration.learning_rate:g}, "
        f"seed {configuration.seed}"
    )
