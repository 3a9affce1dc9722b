"""Analyze runs that were measured elsewhere."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from batchscope.budget import Target, parse_target
from batchscope.errors import InvalidInput
from batchscope.findings.analysis import Analysis, analyze_curves
from batchscope.findings.curves import read_curves
from batchscope.findings.tables import normalise_table

SUFFIXES = (".csv", ".tsv", ".parquet", ".pq")


def is_table(place: str) -> bool:
    """Whether a place is a table of runs rather than a store."""
    return place.lower().endswith(SUFFIXES)


def analyze_table(
    place: str,
    *,
    target: Target | str | None = None,
    mapping: Mapping[str, str] | None = None,
    where: Mapping[str, str] | None = None,
    metric: str | None = None,
    margin: float | None = None,
    examples_per_epoch: float | None = None,
    unit: str = "examples",
) -> Analysis:
    """Draw findings from a table of runs: CSV, TSV or Parquet.

    One row per run, per (run, step), or per (run, level reached). Columns are recognised by name.

    Args:
        mapping: role ("batch_size", "step", "metric", ...) -> column, where a name does not say it.
        where: column -> value of the rows that are meant.
        metric: the column to judge by.
        margin: what counts as no difference in it.
        examples_per_epoch: turns epochs into examples and steps.
        unit: what one of the batch size is.

    Raises:
        InvalidInput: the file cannot be read as such a table, with the row and column.
        CannotTell: no run of it finished.
    """
    if examples_per_epoch is not None and not examples_per_epoch > 0:
        raise InvalidInput(
            f"{examples_per_epoch:g} examples in an epoch",
            where="--examples-per-epoch",
            expected="a number above 0",
            do="give the size of the training set",
        )
    if margin is not None and not margin > 0:
        raise InvalidInput(
            f"a margin of {margin:g}",
            where="--margin",
            expected="a number above 0, in the units of the metric",
            do="give the largest difference that you would not mind, such as 0.01",
        )
    runs = normalise_table(
        _read_file(place),
        mapping=mapping or {},
        where=where or {},
        metric=metric,
        epoch_examples=examples_per_epoch,
        unit=unit,
    )
    wanted = parse_target(target) if isinstance(target, str) else target
    if wanted is not None and wanted.metric not in runs.frame.columns:
        raise InvalidInput(
            f"the table has no metric {wanted.metric!r}",
            where="--target",
            expected=f"one of {', '.join(runs.frame.columns[8:])}",
            do="name one of these",
        )
    quality = runs.metric if wanted is None else wanted.metric
    higher = runs.higher if wanted is None else wanted.direction == ">="
    return analyze_curves(
        read_curves(runs.frame),
        study=Path(place).name,
        task=Path(place).stem,
        quality=quality,
        higher=higher,
        target=wanted,
        unit=runs.unit,
        margin=margin,
        epoch_examples=runs.epoch_examples,
        notes=runs.notes,
    )


def _read_file(place: str) -> pl.DataFrame:
    path = Path(place)
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pl.read_parquet(path)
        return pl.read_csv(
            path, separator=separator, infer_schema_length=10_000, ignore_errors=False
        )
    except pl.exceptions.ComputeError:
        # A cell that does not fit its column: read as text, so that the cell can be named.
        return pl.read_csv(path, separator=separator, infer_schema=False)
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
            expected="a CSV, TSV or Parquet file with a header",
            do="export the runs again; batchscope analyze --example writes one that works",
        ) from error
