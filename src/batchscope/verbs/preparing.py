"""What every verb does first: load the task, look at it, plan, and only then open a store."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from batchscope.budget import Budget, Target, parse_budget, parse_target
from batchscope.errors import InvalidInput, InvalidTask, TaskCannotTravel, suggest
from batchscope.gallery import BUILT_IN, module_of
from batchscope.studies.fingerprint import Fingerprint, fingerprint
from batchscope.studies.plan import Plan, Rates, make_plan
from batchscope.studies.progress import Watcher
from batchscope.studies.store import Store
from batchscope.studies.weighing import Weighing
from batchscope.task import Task
from batchscope.training.check import check_batch_sizes, check_task, explain_failure
from batchscope.training.devices import choose_device, count_cores, count_free_cores
from batchscope.training.evaluation import count_evaluated
from batchscope.workers.keeping import open_processes
from batchscope.workers.pool import OwnProcess, Pool
from batchscope.workers.ray_pool import RayPool
from batchscope.workers.slurm_pool import SlurmPool
from batchscope.workers.travel import (
    ModuleTask,
    PickledTask,
    TaskSource,
    load_task,
    pack_task,
    read_source,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A task that can be trained, with its plan, before a store is touched.

    Attributes:
        source: how it travels; None for a task that stays in this process.
        device_name: as the user gave it; None for the best.
    """

    task: Task
    source: TaskSource | None
    plan: Plan
    device: torch.device
    device_name: str | None
    fingerprint: Fingerprint


def prepare(
    given: Task | str,
    *,
    watcher: Watcher,
    device: str | None = None,
    batch_sizes: Sequence[int] | None = None,
    budget: Budget | str | None = None,
    target: Target | str | None = None,
    objective: str = "time",
    effort: str = "standard",
    seed: int = 0,
    seeds: int | None = None,
    precision: str | None = None,
    learning_rates: Rates | None = None,
    exhaustive: bool = False,
    schedule: str = "constant",
    warmup: float = 0.0,
    rule: str | None = None,
    base: int = 32,
    noise_scale: float | None = None,
    detect: float | None = None,
    also_read: Sequence[Budget | str] = (),
    evaluate_every: Budget | str | None = None,
    tune: Sequence[str] = (),
    devices: int = 1,
    race: bool = False,
    weighing: Weighing | None = None,
    compute: bool = True,
) -> Prepared:
    """Load a task, compute it once on a few examples, and fill in its plan.

    Args:
        compute: False where even a few examples may need more memory than there is.

    Raises:
        InvalidInput: an argument that there is not.
        InvalidTask: the task cannot be loaded or trained.
    """
    chosen_device = choose_device(device)
    # What a task prints while it is made must not mix with a result.
    with redirect_stdout(sys.stderr):
        task, source = _load(given, watcher)
    plan = make_plan(
        task,
        device=chosen_device,
        batch_sizes=batch_sizes,
        budget=parse_budget(budget) if isinstance(budget, str) else budget,
        target=parse_target(target) if isinstance(target, str) else target,
        objective=objective,
        effort=effort,
        seed=seed,
        seeds=seeds,
        precision=precision,
        learning_rates=learning_rates,
        exhaustive=exhaustive,
        schedule=schedule,
        warmup=warmup,
        rule=rule,
        base=base,
        noise_scale=noise_scale,
        detect=detect,
        also_read=[parse_budget(b) if isinstance(b, str) else b for b in also_read],
        evaluate_every=(
            parse_budget(evaluate_every, where="--evaluate-every")
            if isinstance(evaluate_every, str)
            else evaluate_every
        ),
        tune=tune,
        devices=devices,
        race=race,
        weighing=weighing,
    )
    check_batch_sizes(task, plan.batch_sizes)
    with redirect_stdout(sys.stderr):
        if compute:
            check_task(task, precision=plan.precision, device=chosen_device)
        found = _fingerprint(task, source)
    return Prepared(
        task=task,
        source=source,
        plan=plan,
        device=chosen_device,
        device_name=device,
        fingerprint=found,
    )


