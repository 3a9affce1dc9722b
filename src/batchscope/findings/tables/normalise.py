"""Somebody's table of runs as the table that findings read."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from batchscope.errors import InvalidInput
from batchscope.findings.tables.cells import (
    ROW,
    as_numbers,
    drop_impossible,
    keep_where,
    without_unreadable,
)
from batchscope.findings.tables.columns import is_text, recognise_columns
from batchscope.findings.tables.metrics import find_metric, is_higher_better
from batchscope.findings.tables.places import (
    examples_in_epoch,
    holds_levels,
    keep_placed,
    place_rows,
    with_beginnings,
)
from batchscope.findings.tables.runs import name_runs

_FAILED = ["diverged", "failed", "nan", "fail", "error", "out_of_memory"]
_UNFINISHED = ["stopped", "pruned", "running", "cancelled", "canceled", "crashed", "killed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignRuns:
    """Runs that were measured elsewhere.

    Attributes:
        frame: with the columns that `read_curves` reads.
        metric, higher: what quality is measured by, and whether higher is better.
        unit: of `examples`: "examples", or "epochs" where nobody knows how many an epoch has.
        epoch_examples: examples in an epoch; None where unknown.
        notes: sentences on what was taken for what.
    """

    frame: pl.DataFrame
    metric: str
    higher: bool
    unit: str
    epoch_examples: float | None
    notes: tuple[str, ...]


def normalise_table(
    table: pl.DataFrame,
    *,
    mapping: Mapping[str, str],
    where: Mapping[str, str],
    epoch_examples: float | None = None,
    unit: str = "examples",
    ignore: Sequence[str] = (),
) -> ForeignRuns:
    """Find what each column is, and bring runs into the form that findings read.

    One row per run, per (run, step) or per (run, level reached) all are rows of a run at a place: a
    level that was never reached has no place, and is left to be censored.

    Args:
        mapping: role, or "metric" -> column, where a name does not say it.
        where: column -> the value of the rows that are meant.
        ignore: columns that do not matter.
        epoch_examples: examples in an epoch, to turn epochs into examples and steps.

    Raises:
        InvalidInput: a cell that is no number where one is needed, named by row and column; a
            column or a value that there is not; or several jobs in one table.
    """
    if table.is_empty():
        raise InvalidInput(
            "the table has no rows",
            where="table",
            expected="one row per run or per evaluation",
            do="write one that works with: batchscope analyze --example",
        )
    if ROW not in table.columns:
        table = table.with_row_index(ROW)
    table = keep_where(table, where).drop(ignore, strict=False)
    columns = [name for name in table.columns if name != ROW]
    roles = recognise_columns(columns, mapping)
    notes = [f"{column} is read as {role}" for role, column in roles.items() if role != column]
    judged = roles.get("metric") or find_metric(table, columns, roles)
    others = [c for c in columns if c not in roles.values() and c != judged]
    roles = without_unreadable(table, roles, notes)
    numbers = [column for role, column in roles.items() if not is_text(role)]
    table = as_numbers(table, {*numbers, judged})
    table = drop_impossible(table, roles, notes)
    table = name_runs(table, roles, others, notes)
    is_higher = is_higher_better(table, judged, roles)
    frame, found_unit = place_rows(table, roles, epoch_examples, unit, notes)
    if epoch_examples is None and found_unit != "epochs" and "epoch" in roles:
        epoch_examples = examples_in_epoch(frame["examples"], table[roles["epoch"]])
    frame = _with_losses(frame, table, roles, judged)
    extra = [c for c in others if table[c].dtype.is_numeric() and c not in frame.columns]
    frame = frame.with_columns(table[c].cast(pl.Float64).alias(c) for c in extra)
    for role in ("noise_scale", "ghost_batch"):
        if role in roles:
            frame = frame.with_columns(table[roles[role]].cast(pl.Float64).alias(role))
    name = _name_metric(judged, roles)
    notes.append(f"{judged} is judged: {'higher' if is_higher else 'lower'} is better")
    frame = keep_placed(_with_status(frame, table, roles, name), name)
    if holds_levels(frame, name):
        frame = with_beginnings(frame, name, higher=is_higher)
        notes.append(f"{name} holds levels, each with where it was passed")
    return ForeignRuns(
        frame=frame,
        metric=name,
        higher=is_higher,
        unit=found_unit,
        epoch_examples=epoch_examples if found_unit != "epochs" else 1.0,
        notes=tuple(notes),
    )


def _with_losses(
    frame: pl.DataFrame, table: pl.DataFrame, roles: Mapping[str, str], judged: str
) -> pl.DataFrame:
    columns = {role: roles.get(role) for role in ("train_loss", "val_loss")}
    frame = frame.with_columns(
        (pl.lit(math.nan) if column is None else table[column].cast(pl.Float64)).alias(role)
        for role, column in columns.items()
    )
    name = _name_metric(judged, roles)
    if name not in frame.columns:
        frame = frame.with_columns(table[judged].alias(name))
    return frame


def _name_metric(judged: str, roles: Mapping[str, str]) -> str:
    return next((r for r in ("val_loss", "train_loss") if roles.get(r) == judged), judged)


def _with_status(
    frame: pl.DataFrame, table: pl.DataFrame, roles: Mapping[str, str], metric: str
) -> pl.DataFrame:
    """Finished, unless the table says otherwise or the run has a loss that is no number."""
    said = pl.lit("finished")
    if "status" in roles:
        frame = frame.with_columns(
            table[roles["status"]].cast(pl.String).str.to_lowercase().alias("_said")
        )
        said = (
            pl.when(pl.col("_said").is_in(_FAILED))
            .then(pl.lit("diverged"))
            .when(pl.col("_said").is_in(_UNFINISHED))
            .then(pl.lit("stopped"))
            .otherwise(said)
        )
    seen = {metric, *(r for r in ("train_loss", "val_loss") if r in roles)}
    bad = pl.any_horizontal(pl.col(c).is_infinite() | pl.col(c).is_nan() for c in sorted(seen))
    # A NaN that numbers follow was no end of training, only nothing measured.
    diverged = bad.fill_null(value=False).last().over("run", order_by="examples")
    frame = frame.with_columns(
        pl.when(diverged)
        .then(pl.lit("diverged"))
        .otherwise(said.last().over("run", order_by="examples"))
        .alias("status")
    )
    return frame.drop("_said", strict=False).with_columns(
        pl.when(bad.fill_null(value=False)).then(None).otherwise(pl.col(metric)).alias(metric)
    )
