"""Analyze runs that were measured elsewhere."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from batchscope.budget import Target
from batchscope.errors import BatchscopeError, InvalidInput
from batchscope.findings.analysis import Analysis, analyze_curves
from batchscope.findings.curves import RUN_COLUMNS, read_curves
from batchscope.findings.tables.cells import ROW
from batchscope.findings.tables.columns import check_column
from batchscope.findings.tables.normalise import normalise_table
from batchscope.verbs.foreign import find_kind, join_history, read_foreign

_PLACES = ("step", "examples", "seconds", "noise_scale", "ghost_batch")
SUFFIXES = (".csv", ".tsv", ".parquet", ".pq")


def is_table(place: str) -> bool:
    """Whether a place holds runs that were measured elsewhere, rather than a store of ours."""
    return place.lower().endswith(SUFFIXES) or find_kind(place) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOptions:
    """How a table of runs is read.

    Attributes:
        target: what steps are counted to; None to derive one from the runs.
        mapping: role ("batch_size", "step", "metric", ...) -> column, where a name does not say it.
        where: column -> value of the rows that are meant.
        margin: what counts as no difference in the metric.
        examples_per_epoch: turns epochs into examples and steps.
        unit: what one of the batch size is.
        ignore: columns that do not matter, though they tell runs apart.
        runs: the file with the settings of the runs, where `place` is W&B's export of a chart.

    Raises:
        InvalidInput: a margin or an epoch that is not above 0.
    """

    target: Target | None = None
    mapping: Mapping[str, str] = field(default_factory=dict[str, str])
    where: Mapping[str, str] = field(default_factory=dict[str, str])
    margin: float | None = None
    examples_per_epoch: float | None = None
    unit: str = "examples"
    runs: str | None = None
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.examples_per_epoch is not None and not 0 < self.examples_per_epoch < math.inf:
            raise InvalidInput(
                f"{self.examples_per_epoch:g} examples in an epoch",
                where="--examples-per-epoch",
                expected="a number above 0",
                do="give the size of the training set",
            )
        if self.margin is not None and not 0 < self.margin < math.inf:
            raise InvalidInput(
                f"a margin of {self.margin:g}",
                where="--margin",
                expected="a number above 0, in the units of the metric",
                do="give the largest difference that you would not mind, such as 0.01",
            )


def analyze_table(place: str, options: TableOptions) -> Analysis:
    """Draw findings from runs of elsewhere: a CSV, TSV or Parquet file, the SQLite store of Optuna
    or MLflow, or a folder with TensorBoard's event files.

    One row per run, per (run, step), or per (run, level reached). Columns are recognised by name.

    Raises:
        InvalidInput: the file cannot be read as such a table, with the row and column.
        CannotTell: no run of it finished.
    """
    return _analyze(_read(place, options), Path(place).name, options)


def analyze_groups(
    place: str, column: str, options: TableOptions
) -> dict[str, Analysis | BatchscopeError]:
    """Draw findings from each job of a table, told apart by a column.

    Returns:
        Value of the column -> its findings, or why it has none.

    Raises:
        InvalidInput: there is no such column.
    """
    if not is_table(place):
        raise InvalidInput(
            f"{place} is no table of runs",
            where="--group",
            expected="a CSV, TSV or Parquet file, or another tool's store",
            do="leave --group out; --study chooses a study of a store",
        )
    table = _read(place, options).with_row_index(ROW)
    check_column(column, table.columns[1:], where="--group")
    found: dict[str, Analysis | BatchscopeError] = {}
    for (value,), part in table.partition_by(column, as_dict=True, maintain_order=True).items():
        name = str(value)
        try:
            found[name] = _analyze(part, f"{Path(place).name}, {column} {name}", options)
        except BatchscopeError as error:
            found[name] = error
    return found


def _analyze(table: pl.DataFrame, name: str, options: TableOptions) -> Analysis:
    runs = normalise_table(
        table,
        mapping=options.mapping,
        where=options.where,
        epoch_examples=options.examples_per_epoch,
        unit=options.unit,
        ignore=options.ignore,
    )
    wanted = options.target
    metrics = [c for c in runs.frame.columns if c not in (*RUN_COLUMNS, *_PLACES)]
    known = [c for c in metrics if runs.frame[c].is_not_nan().any()]
    if wanted is not None and wanted.metric not in known:
        raise InvalidInput(
            f"the table has no metric {wanted.metric!r}",
            where="--target",
            expected=f"one of {', '.join(known)}",
            do="name one of these",
        )
    return analyze_curves(
        read_curves(runs.frame),
        study=name,
        task=name.partition(".")[0],
        quality=runs.metric if wanted is None else wanted.metric,
        higher=runs.higher if wanted is None else wanted.direction == ">=",
        target=wanted,
        unit=runs.unit,
        margin=options.margin,
        epoch_examples=runs.epoch_examples,
        notes=runs.notes,
    )


def _read(place: str, options: TableOptions) -> pl.DataFrame:
    kind = None if place.lower().endswith(SUFFIXES) else find_kind(place)
    if kind is not None:
        return read_foreign(place, kind)
    table = _read_file(place)
    return table if options.runs is None else join_history(table, _read_file(options.runs))


def _read_file(place: str) -> pl.DataFrame:
    path = Path(place)
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pl.read_parquet(path)
        return _read_csv(path, "\t" if path.suffix.lower() == ".tsv" else ",")
    except FileNotFoundError as error:
        raise InvalidInput(
            f"there is no file {place}",
            where="STORE",
            expected="a table of runs, or a store",
            do="check the path",
        ) from error
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InvalidInput(
            f"cannot read {place}: {str(error).splitlines()[0]}",
            where="STORE",
            expected="a CSV, TSV or Parquet file in UTF-8, with a header",
            do="export the runs again; batchscope analyze --example writes one that works",
        ) from error


def _read_csv(path: Path, separator: str) -> pl.DataFrame:
    try:
        return pl.read_csv(path, separator=separator, infer_schema_length=10_000)
    except pl.exceptions.ComputeError:
        # A cell that does not fit its column: read as text, so that the cell can be named.
        return pl.read_csv(path, separator=separator, infer_schema=False)
