"""Calls carried out as jobs of a SLURM cluster."""

import contextlib
import time
from pathlib import Path
from typing import Any

from batchscope.errors import InvalidInput, WorkerDied
from batchscope.workers.calls import AnswerKind, Call, Setup, TaskFunction, answer_elsewhere
from batchscope.workers.extras import import_extra
from batchscope.workers.pool import Answer, Pool
from batchscope.workers.travel import TaskSource

_JOBS = 64
# Asking the scheduler is a burden to all its users; a local process is looked at for free.
_SECONDS_BETWEEN_LOOKS = {"slurm": 10.0, "local": 0.1}
# SBATCH_TIMELIMIT in the environment goes before this, as do its partition and account.
_MINUTES = 24 * 60


class SlurmPool(Pool):
    """Jobs of a SLURM cluster, each a call of one task.

    Args:
        source: the task that each job loads.
        cluster: "slurm", or "local" for processes of this machine.
        folder: that this machine and the nodes share, for what jobs are told and say.
        threads: cores of each job.
        gpus: of each job.
        jobs: at most at a time; None for 64.

    Raises:
        InvalidInput: submitit is not installed, or there is no SLURM here.
    """

    def __init__(
        self,
        source: TaskSource,
        *,
        cluster: str,
        folder: Path,
        threads: int,
        gpus: int,
        jobs: int | None,
    ) -> None:
        submitit: Any = import_extra("submitit", extra="slurm")
        self._helpers: Any = submitit.helpers
        try:
            self._executor: Any = submitit.AutoExecutor(folder=folder, cluster=cluster)
        except RuntimeError as error:
            raise _refusal(str(error)) from error
        self._executor.update_parameters(
            name="batchscope",
            timeout_min=_MINUTES,
            cpus_per_task=threads,
            gpus_per_node=gpus,
            slurm_additional_parameters={"requeue": True},
        )
        self._setup = Setup(source=source, threads=threads)
        self._jobs = jobs or _JOBS
        self._pause = _SECONDS_BETWEEN_LOOKS[cluster]
        self._running: dict[str, Any] = {}

    def close(self) -> None:
        """Cancel the jobs that run or wait."""
        for job in self._running.values():
            with contextlib.suppress(Exception):
                job.cancel()

    @property
    def free(self) -> int:
        """How many jobs could be submitted now."""
        return max(0, self._jobs - len(self._running))

    def submit(self, label: str, function: TaskFunction, *arguments: object) -> None:
        """Begin function(task, *arguments, report=...) as a job."""
        call = Call(function=function, arguments=arguments)
        self._running[label] = self._executor.submit(_serve, self._setup, call)

    def wait(self, timeout: float | None) -> Answer | None:
        """The next answer, or None when there was none in `timeout` seconds."""
        if not self._running:
            # Others train what is left: there is nothing to be told until they are done.
            time.sleep(timeout or 0.0)
            return None
        try:
            job = next(
                self._helpers.as_completed(
                    list(self._running.values()), timeout=timeout, poll_frequency=self._pause
                )
            )
        except TimeoutError:
            return None
        label = next(label for label, other in self._running.items() if other is job)
        del self._running[label]
        error = job.exception()
        if error is not None:
            return Answer(label, "error", _death(label, job, error))
        kind, value = job.result()
        return Answer(label, kind, value)


def _serve(setup: Setup, call: Call) -> tuple[AnswerKind, object]:
    """What a job does; how far it is cannot be told before it ends."""
    return answer_elsewhere(setup, call, lambda _: None)


def _death(label: str, job: Any, error: BaseException) -> WorkerDied:
    return WorkerDied(
        f"job {job.job_id} ended: {str(error).strip().splitlines()[0]}",
        where=str(job.paths.stderr),
        expected=f"a job that answers for {label}",
        do="read what it wrote there; SBATCH_TIMELIMIT and --mem bound every job",
    )


def _refusal(reason: str) -> InvalidInput:
    return InvalidInput(
        f"jobs cannot be submitted: {reason.strip().splitlines()[0]}",
        where="--executor",
        expected="a machine with sbatch",
        do="run this on a login node, or leave --executor out for this machine alone",
    )
