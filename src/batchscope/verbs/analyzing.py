"""Analyze a study, or a table of runs that were measured elsewhere."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from batchscope.budget import Budget, Target, parse_budget, parse_target, until_target
from batchscope.errors import InvalidInput, suggest
from batchscope.findings.analysis import Analysis, analyze_curves
from batchscope.findings.curves import Curve, keep_longest, read_curves, tabulate_runs
from batchscope.findings.read_at import read_curves_at
from batchscope.findings.tuning import Ranking, keep_repeated
from batchscope.studies.racing.race import derive_race_target
from batchscope.studies.store import Store
from batchscope.training.schedules import parse_schedule
from batchscope.verbs.importing import TableOptions, analyze_table, check_margin, is_table
from batchscope.verbs.opening import find_row, open_study
from batchscope.verbs.studying import Study
from batchscope.verbs.timings import read_step_seconds

# Columns of a run that are not of how good the model is.
_NO_METRICS = ("step", "examples", "seconds", "gradient_norm", "learning_rate")


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
        mapping: of a table: role -> column.
        where: of a table: column -> value of the rows that are meant.
        examples_per_epoch: of a table: the size of the training set.
        unit: of a table: what one of the batch size is.
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
    check_margin(margin)
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
        check_table_alone(study, budget=budget, which=which)
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
    with open_study(study) as store:
        row = find_row(store, study, which)
        return analyze_row(store, row, smaller, target=wanted, margin=margin)


def check_table_alone(place: str, *, budget: object, which: str | None) -> None:
    """See that nothing is asked of a table that only a store can tell.

    Raises:
        InvalidInput: it is.
    """
    if budget is not None or which is not None:
        raise InvalidInput(
            f"{place} is a table of runs, not a store of studies",
            where="--budget, --study",
            expected="neither of them",
            do="leave them out; --where chooses rows",
        )


def analyze_row(
    store: Store,
    row: sa.RowMapping,
    smaller: Budget | None = None,
    *,
    target: Target | None = None,
    margin: float | None = None,
) -> Analysis:
    """Draw findings from a study of a store. Its arguments are those of `analyze`."""
    plan = row["plan"]
    facts = store.read_task(row["fingerprint"])["facts"]
    runs = store.read_study(row["id"])
    is_race = plan.get("race", False)
    if is_race and target is not None:
        raise _refuse_to_read(str(target))
    if target is None and plan["target"] is not None:
        target = Target(**plan["target"])
    if target is not None:
        known = [name for run in runs for name in run.trajectory.columns]
        target = _resolve(target, known, facts["higher"], where="--target")
    quality = facts["quality"] if target is None else target.metric
    is_derived = is_race and target is None
    higher = quality.removeprefix("train_") in facts["higher"]
    budget = parse_budget(plan["budget"])
    if is_derived:
        whole = [run for run in runs if run.configuration.budget == budget]
        target = derive_race_target(
            read_curves(tabulate_runs(whole, {})), Ranking(quality=quality, higher=higher)
        )
    if is_race:
        if smaller is not None:
            raise _refuse_to_read(str(smaller))
        runs = keep_longest(runs, target)
    curves = read_curves(
        tabulate_runs(
            runs,
            read_step_seconds(store, row),
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
        known = [name for curve in curves for name in curve.columns]
        target = _resolve(budget.until, known, facts["higher"], where="--budget")
        budget = until_target(budget, target)
    return read_curves_at(curves, budget, train_size=facts["train_size"])


def _resolve(target: Target, known: Sequence[str], higher: Sequence[str], *, where: str) -> Target:
    """A target with its direction, checked against the columns of the runs."""
    metrics = sorted(
        {name for name in known if name not in _NO_METRICS and not name.startswith("test_")}
    )
    if metrics and target.metric not in metrics:
        raise InvalidInput(
            f"the runs have no metric {target.metric!r}",
            where=where,
            expected=f"one of {', '.join(metrics)}",
            do=suggest(target.metric, metrics),
        )
    is_higher = target.metric.removeprefix("train_") in higher
    return target.towards(">=" if is_higher else "<=", where=where)
