"""Analyze a study, and recommend a batch size from it."""

import math
import shlex
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, cast

import sqlalchemy as sa

from batchscope.budget import Budget, Target, parse_budget, parse_target, until_target
from batchscope.decisions.limits import check_deadline
from batchscope.decisions.recommendation import Recommendation, Spent, recommend_from
from batchscope.errors import InvalidInput
from batchscope.findings.analysis import Analysis, analyze_curves
from batchscope.findings.curves import Curve, keep_longest, read_curves, tabulate_runs
from batchscope.findings.default_target import derive_target
from batchscope.findings.read_at import read_curves_at
from batchscope.findings.tuning import Ranking, keep_repeated, tune_sizes
from batchscope.optimizers import constants_to_paste
from batchscope.records import Measurement, Run
from batchscope.studies.plan import GRID_RATES, GRID_SEEDS, default_batch_sizes
from batchscope.studies.progress import Watcher
from batchscope.studies.speed import median_seconds
from batchscope.studies.store import DEFAULT_STORE, Store
from batchscope.task import Task
from batchscope.training.evaluation import horizon_examples
from batchscope.training.schedules import parse_schedule
from batchscope.verbs.importing import TableOptions, analyze_table, is_table
from batchscope.verbs.listing import read_measurement
from batchscope.verbs.studying import Study, study

_MORE = {"quick": "standard", "standard": "thorough"}


def analyze(
    study: Study | str,
    *,
    which: str | None = None,
    budget: Budget | str | None = None,
    target: Target | str | None = None,
    mapping: Mapping[str, str] | None = None,
    where: Mapping[str, str] | None = None,
    examples_per_epoch: float | None = None,
    margin: float | None = None,
    unit: str = "examples",
    runs: str | None = None,
    ignore: Sequence[str] = (),
) -> Analysis:
    """Draw findings from a study, or from a table of runs that were measured elsewhere.

    Args:
        study: what `study` returned, a store's path or URL, or runs of elsewhere: a CSV, TSV or
            Parquet file, the SQLite store of Optuna or MLflow, a folder of TensorBoard's.
        which: a study's id or its task's name; None for the latest.
        budget: a smaller one, at which the same runs are read; None for the study's own.
        target: what steps are counted to; None for the study's own, or one derived from the runs.
        mapping, where, examples_per_epoch, unit: of a table: role -> column, column -> value of the
            rows that are meant, the size of the training set, what one of the batch size is.
        ignore: columns of a table that do not matter, though they tell runs apart.
        runs: W&B's export of the runs, where `study` is its export of a chart.
        margin: what counts as no difference in quality.

    Raises:
        InvalidInput: the runs cannot be read at that budget exactly.
        StoreError: there is no such store or study.
        CannotTell: no run of it finished.
    """
    smaller = parse_budget(budget) if isinstance(budget, str) else budget
    wanted = parse_target(target) if isinstance(target, str) else target
    if isinstance(study, str) and is_table(study):
        options = TableOptions(
            target=wanted,
            mapping=mapping or {},
            where=where or {},
            margin=margin,
            examples_per_epoch=examples_per_epoch,
            unit=unit,
            runs=runs,
            ignore=tuple(ignore),
        )
        if budget is not None or which is not None:
            raise InvalidInput(
                f"{study} is a table of runs, not a store of studies",
                where="--budget, --study",
                expected="neither of them",
                do="leave them out; --where chooses rows",
            )
        return analyze_table(study, options)
    of_tables = {
        "--map": mapping,
        "--where": where,
        "--examples-per-epoch": examples_per_epoch,
        "--unit": None if unit == "examples" else unit,
        "--runs": runs,
        "--ignore": ignore,
    }
    given = [name for name, value in of_tables.items() if value]
    if given:
        place = study.store if isinstance(study, Study) else study
        raise InvalidInput(
            f"{place} is a store of studies, not a table",
            where=", ".join(given),
            expected="none of them",
            do="leave them out; --study chooses a study",
        )
    with _open(study) as store:
        row = _find(store, study, which)
        return _analyze(store, row, smaller, target=wanted, margin=margin)


def recommend(
    task: Task | str,
    *,
    objective: str = "time",
    target: Target | str | None = None,
    batch_sizes: Sequence[int] | None = None,
    budget: Budget | str | None = None,
    effort: str = "standard",
    seed: int = 0,
    seeds: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    learning_rates: Sequence[float] | None = None,
    exhaustive: bool = False,
    schedule: str = "constant",
    warmup: float = 0.0,
    rule: str | None = None,
    base: int = 32,
    detect: float | None = None,
    also_read: Sequence[Budget | str] = (),
    tune: Sequence[str] = (),
    devices: int = 1,
    executor: str = "local",
    jobs: int | None = None,
    store: str = DEFAULT_STORE,
    reuse_changed: bool = False,
    deadline: float | None = None,
    watcher: Watcher | None = None,
) -> Recommendation:
    """Say which batch size to use, and why. Its arguments are those of `study`.

    Args:
        deadline: seconds that one training may take; the choice is among the batch sizes that are
            predicted to keep to it. None for no limit.

    Raises:
        CannotTell: no batch size can be compared with another, or none meets the deadline.
    """
    if deadline is not None:
        check_deadline(deadline)
    done = study(
        task,
        batch_sizes=batch_sizes,
        budget=budget,
        target=target,
        objective=objective,
        effort=effort,
        seed=seed,
        seeds=seeds,
        device=device,
        precision=precision,
        learning_rates=learning_rates,
        exhaustive=exhaustive,
        schedule=schedule,
        warmup=warmup,
        rule=rule,
        base=base,
        detect=detect,
        also_read=also_read,
        tune=tune,
        devices=devices,
        race=True,
        executor=executor,
        jobs=jobs,
        store=store,
        reuse_changed=reuse_changed,
        watcher=watcher,
    )
    return read_recommendation(done, deadline=deadline)


