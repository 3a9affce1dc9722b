"""Where each row of a table stands in its run."""

import math
from collections.abc import Mapping

import polars as pl

_MOST_LEVELS = 60
# Times since 1970 are no durations.
_LONGEST_SECONDS = 1e8


def place_rows(
    table: pl.DataFrame,
    roles: Mapping[str, str],
    epoch_examples: float | None,
    unit: str,
    notes: list[str],
) -> tuple[pl.DataFrame, str]:
    """Where each row stands: steps, examples and seconds, as far as they follow."""
    size = table[roles["batch_size"]]
    nothing = pl.Series("nothing", [math.nan] * len(table), dtype=pl.Float64)
    step = table[roles["step"]] if "step" in roles else None
    examples = table[roles["examples"]] if "examples" in roles else None
    found_unit = unit
    if examples is None and step is not None:
        examples = step * size
    if examples is None:
        epochs = table[roles["epoch"]]
        if epoch_examples is not None:
            examples = epochs * epoch_examples
        else:
            examples, found_unit = epochs, "epochs"
            notes.append("epochs stand for examples: --examples-per-epoch N tells steps as well")
    if step is None and found_unit != "epochs":
        step = examples / size
    seconds = _read_seconds(table, roles, notes) if "seconds" in roles else nothing
    rate = table["_rate"].fill_null(math.nan).replace([math.inf, -math.inf], math.nan)
    frame = pl.DataFrame(
        {
            "run": table["_run"],
            "batch_size": size.round().cast(pl.Int64),
            "learning_rate": rate,
            "constants": pl.Series([""] * len(table)),
            "seed": table["_seed"].fill_null(0).fill_nan(0).clip(-(2**53), 2**53).cast(pl.Int64),
            "step": nothing if step is None else step,
            "examples": examples,
            "seconds": seconds,
        }
    )
    return frame, found_unit


def _read_seconds(table: pl.DataFrame, roles: Mapping[str, str], notes: list[str]) -> pl.Series:
    """Seconds since a run began, where the column can be that."""
    column = roles["seconds"]
    each = table.group_by("_run").agg(pl.col(column).n_unique().alias("n"), pl.len().alias("rows"))
    is_total = bool(((each["n"] == 1) & (each["rows"] > 1)).any())
    largest = table[column].max()
    if is_total or (isinstance(largest, float) and largest > _LONGEST_SECONDS):
        notes.append(f"{column} does not grow with a run and is not read as its seconds")
        return pl.Series("seconds", [math.nan] * len(table), dtype=pl.Float64)
    return table[column]


def examples_in_epoch(examples: pl.Series, epochs: pl.Series) -> float | None:
    """Where a table has both, what one epoch holds; None where its rows do not agree."""
    each = (examples / epochs).filter((epochs > 0) & examples.is_not_null()).drop_nans()
    middle = each.median() if len(each) else None
    if not isinstance(middle, float) or not middle > 0:
        return None
    agree = ((each / middle - 1).abs() < 0.05).mean()
    return middle if isinstance(agree, float) and agree > 0.9 else None


def holds_levels(frame: pl.DataFrame, metric: str) -> bool:
    """Whether rows are levels that were passed, the same ones in several runs."""
    distinct = frame[metric].drop_nans().n_unique()
    begins = frame.group_by("run").agg(pl.col("examples").min().alias("first"))["first"]
    several = frame["run"].n_unique() > 1
    shared = distinct <= _MOST_LEVELS and distinct <= len(frame) / 2
    return several and shared and bool((begins > 0).any())


def with_beginnings(frame: pl.DataFrame, metric: str, *, higher: bool) -> pl.DataFrame:
    """A row at the beginning of each run, before every level."""
    first = frame.unique("run", keep="first").with_columns(
        pl.lit(0.0).alias("examples"),
        pl.lit(0.0).alias("step"),
        pl.lit(-math.inf if higher else math.inf).alias(metric),
    )
    return (
        pl.concat([first, frame]).unique(["run", "examples"], keep="last").sort("run", "examples")
    )


def keep_placed(frame: pl.DataFrame, metric: str) -> pl.DataFrame:
    """Rows with a place and a value; of a run that has none, one that says so."""
    placed = frame.filter(
        pl.col("examples").is_not_nan()
        & pl.col("examples").is_not_null()
        & pl.col(metric).is_not_null()
    )
    rest = frame.filter(~pl.col("run").is_in(placed["run"].implode())).unique("run", keep="first")
    rest = rest.with_columns(
        pl.lit(0.0).alias("examples"), pl.lit(0.0).alias("step"), pl.lit(math.nan).alias(metric)
    )
    whole = pl.concat([placed, rest]).unique(["run", "examples"], keep="last", maintain_order=True)
    return whole.sort("run", "examples")