def _fingerprint(task: Task, source: TaskSource | None) -> Fingerprint:
    try:
        return fingerprint(task, source)
    except Exception as error:  # whatever a user's own data set raises
        raise explain_failure(error) from error


def introduce(store: Store, prepared: Prepared) -> None:
    """Tell a store what the task is, for those who read its runs without the task."""
    task = prepared.task
    store.save_task(
        prepared.fingerprint.digest,
        name=task.name,
        parts=asdict(prepared.fingerprint),
        facts={
            "unit": task.unit,
            "train_size": task.train_size,
            "evaluated": sum(count_evaluated(task).values()),
            "quality": task.quality,
            "has_name": not isinstance(prepared.source, PickledTask | None),
            "budget": str(task.budget),
            "target": None if task.target is None else asdict(task.resolve_target(task.target)),
            "precision": task.precision,
            "higher": [name for name in task.metrics if task.is_higher_better(name)],
        },
    )


def open_pool(prepared: Prepared, jobs: int | None, executor: str = "local") -> Pool:
    """Workers for a task: of this machine one per core, or one where the device is no CPU.

    Args:
        executor: "local", "ray", "ray://host:port" or "slurm"; "slurm:local" runs the jobs of
            SLURM as processes of this machine.

    Raises:
        InvalidInput: `jobs` is below 1, there is no such executor, or it cannot be reached.
    """
    if jobs is not None and jobs < 1:
        raise InvalidInput(
            f"{jobs} workers train nothing",
            where="--jobs",
            expected="at least 1",
            do="leave it out for one worker per core",
        )
    if executor == "local":
        return _open_local(prepared, jobs)
    gpus = int(prepared.device.type == "cuda")
    match executor.partition(":"):
        case ("ray", _, place) if not place or place.startswith("//"):
            address = executor if place else "auto"
            source = _source_for_others(prepared)
            return RayPool(source, address=address, threads=1, gpus=gpus, jobs=jobs)
        case ("slurm", _, "" | "local" as place):
            return SlurmPool(
                _source_for_others(prepared),
                cluster=place or "slurm",
                folder=Path(".batchscope-jobs"),
                threads=1,
                gpus=gpus,
                jobs=jobs,
            )
        case _:
            raise InvalidInput(
                f"there is no executor {executor!r}",
                where="--executor",
                expected="local, ray, ray://host:port or slurm",
                do="choose one of these",
            )


def _source_for_others(prepared: Prepared) -> TaskSource:
    if prepared.source is None:
        raise InvalidInput(
            "the task cannot be sent to other machines: it holds what lives in this process only",
            where="--executor",
            expected="a task that can be pickled, or one named as file.py:name",
            do="open files and locks inside the functions that use them",
        )
    return prepared.source


def _open_local(prepared: Prepared, jobs: int | None) -> Pool:
    if prepared.source is None:
        return OwnProcess(prepared.task)
    cores = count_cores()
    count = jobs or (cores if prepared.device.type == "cpu" else 1)
    count = max(1, min(count, cores // prepared.plan.devices))
    threads = cores // count
    if threads > 1:
        # Threads that share a core with another program wait for one another, as in a timing.
        threads = max(1, count_free_cores() // count)
    return open_processes(prepared.source, count=count, threads=threads)


def _load(given: Task | str, watcher: Watcher) -> tuple[Task, TaskSource | None]:
    """The task, and the source it has unless it was built in Python."""
    if isinstance(given, Task):
        try:
            return given, pack_task(given)
        except TaskCannotTravel as error:
            watcher.say(f"{error.args[0]}: runs share this process, one at a time.")
            return given, None
    source = _find_source(given)
    return load_task(source), source


def _find_source(text: str) -> TaskSource:
    if text in BUILT_IN:
        return ModuleTask(module=module_of(text), name="task", label=text)
    if ":" in text or text.endswith(".py"):
        return read_source(text)
    raise InvalidTask(
        f"there is no task {text!r}",
        where="TASK",
        expected=f"one of {', '.join(BUILT_IN)}, or file.py:name",
        do=suggest(text, BUILT_IN, "batchscope tasks lists the built-in ones"),
    )