def read_recommendation(
    study: Study | str, *, which: str | None = None, deadline: float | None = None
) -> Recommendation:
    """The recommendation that the finished runs of a study lead to.

    Args:
        study, which: as for `analyze`.
        deadline: as for `recommend`.

    Raises:
        StoreError: there is no such store or study.
        CannotTell: its runs do not allow one.
    """
    with _open(study) as store:
        return _recommend(store, _find(store, study, which), deadline)


def read_origin(study: Study | str, *, which: str | None = None) -> Mapping[str, object]:
    """What a study was measured on: the plan and the latest run's provenance."""
    with _open(study) as store:
        row = _find(store, study, which)
        runs = store.read_study(row["id"])
        measured = read_measurement(store, row)
        return {
            "study": row["id"],
            "plan": row["plan"],
            "fingerprint": row["fingerprint"],
            "runs": max(runs, key=lambda run: run.provenance.started).provenance,
            "speed": None if measured is None else measured.provenance,
        }


def _open(study: Study | str) -> "closing[Store]":
    place = study.store if isinstance(study, Study) else study
    return closing(Store(place, create=False))


def _find(store: Store, study: Study | str, which: str | None) -> sa.RowMapping:
    return store.find_study(study.id if isinstance(study, Study) else which)


def _analyze(
    store: Store,
    row: sa.RowMapping,
    smaller: Budget | None = None,
    *,
    target: Target | None = None,
    margin: float | None = None,
) -> Analysis:
    plan = row["plan"]
    facts = store.read_task(row["fingerprint"])["facts"]
    measured = read_measurement(store, row)
    runs = store.read_study(row["id"])
    is_race = plan.get("race", False)
    if is_race and target is not None:
        raise _refuse_to_read(str(target))
    if target is None and plan["target"] is not None:
        target = Target(**plan["target"])
    quality = facts["quality"] if target is None else target.metric
    is_derived = is_race and target is None
    higher = quality.removeprefix("train_") in facts["higher"]
    budget = parse_budget(plan["budget"])
    if is_derived:
        target = _derive_target(runs, budget, Ranking(quality=quality, higher=higher))
    if is_race:
        if smaller is not None:
            raise _refuse_to_read(str(smaller))
        runs = keep_longest(runs, target)
    curves = read_curves(
        tabulate_runs(
            runs,
            median_seconds(measured),
            budget=budget,
            target=target if is_race else None,
            tuned=plan.get("tune", ()),
        )
    )
    if is_race and target is not None:
        curves = keep_repeated(curves, target)
    if smaller is not None:
        curves = _read_at(curves, smaller, plan, facts)
    return analyze_curves(
        curves,
        study=row["id"],
        task=row["task"],
        quality=quality,
        higher=higher,
        target=target,
        target_derived=is_derived,
        to_target_only=is_race,
        unit=facts["unit"],
        rank_by_target=plan["objective"] != "quality",
        margin=margin,
        epoch_examples=facts["train_size"],
    )


def _derive_target(runs: Sequence[Run], budget: Budget, ranking: Ranking) -> Target | None:
    """As the race did, from its whole runs."""
    whole = [run for run in runs if run.configuration.budget == budget]
    tuned = tune_sizes(read_curves(tabulate_runs(whole, {})), ranking)
    return derive_target(tuned, ranking, least_seeds=1)


def _refuse_to_read(end: str) -> InvalidInput:
    return InvalidInput(
        f"the runs of a recommendation end at its own target: they cannot be read at {end}",
        where="--budget, --target",
        expected="a study, whose runs spend their whole budget",
        do="leave it out, or train with batchscope study what can be read so",
    )


def _read_at(
    curves: Sequence[Curve], budget: Budget, plan: Mapping[str, Any], facts: Mapping[str, Any]
) -> list[Curve]:
    if parse_schedule(plan.get("schedule", "constant")).needs_horizon:
        raise InvalidInput(
            f"under the schedule {plan['schedule']} a shorter run is another run",
            where="--budget",
            expected="runs of the schedule constant or averaged",
            do=f'batchscope study --budget "{budget}" trains them',
        )
    if isinstance(budget.until, Target):
        metric = budget.until.metric
        is_higher = metric.removeprefix("train_") in facts["higher"]
        if any(metric not in curve.columns for curve in curves):
            raise InvalidInput(
                f"the runs have no metric {metric!r}",
                where="--budget",
                expected=f"one of {', '.join(curves[0].columns)}",
                do=f'write for example "{budget.amount:g}ep until val_loss<=0.1"',
            )
        budget = until_target(budget, replace(budget.until, direction=">=" if is_higher else "<="))
    return read_curves_at(curves, budget, train_size=facts["train_size"])


