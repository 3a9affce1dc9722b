"""Study a task: train it at each batch size, the learning rate re-tuned at each."""

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from batchscope.budget import Budget, Target
from batchscope.errors import CannotTell
from batchscope.findings.power import MOST_SEEDS, POWER
from batchscope.optimizers import starting_rate
from batchscope.records import Run
from batchscope.studies.cost import (
    CostModel,
    charge_timing,
    count_examples,
    timing_again_allowance,
    timing_allowance,
)
from batchscope.studies.design import StudyDesign
from batchscope.studies.executor import Executor
from batchscope.studies.fingerprint import Fingerprint
from batchscope.studies.plan import Plan, Rates
from batchscope.studies.progress import Unwatched, Watcher
from batchscope.studies.speed import median_seconds
from batchscope.studies.store import DEFAULT_STORE, Store
from batchscope.studies.study_runs import StudyRuns
from batchscope.studies.too_large import smallest_too_large
from batchscope.studies.weighing import Weighing
from batchscope.task import Task
from batchscope.training.provenance import find_origin
from batchscope.verbs.preparing import Prepared, introduce, open_pool, prepare
from batchscope.verbs.profiling import measure
from batchscope.verbs.settings import write_settings
from batchscope.verbs.settling import settle
from batchscope.verbs.timing_again import time_choice_again
from batchscope.workers.pool import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A finished study.

    Attributes:
        id: its name in the store.
        trained: how many of its runs this call trained; others trained the rest.
        examples: processed in all: by its runs, the timing of steps and the trials of sharing.
        grid_examples: that the exhaustive grid would have, every batch size at five rates with all
            seeds for the whole budget; None under a budget of seconds.
        settings: the file that repeats it, for --config.
    """

    id: str
    task: str
    store: str
    plan: Plan
    runs: tuple[Run, ...]
    trained: int
    examples: int
    grid_examples: int | None
    settings: str

    def to_dict(self) -> dict[str, object]:
        """The study as JSON."""
        return {
            "study": self.id,
            "task": self.task,
            "store": self.store,
            "plan": self.plan.to_dict(),
            "runs": len(self.runs),
            "trained": self.trained,
            "diverged": sum(run.status == "diverged" for run in self.runs),
            "examples": self.examples,
            "grid_examples": self.grid_examples,
            "settings": self.settings,
        }

    def __repr__(self) -> str:
        return f"Study {self.id} of {self.task}: {len(self.runs)} runs in {self.store}"


def study(
    task: Task | str,
    *,
    batch_sizes: Sequence[int] | None = None,
    budget: Budget | str | None = None,
    target: Target | str | None = None,
    objective: str = "time",
    effort: str = "standard",
    seed: int = 0,
    seeds: int | None = None,
    device: str | None = None,
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
    executor: str = "local",
    jobs: int | None = None,
    store: str = DEFAULT_STORE,
    reuse_changed: bool = False,
    watcher: Watcher | None = None,
) -> Study:
    """Train at each batch size, the learning rate re-tuned, further seeds at the best.

    Runs that the store has are not trained again; an interrupted study goes on.

    Args:
        task: a task, a built-in's name, "file.py:name" or "package.module:name".
        budget: of one run, or text such as "25ep" or "100ep until plateau"; None for the task's.
        target: a target, or text such as "error<=0.05".
        objective: "time", "examples" or "quality".
        effort: "frugal" (most runs are stopped early), "quick", "standard" or "thorough".
        seed: the first seed; `seeds` of them at the best rate, or at every rate of a grid.
        learning_rates: to train every batch size at, instead of a search; or batch size -> those
            to train it at.
        exhaustive: the same with five rates around the task's own, half a decade apart.
        schedule: "constant", "cosine", "step", "wsd", or "averaged" (constant, judged by an average
            of the weights).
        warmup: examples over which the rate rises, the same at every batch size.
        rule: moves the rates from the batch size `base` instead of a search: "constant", "linear",
            "sqrt", "power:0.7", "adascale:NOISE_SCALE", "adascale" for one that is measured along
            a run at the base, "sde" for Adam, or "fitted": a search at three sizes and a power law
            between them.
        also_read: smaller budgets at which `analyze` is to read the same runs.
        evaluate_every: epochs or examples between two evaluations, such as "1ep"; None for often
            at first and less often later. With it there is no race.
        tune: constants of the optimizer to search beside the rate, equally at every batch size:
            "momentum", "weight_decay", "beta2".
        devices: of this machine that share each step of a run.
        race: look only for the setting that gets to the target first, as `recommend` does: what
            cannot win is given up, so that the other batch sizes are not compared fairly. Where the
            other arguments leave the runs no choice, or judge them by their end, it is no race.
        weighing: what a second of training counts in the race at each batch size, such as the
            power it takes; None where all count alike.
        noise_scale: of the task in examples, as `noise` measures it. A frugal search or a race
            moves the best rate by its gain to the next batch size, until three sizes are known.
        detect: the smallest difference in quality that further seeds are to show with a power of
            80%; None for `seeds` alone.
        executor: "local", "ray" for the cluster of this machine, "ray://host:port" for one
            elsewhere, or "slurm".
        jobs: runs at a time; None for one per core, or one where there is a GPU.
        store: a path or a database URL.
        reuse_changed: let the runs of the task before its last edit count.

    Raises:
        InvalidInput: an argument that there is not.
        InvalidTask: the task cannot be trained.
        StoreError: the store cannot be used.
    """
    watcher = watcher or Unwatched()
    prepared = prepare(
        task,
        watcher=watcher,
        device=device,
        batch_sizes=batch_sizes,
        budget=budget,
        target=target,
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
        also_read=also_read,
        evaluate_every=evaluate_every,
        tune=tune,
        devices=devices,
        race=race,
        weighing=weighing,
    )
    pool = open_pool(prepared, jobs, executor)
    with closing(Store(store, create=True)) as opened:
        earlier = _note_change(opened, prepared, watcher, reuse=reuse_changed)
        introduce(opened, prepared)
        return _carry_out(opened, prepared, pool, earlier, watcher, executor=executor, jobs=jobs)


def _carry_out(
    store: Store,
    prepared: Prepared,
    pool: Pool,
    earlier: str | None,
    watcher: Watcher,
    *,
    executor: str,
    jobs: int | None,
) -> Study:
    """Time the steps, then train until the design asks for nothing more."""
    allowance = timing_allowance(prepared.plan, prepared.task.train_size)
    measured = measure(store, prepared, watcher, examples=allowance)
    seconds = median_seconds(measured)
    prepared = _leave_out_too_large(prepared, seconds, watcher)
    task, plan = prepared.task, prepared.plan
    design = StudyDesign(
        task=task,
        plan=plan,
        fingerprint=prepared.fingerprint.digest,
        earlier=earlier,
        start=starting_rate(task.optimizer_spec, task.model().parameters()),
        step_cost=plan.step_costs(seconds),
        spent=charge_timing(measured.examples, plan, task.train_size)
        + (timing_again_allowance(plan, task.train_size) or 0.0),
    )
    name = plan.study_id(design.fingerprint, earlier)
    settings = write_settings(prepared, study=name, store=store.place, executor=executor, jobs=jobs)
    cost = CostModel(plan, seconds, train_size=task.train_size)
    with pool:
        settled = settle(store, name, design, prepared, pool, watcher, cost=cost.predict)
        design = settled.design
        runs = StudyRuns(store, name, design)
        _announce(design, runs, cost, watcher, workers=pool.free)
        trainer = Executor(
            store,
            pool,
            task_name=task.name,
            device_name=prepared.device_name or prepared.device.type,
            origin=find_origin(),
            watcher=watcher,
            cost=cost.predict,
            spared=cost.spared,
            together=settled.together,
        )
        trainer.train_all(runs.next_runs)
    store.note(name, expected_runs=len(runs.finished))
    again = time_choice_again(
        store, name, design, prepared, runs.finished, watcher, first=measured.steps
    )
    _say_power(design, runs, watcher)
    too_large = smallest_too_large(runs.finished)
    if math.isfinite(too_large):
        watcher.say(f"Memory ran out at batch size {too_large:g}: no larger one was tried.")
    return Study(
        id=name,
        task=task.name,
        store=store.place,
        plan=design.plan,
        runs=tuple(runs.finished),
        trained=trainer.trained,
        examples=measured.examples
        + settled.examples
        + again
        + sum(map(count_examples, runs.finished)),
        grid_examples=cost.grid_examples,
        settings=str(settings),
    )


def _say_power(design: StudyDesign, runs: StudyRuns, watcher: Watcher) -> None:
    found = design.seeds_to_detect(runs.finished)
    if found is None:
        return
    seeds, deviation = found
    shown = (
        f"a difference of {design.plan.detect:g} between batch sizes with a power of {POWER:.0%}"
    )
    if seeds is None:
        watcher.say(
            f"Seeds deviate by {deviation:.2g}: it takes more than {MOST_SEEDS:,} of them to show "
            f"{shown}. No further ones were trained."
        )
        return
    watcher.say(f"Seeds deviate by {deviation:.2g}: {seeds} of them show {shown}.")


def _leave_out_too_large(
    prepared: Prepared, seconds: Mapping[int, float], watcher: Watcher
) -> Prepared:
    """The sizes that could be timed; the others ran out of memory."""
    sizes = prepared.plan.batch_sizes
    fit = tuple(size for size in sizes if size in seconds)
    if fit == sizes:
        return prepared
    if not fit:
        raise CannotTell(
            f"memory ran out at batch size {sizes[0]}",
            where=f"study {prepared.task.name}",
            expected="one batch size that fits",
            do="name smaller sizes with --batch-sizes",
        )
    refused = min(set(sizes) - set(fit))
    watcher.say(f"Memory ran out at batch size {refused}: the study goes up to {fit[-1]}.")
    return replace(prepared, plan=replace(prepared.plan, batch_sizes=fit))


def _announce(
    design: StudyDesign, runs: StudyRuns, cost: CostModel, watcher: Watcher, *, workers: int
) -> None:
    """Say how many runs, how long and how to cap it, before any training."""
    waiting = runs.next_runs()
    done: dict[int, int] = {}
    for run in runs.finished:
        size = run.configuration.batch_size
        done[size] = done.get(size, 0) + 1
    if not waiting:
        watcher.say(f"All {len(runs.finished)} runs of {design.task.name} are in the store.")
        watcher.expect(0.0)
        return
    missing = {
        size: max(1, design.expected_runs(size) - done.get(size, 0))
        for size in design.plan.batch_sizes
    }
    wholes = sum(number * cost.at_size(size) for size, number in missing.items())
    remaining = design.budgets_per_run * wholes
    sizes, count = len(design.plan.batch_sizes), sum(missing.values())
    kept = f", {sum(done.values())} are in the store" if done else ""
    further = ", and further seeds as far as --detect needs them" if design.plan.detect else ""
    quick = "" if design.plan.effort == "quick" else "--effort quick, "
    watcher.say(
        f"About {count} run{'s' if count > 1 else ''} of {design.task.name} at "
        f"{sizes} batch size{'s' if sizes > 1 else ''}, {_in_words(remaining / workers)} on "
        f"{workers} worker{'s' if workers > 1 else ''}{kept}{further}. To cap it: {quick}a smaller "
        "--budget, or fewer --batch-sizes."
    )
    watcher.expect(remaining)


def _note_change(store: Store, prepared: Prepared, watcher: Watcher, *, reuse: bool) -> str | None:
    """Say what changed since the task of this name was last used; its fingerprint if it counts."""
    now = prepared.fingerprint.digest
    versions = store.read_versions(prepared.task.name)
    others = [version for version in versions if version["fingerprint"] != now]
    if not others:
        return None
    parts = prepared.fingerprint.changed_parts(Fingerprint(**others[0]["parts"]))
    if reuse:
        watcher.say(
            f"{prepared.task.name}: {' and '.join(parts)} changed; runs of the version before "
            "count all the same."
        )
        return str(others[0]["fingerprint"])
    if versions[0]["fingerprint"] != now:
        watcher.say(
            f"{prepared.task.name}: {' and '.join(parts)} changed since its last use; runs of that "
            "version are kept but do not count (--reuse-changed lets them)."
        )
    return None


def _in_words(seconds: float) -> str:
    if seconds < 90:
        return f"about {max(2, round(seconds))} seconds"
    if seconds < 5400:
        return f"about {round(seconds / 60)} minutes"
    return f"about {seconds / 3600:.1f} hours"
