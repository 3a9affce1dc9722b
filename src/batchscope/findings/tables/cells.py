"""The rows and cells of a table that can be read."""

from collections.abc import Mapping

import polars as pl

from batchscope.errors import InvalidInput
from batchscope.findings.tables.columns import check_column

# Where a row stood in the file, for messages.
ROW = "_row"
_MISSING = ["", "nan", "none", "null", "na", "n/a", "-"]
# What a table may have beside what is needed: unreadable, it is left out.
_OPTIONAL = ("seconds", "noise_scale", "ghost_batch")
_LARGEST_BATCH = 1e12


def keep_where(table: pl.DataFrame, where: Mapping[str, str]) -> pl.DataFrame:
    """The rows that are meant.

    Args:
        where: column -> value, as text.

    Raises:
        InvalidInput: there is no such column, or no such value in it.
    """
    for column, value in where.items():
        check_column(column, table.columns[1:], where="--where")
        kept = table.filter(pl.col(column).cast(pl.String) == value)
        if kept.is_empty():
            values = table[column].cast(pl.String).unique().drop_nulls().sort().head(8)
            raise InvalidInput(
                f"no row has {column} = {value}",
                where="--where",
                expected=f"one of {', '.join(values)}",
                do="name one of these",
            )
        table = kept
    return table


def without_unreadable(
    table: pl.DataFrame, roles: Mapping[str, str], notes: list[str]
) -> dict[str, str]:
    """The roles less those that nobody needs and that hold no numbers."""
    kept = dict(roles)
    for role in _OPTIONAL:
        if role in kept and not table[kept[role]].dtype.is_numeric():
            notes.append(f"{kept[role]} holds no numbers and is not read as {role}")
            del kept[role]
    return kept


def as_numbers(table: pl.DataFrame, columns: "set[str]") -> pl.DataFrame:
    """These columns as numbers; an empty cell, n/a and the like are missing.

    Raises:
        InvalidInput: a cell is no number, named by its row and column.
    """
    for column in sorted(columns):
        if table[column].dtype.is_numeric():
            continue
        text = table[column].cast(pl.String).str.strip_chars()
        numbers = text.str.strip_suffix("%").cast(pl.Float64, strict=False)
        missing = text.is_null() | text.str.to_lowercase().is_in(_MISSING)
        wrong = (numbers.is_null() & ~missing).arg_max()
        if wrong is not None and bool((numbers.is_null() & ~missing).any()):
            raise InvalidInput(
                f"row {int(table[ROW][wrong]) + 2}, column {column!r}: {text[wrong]!r} is no "
                "number",
                where="table",
                expected="a number, or an empty cell",
                do="mend the cell, or map another column",
            )
        table = table.with_columns(numbers.alias(column))
    return table.with_columns(pl.col(sorted(columns)).cast(pl.Float64))


def drop_impossible(
    table: pl.DataFrame, roles: Mapping[str, str], notes: list[str]
) -> pl.DataFrame:
    """Rows without a batch size, or with a negative place, are left out and said."""
    size = pl.col(roles["batch_size"])
    good = size.is_not_null() & size.is_finite() & size.is_between(1, _LARGEST_BATCH)
    for role in ("step", "examples", "epoch", "seconds"):
        if role in roles:
            place = pl.col(roles[role])
            good = good & (place.is_null() | place.is_nan() | ((place >= 0) & place.is_finite()))
    kept = table.filter(good)
    if len(kept) < len(table):
        lost = len(table) - len(kept)
        notes.append(
            f"{lost} row{'s' if lost > 1 else ''} without a possible batch size or place "
            f"{'were' if lost > 1 else 'was'} left out"
        )
    if kept.is_empty():
        raise InvalidInput(
            "no row has a possible batch size and place",
            where="table",
            expected="batch sizes of at least 1, and steps, examples or epochs of at least 0",
            do="look at these columns, or map others",
        )
    return kept
