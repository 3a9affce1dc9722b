"""Runs carried out by a pool of workers, each once, whoever else works on the same store."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from batchscope.errors import BatchscopeError, StoreError, WorkerDied
from batchscope.instruments.memory.limits import count_memory_kills
from batchscope.records import Configuration, Progress, Run, Trajectory
from batchscope.studies.claims import (
    RENEWED_EVERY_SECONDS,
    claim,
    describe_owner,
    release,
    renew,
)
from batchscope.studies.grouping import Job, form_jobs
from batchscope.studies.in_workers import train_job
from batchscope.studies.progress import Watcher
from batchscope.studies.store import Store
from batchscope.training.devices import choose_device
from batchscope.training.provenance import Origin, describe_machine
from batchscope.workers.pool import Pool

_SECONDS_BETWEEN_LOOKS = 0.3
# Of a run whose worker is killed each time by something other than its own appetite for memory.
_TRIES = 5

# What to train next, given all that is finished; called again after every run.
NextRuns = Callable[[], Sequence[Configuration]]


class Executor:
    """Trains what a study asks for, each run once, whoever else works on the same store.

    Attributes:
        trained: how many runs this executor trained itself.

    Args:
        pool: the workers.
        cost: predicted seconds of one run, to show how long is left and to begin long runs first.
        spared: predicted seconds that a run did not take, for it was ended early.
        together: batch size -> how many of its runs share a program.
    """

    def __init__(
        self,
        store: Store,
        pool: Pool,
        *,
        task_name: str,
        device_name: str | None,
        origin: Origin,
        watcher: Watcher,
        cost: Callable[[Configuration], float],
        spared: Callable[[Run], float],
        together: Mapping[int, int] | None = None,
    ) -> None:
        self._store = store
        self._pool = pool
        self._task_name = task_name
        self._device_name = device_name
        self._origin = origin
        self._watcher = watcher
        self._cost = cost
        self._spared = spared
        self._together = dict(together or {})
        self._running: dict[str, Job] = {}
        self._progress: dict[str, Progress] = {}
        self._renewed = time.monotonic()
        self._tries: dict[str, int] = {}
        self._memory_kills: dict[str, int] = {}
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
                release(self._store, [c.key for job in self._running.values() for c in job])
            raise

    def _begin(self, wanted: Sequence[Configuration]) -> None:
        if self._pool.free == 0:
            return
        taken = {c.key for job in self._running.values() for c in job}
        waiting = [c for c in wanted if c.key not in taken]
        for job in form_jobs(waiting, self._together, cost=self._cost):
            if self._pool.free == 0:
                return
            # Whoever holds the first of a group means to train all of it.
            if not self._claim(job[0]):
                continue
            ours = (job[0], *(c for c in job[1:] if self._claim(c)))
            self._watcher.begin(label_job(ours))
            self._submit(ours)
        if not self._running:
            self._say_who_is_waited_for(wanted)

    def _say_who_is_waited_for(self, wanted: Sequence[Configuration]) -> None:
        owners = {describe_owner(self._store, configuration.key) for configuration in wanted}
        for owner in sorted(owner for owner in owners - self._waited_for if owner is not None):
            self._watcher.say(f"Waiting for runs that {owner} trains.")
        self._waited_for |= owners

    def _submit(self, job: Job) -> None:
        label = job[0].key
        self._running[label] = job
        self._progress[label] = Progress(share=0.0, loss=None)
        self._memory_kills[label] = count_memory_kills()
        self._pool.submit(label, train_job, job, self._device_name, self._origin)

    def _wait(self) -> bool:
        """Wait a little; says whether something may have finished, here or elsewhere."""
        answer = self._pool.wait(_SECONDS_BETWEEN_LOOKS)
        self._renew()
        if answer is None:
            return self._pool.free > 0
        job = self._running[answer.label]
        match answer.kind:
            case "progress":
                self._advance(job, cast(Progress, answer.value))
                return False
            case "result":
                self._keep(job, cast(list[Run], answer.value))
                return True
            case _:
                self._retry(job, cast(BatchscopeError, answer.value))
                return True

    def _claim(self, configuration: Configuration) -> bool:
        return claim(self._store, configuration.key, label=label_run(configuration))

    def _renew(self) -> None:
        """Keep the leases, and tell those who watch the store."""
        now = time.monotonic()
        if now - self._renewed < RENEWED_EVERY_SECONDS:
            return
        self._renewed = now
        renew(
            self._store,
            {c.key: self._progress[label] for label, job in self._running.items() for c in job},
        )

    def _advance(self, job: Job, progress: Progress) -> None:
        label = job[0].key
        gained = max(0.0, progress.share - self._progress[label].share)
        self._progress[label] = progress
        cost = sum(self._cost(configuration) for configuration in job)
        self._watcher.advance(label_job(job), gained * cost, loss=progress.loss)

    def _retry(self, job: Job, error: BatchscopeError) -> None:
        """A worker that was killed is replaced; any other error ends the study.

        What shared a program goes on one by one, for it may have been too large together. A run
        that the kernel killed for memory while it was alone is not tried again.
        """
        label = job[0].key
        self._tries[label] = self._tries.get(label, 1) + 1
        if not isinstance(error, WorkerDied):
            raise error
        if len(job) == 1 and count_memory_kills() > self._memory_kills[label]:
            self._keep(job, [self._out_of_memory(job[0])])
            return
        if self._tries[label] > _TRIES:
            raise error
        if len(job) == 1:
            self._submit(job)
            return
        self._together.pop(job[0].batch_size, None)
        self._watcher.end(label_job(job))
        del self._running[label]
        release(self._store, [configuration.key for configuration in job])

    def _keep(self, job: Job, runs: Sequence[Run]) -> None:
        self._store.save_runs(runs)
        self.trained += len(runs)
        self._advance(job, Progress(share=1.0, loss=None))
        self._watcher.spare(sum(map(self._spared, runs)))
        self._watcher.end(label_job(job), runs=len(runs))
        del self._running[job[0].key]

    def _out_of_memory(self, configuration: Configuration) -> Run:
        device = choose_device(self._device_name)
        return Run(
            task=self._task_name,
            configuration=configuration,
            status="out_of_memory",
            steps=0,
            trajectory=Trajectory(columns={}),
            provenance=describe_machine(device, self._origin, seconds=0.0),
        )


def label_job(job: Job) -> str:
    """A job in a few words."""
    if len(job) == 1:
        return label_run(job[0])
    return f"{label_run(job[0])} and {len(job) - 1} more together"


def label_run(configuration: Configuration) -> str:
    """A run in a few words."""
    return (
        f"batch {configuration.batch_size}, rate {configuration.learning_rate:g}, "
        f"seed {configuration.seed}"
    )