def _recommend(store: Store, row: sa.RowMapping, deadline: float | None) -> Recommendation:
    plan = row["plan"]
    runs = store.read_study(row["id"])
    measured = read_measurement(store, row)
    steps = () if measured is None else measured.steps
    asked = set(plan["batch_sizes"])
    return recommend_from(
        _analyze(store, row),
        objective=plan["objective"],
        step_seconds={
            step.batch_size: step.seconds
            for step in steps
            if step.seconds and step.batch_size in asked
        },
        spent=_count(
            runs,
            store.read_measurements(row["fingerprint"]),
            plan,
            store.read_task(row["fingerprint"])["facts"]["train_size"],
        ),
        script_for=_scripts(runs),
        next_command=_write_next_command(store, row),
        deadline=deadline,
    )


def _count(
    runs: Sequence[Run],
    measurements: Sequence[Measurement],
    plan: Mapping[str, Any],
    train_size: int,
) -> Spent:
    budget = parse_budget(plan["budget"])
    each = [horizon_examples(budget, train_size, size) for size in plan["batch_sizes"]]
    grid = GRID_RATES * GRID_SEEDS * sum(each)
    trained = sum(_examples(run) for run in runs)
    timed = sum(measurement.examples for measurement in measurements)
    is_known = math.isfinite(grid)
    return Spent(
        runs=len(runs),
        examples=trained + timed,
        seconds=sum(run.provenance.seconds for run in runs),
        full_runs=(trained + timed) * len(each) / sum(each) if is_known else None,
        share_of_grid=(trained + timed) / grid if is_known else None,
    )


def _examples(run: Run) -> int:
    """Trained on; of a run that did not finish, up to its last step."""
    if run.status == "finished":
        return round(run.trajectory.last("examples"))
    return run.steps * run.configuration.batch_size


def _write_next_command(store: Store, row: sa.RowMapping) -> str:
    """The question as it was asked, a race with more effort and a study with twice the seeds."""
    plan = row["plan"]
    facts = store.read_task(row["fingerprint"])["facts"]
    if not facts["has_name"]:
        return f"bs.recommend(task, seeds={2 * plan['seeds']}, ...)"
    usual: dict[str, object] = {
        "batch-sizes": default_batch_sizes(facts["train_size"]),
        "budget": facts["budget"],
        "target": facts["target"],
        "objective": "time",
        "effort": "standard",
        "seed": 0,
        "precision": facts["precision"],
        "learning-rates": [],
        "exhaustive": False,
        "schedule": "constant",
        "rule": None,
        "base": 32,
        "detect": None,
        "tune": [],
    }
    words = ["batchscope", _verb_of(plan), row["task"]]
    more = _MORE.get(plan["effort"]) if plan.get("race") else None
    words += ["--effort", more] if more else ["--seeds", str(2 * plan["seeds"])]
    for name, value in usual.items():
        if name == "effort" and more:
            continue
        # A study of an older version said nothing of what it did not know.
        given = plan.get(name.replace("-", "_"), value)
        if given is True:
            words.append(f"--{name}")
        elif given != value:
            words += [f"--{name}", _write_option(given)]
    if store.place != DEFAULT_STORE:
        words += ["--store", store.place]
    return shlex.join(words)


def _verb_of(plan: Mapping[str, Any]) -> str:
    """What made a plan: recommend asks for a race wherever there may be one."""
    is_race = plan.get("race") or plan["objective"] == "quality" or plan["effort"] == "frugal"
    return "recommend" if is_race else "study"


def _write_option(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, cast(list[float], value)))
    return str(Target(**cast(dict[str, Any], value))) if isinstance(value, dict) else str(value)


def _scripts(runs: Sequence[Run]) -> Mapping[str, str]:
    """Lines to paste for the setting of each run."""
    return {run.key: _script(run) for run in runs}


def _script(run: Run) -> str:
    configuration = run.configuration
    constants = constants_to_paste(configuration.hyper_parameters)
    given = ", ".join(f"{name}={value!r}" for name, value in constants.items())
    lines = [f"batch_size = {configuration.batch_size}", "accumulation = 1"]
    name = configuration.optimizer
    if name in ("SGD", "Adam", "AdamW"):
        lines.append(f"optimizer = torch.optim.{name}(\n    model.parameters(), {given}\n)")
    else:
        lines.append(f"lr = {configuration.learning_rate!r}")
    if configuration.schedule != "constant":
        lines.append(f"# with the schedule {configuration.schedule}, as in the study")
    clip = configuration.hyper_parameters.get("clip_norm")
    if clip is not None:
        lines.append(f"torch.nn.utils.clip_grad_norm_(model.parameters(), {clip!r})")
    return "\n".join(lines)
