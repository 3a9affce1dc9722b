"""Analyze runs that were measured elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from batchscope.budget import Target, parse_target
from batchscope.errors import BatchscopeError, InvalidInput, check_above_zero
from batchscope.findings.analysis import Analysis, analyze_curves
from batchscope.findings.curves import RUN_COLUMNS, read_curves
from batchscope.findings.growth import Growth, find_growth
from batchscope.findings.tables.cells import ROW
from batchscope.findings.tables.columns import check_column, find_named
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
        if self.examples_per_epoch is not None:
            check_above_zero(
                self.examples_per_epoch,
                f"{self.examples_per_epoch:g} examples in an epoch",
                where="--examples-per-epoch",
                expected="a number above 0",
                do="give the size of the training set",
            )
        check_margin(self.margin)


def check_margin(margin: float | None) -> None:
    """See that a margin is above 0, where there is one.

    Raises:
        InvalidInput: it is not.
    """
    if margin is not None:
        check_above_zero(
            margin,
            f"a margin of {margin:g}",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """The findings of each job of a table.

    Attributes:
        column: that tells the jobs apart.
        jobs: value of the column -> its findings, or why it has none.
        growth: how the critical batch sizes move with the column; None where it holds no numbers.
    """

    column: str
    jobs: Mapping[str, Analysis | BatchscopeError]
    growth: Growth | None

    def to_dict(self) -> dict[str, object]:
        """The groups as JSON."""
        return {
            "groups": {
                name: found.to_dict() if isinstance(found, Analysis) else {"error": str(found)}
                for name, found in self.jobs.items()
            },
            "growth": None if self.growth is None else self.growth.to_dict(),
        }


def analyze_groups(
    place: str,
    column: str,
    *,
    target: Target | str | None = None,
    mapping: Mapping[str, str] | None = None,
    where: Mapping[str, str] | None = None,
    examples_per_epoch: float | None = None,
    margin: float | None = None,
    unit: str = "examples",
    runs: str | None = None,
    ignore: Sequence[str] = (),
) -> Groups:
    """Draw findings from each job of a table of runs, told apart by a column.

    Args:
        place: a table, as for `analyze`; the other arguments are those of `analyze` too.
        column: of which each value is a job.

    Raises:
        InvalidInput: it is no table, or there is no such column.

    Example:
        >>> from batchscope.verbs.example_runs import write_example
        >>> from pathlib import Path
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = Path(folder, "runs.csv")
        ...     _ = table.write_text(write_example())
        ...     sorted(analyze_groups(str(table), "seed").jobs)
        ['0', '1', '2']
    """
    if not is_table(place):
        raise InvalidInput(
            f"{place} is no table of runs",
            where="--group",
            expected="a CSV, TSV or Parquet file, or another tool's store",
            do="leave --group out; --study chooses a study of a store",
        )
    options = TableOptions(
        target=parse_target(target) if isinstance(target, str) else target,
        mapping=mapping or {},
        where=where or {},
        margin=margin,
        examples_per_epoch=examples_per_epoch,
        unit=unit,
        runs=runs,
        ignore=tuple(ignore),
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
    critical = {
        name: job.critical
        for name, job in found.items()
        if isinstance(job, Analysis) and job.critical is not None
    }
    return Groups(column=column, jobs=found, growth=find_growth(column, critical))


def _analyze(table: pl.DataFrame, name: str, options: TableOptions) -> Analysis:
    runs = normalise_table(
        table,
        mapping=options.mapping,
        where=options.where,
        epoch_examples=options.examples_per_epoch,
        unit=options.unit,
        ignore=options.ignore,
    )
    metrics = [c for c in runs.frame.columns if c not in (*RUN_COLUMNS, *_PLACES)]
    known = [c for c in metrics if runs.frame[c].is_not_nan().any()]
    wanted = options.target
    if wanted is not None:
        wanted = replace(wanted, metric=find_named(wanted.metric, known))
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
