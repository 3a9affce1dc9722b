"""Which rows of a table are one run, and which runs are one job."""

import math
from collections.abc import Mapping, Sequence

import polars as pl

from batchscope.errors import InvalidInput

_FEW_JOBS = 10


def name_runs(
    table: pl.DataFrame, roles: Mapping[str, str], others: Sequence[str], notes: list[str]
) -> pl.DataFrame:
    """A run's name: what the table calls it, told apart by what it was trained with."""
    table, is_scheduled = _with_rate(table, roles, notes)
    identity = ("run", "batch_size", *(() if is_scheduled else ("learning_rate",)), "seed")
    parts = [roles[r] for r in identity if r in roles]
    whole = {roles[r] for r in ("batch_size", "seed") if r in roles}
    name = pl.concat_str(
        [
            (pl.col(c).cast(pl.Int64, strict=False) if c in whole else pl.col(c))
            .cast(pl.String)
            .fill_null("")
            for c in parts
        ],
        separator="/",
    )
    seed = pl.lit(0.0)
    if "seed" in roles:
        seed = pl.col(roles["seed"])
    elif "run" in roles:
        # A repetition's number within its batch size, or a name of its own.
        number = table[roles["run"]].cast(pl.Float64, strict=False)
        each = table.select(roles["run"], roles["batch_size"]).unique()
        repeats = len(each) > each[roles["run"]].n_unique()
        if repeats and not number.is_null().any():
            notes.append(
                f"{roles['run']} repeats at several batch sizes and is read as the seed too"
            )
            seed = number
        else:
            setting = [roles["batch_size"], "_rate"]
            seed = (pl.col(roles["run"]).rank("dense").over(setting) - 1).cast(pl.Float64)
    named = table.with_columns(name.alias("_run"), seed.alias("_seed"))
    _refuse_several_jobs(named, roles, others)
    return named


def _with_rate(
    table: pl.DataFrame, roles: Mapping[str, str], notes: list[str]
) -> tuple[pl.DataFrame, bool]:
    """The rate of each run; one that moves during a run counts by its highest."""
    if "learning_rate" not in roles:
        return table.with_columns(pl.lit(math.nan).alias("_rate")), False
    rate = roles["learning_rate"]
    if "run" in roles:
        run = roles["run"]
        each = table.group_by(run).agg(
            pl.col(roles["batch_size"]).n_unique().alias("sizes"),
            pl.col(rate).drop_nulls().n_unique().alias("rates"),
        )
        if bool((each["sizes"] == 1).all()) and bool((each["rates"] > 1).any()):
            notes.append(f"{rate} moves during a run: its highest value counts")
            return table.with_columns(pl.col(rate).max().over(run).alias("_rate")), True
    elif _may_be_scheduled(table, roles):
        notes.append(
            f"rows of one batch size all differ in {rate}, and each is read as a run; where {rate} "
            f"moves during a run, name the runs (--map run=COLUMN) or say --ignore {rate}"
        )
    return table.with_columns(pl.col(rate).alias("_rate")), False


def _may_be_scheduled(table: pl.DataFrame, roles: Mapping[str, str]) -> bool:
    """Whether rows of a batch size and seed may be one run: all at other places, at other rates.

    A sweep that was written down by what each rate needed to a target looks the same.
    """
    setting = [roles[r] for r in ("batch_size", "seed") if r in roles]
    place = next(roles[r] for r in ("step", "examples", "epoch") if r in roles)
    each = table.group_by(setting).agg(
        pl.len().alias("rows"),
        pl.col(place).n_unique().alias("places"),
        pl.col(roles["learning_rate"]).n_unique().alias("rates"),
    )
    alone = (each["rows"] > 2) & (each["places"] == each["rows"])
    return bool((alone & (each["rates"] > each["rows"] / 2)).all())


def _refuse_several_jobs(
    table: pl.DataFrame, roles: Mapping[str, str], others: Sequence[str]
) -> None:
    """A column that tells runs of one setting and seed apart, or goes with the batch size."""
    place = next(roles[r] for r in ("step", "examples", "epoch") if r in roles)
    metric = roles.get("metric")
    setting = [roles["batch_size"], "_rate", "_seed"]
    runs = table["_run"].n_unique()
    names = [roles["run"]] if "run" in roles and table[roles["run"]].dtype == pl.String else []
    for column in [c for c in (*others, *names) if c != metric]:
        values = table[column].cast(pl.String)
        distinct = values.drop_nulls().n_unique()
        if not 2 <= distinct <= max(_FEW_JOBS, runs // 10):
            continue
        by_run = table.group_by("_run").agg(pl.col(column).drop_nulls().n_unique().alias("n"))
        by_place = table.group_by([*setting, place]).agg(
            pl.len().alias("rows"), pl.col(column).drop_nulls().n_unique().alias("n")
        )
        repeated = by_place.filter(pl.col("rows") > 1)
        tells_apart = len(repeated) > 0 and bool((repeated["n"] == repeated["rows"]).all())
        by_size = table.group_by(roles["batch_size"]).agg(pl.col(column).n_unique().alias("n"))
        goes_with_size = table[column].dtype == pl.String and bool((by_size["n"] == 1).all())
        is_setting = bool((by_run["n"] <= 1).all()) or "run" not in roles
        if (tells_apart or (goes_with_size and column not in names)) and is_setting:
            some = values.unique().drop_nulls().sort().head(5)
            raise InvalidInput(
                f"the table holds several jobs: {column} is {', '.join(some)}",
                where="table",
                expected="one job, since different ones are never pooled",
                do=f"choose one: --where {column}={some[0]}, or see each: --group {column}; "
                f"--ignore {column} where it does not matter",
            )
