"""Somebody's table of runs as the table that findings read."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from batchscope.errors import InvalidInput
from batchscope.findings.columns import is_text, recognise_columns

# Where a row stood in the file, for messages.
ROW = "_row"
_LOWER = {"loss", "error", "err", "wer", "cer", "perplexity", "ppl", "bpb", "rmse", "mse", "mae"}
_HIGHER = {"acc", "accuracy", "auc", "auroc", "f", "bleu", "score", "precision", "recall", "iou"}
_TRAINING = {"train", "training"}
_MISSING = ["", "nan", "none", "null", "na", "n/a", "-"]
# What a table may have beside what is needed: unreadable, it is left out.
_OPTIONAL = ("seconds", "noise_scale", "ghost_batch")
_LARGEST_BATCH = 1e12
_FEW_JOBS = 10
_MOST_LEVELS = 60
# Times since 1970 are no durations.
_LONGEST_SECONDS = 1e8
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
        has_steps: whether optimizer steps are known.
        notes: sentences on what was taken for what.
    """

    frame: pl.DataFrame
    metric: str
    higher: bool
    unit: str
    epoch_examples: float | None
    has_steps: bool
    notes: tuple[str, ...]


def normalise_table(
    table: pl.DataFrame,
    *,
    mapping: Mapping[str, str],
    where: Mapping[str, str],
    metric: str | None = None,
    higher: bool | None = None,
    epoch_examples: float | None = None,
    unit: str = "examples",
    ignore: Sequence[str] = (),
) -> ForeignRuns:
    """Find what each column is, and bring runs into the form that findings read.

    One row per run, per (run, step) or per (run, level reached) all are rows of a run at a place: a
    level that was never reached has no place, and is left to be censored.

    Args:
        mapping: role -> column, where a name does not say it.
        where: column -> the value of the rows that are meant.
        metric: the column to judge by; None for the one that is left.
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
    table = _keep_where(table, where).drop(ignore, strict=False)
    columns = [name for name in table.columns if name != ROW]
    given = {**mapping, **({} if metric is None else {"metric": metric})}
    roles = recognise_columns(columns, given)
    notes = [f"{column} is read as {role}" for role, column in roles.items() if role != column]
    judged = roles.get("metric") or _find_metric(table, columns, roles)
    others = [c for c in columns if c not in roles.values() and c != judged]
    roles = _without_unreadable(table, roles, notes)
    numbers = [column for role, column in roles.items() if not is_text(role)]
    table = _as_numbers(table, {*numbers, judged})
    table = _drop_impossible(table, roles, notes)
    table = _name_runs(table, roles, others, notes)
    is_higher = _is_higher(table, judged, roles) if higher is None else higher
    frame, steps_known, found_unit = _place(table, roles, epoch_examples, unit, notes)
    if epoch_examples is None and found_unit != "epochs" and "epoch" in roles:
        epoch_examples = _examples_in_epoch(frame["examples"], table[roles["epoch"]])
    frame = _with_losses(frame, table, roles, judged)
    extra = [c for c in others if table[c].dtype.is_numeric() and c not in frame.columns]
    frame = frame.with_columns(table[c].cast(pl.Float64).alias(c) for c in extra)
    for role in ("noise_scale", "ghost_batch"):
        if role in roles:
            frame = frame.with_columns(table[roles[role]].cast(pl.Float64).alias(role))
    name = _metric_name(judged, roles)
    notes.append(f"{judged} is judged: {'higher' if is_higher else 'lower'} is better")
    frame = _keep_placed(_with_status(frame, table, roles, name), name)
    if _holds_levels(frame, name):
        frame = _with_beginnings(frame, name, higher=is_higher)
        notes.append(f"{name} holds levels, each with where it was passed")
    return ForeignRuns(
        frame=frame,
        metric=name,
        higher=is_higher,
        unit=found_unit,
        epoch_examples=epoch_examples if found_unit != "epochs" else 1.0,
        has_steps=steps_known,
        notes=tuple(notes),
    )


def _keep_where(table: pl.DataFrame, where: Mapping[str, str]) -> pl.DataFrame:
    for column, value in where.items():
        if column not in table.columns:
            raise InvalidInput(
                f"the table has no column {column!r}",
                where="--where",
                expected=f"one of {', '.join(table.columns[1:])}",
                do="name one of these",
            )
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


def _find_metric(table: pl.DataFrame, columns: Sequence[str], roles: Mapping[str, str]) -> str:
    """The column to judge by: on validation data before training data, a metric before a loss."""
    free = [c for c in columns if c not in roles.values()]
    named = [c for c in free if set(_words(c)) & (_HIGHER | _LOWER | {"metric"})]
    on_training = [c for c in named if set(_words(c)) & _TRAINING]
    on_test = [c for c in named if "test" in _words(c)]
    ordered = [
        *(c for c in named if c not in (*on_training, *on_test)),
        *(roles[r] for r in ("val_loss",) if r in roles),
        *on_training,
        *(roles[r] for r in ("train_loss",) if r in roles),
        *on_test,
    ]
    if ordered:
        return ordered[0]
    numeric = [c for c in free if table[c].dtype.is_numeric()]
    if len(numeric) == 1:
        return numeric[0]
    raise InvalidInput(
        "no column of the table is known to be a metric",
        where="table",
        expected="a column such as val_loss, error or accuracy",
        do=f"say which: --map metric=COLUMN (it has {', '.join(columns)})",
    )


def _words(name: str) -> list[str]:
    """The words of a column's name: val/Acc_top1 has val, acc, top and 1."""
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)
    return [part.lower() for part in parts]


def _without_unreadable(
    table: pl.DataFrame, roles: Mapping[str, str], notes: list[str]
) -> dict[str, str]:
    """The roles less those that nobody needs and that hold no numbers."""
    kept = dict(roles)
    for role in _OPTIONAL:
        if role in kept and not table[kept[role]].dtype.is_numeric():
            notes.append(f"{kept[role]} holds no numbers and is not read as {role}")
            del kept[role]
    return kept


def _as_numbers(table: pl.DataFrame, columns: "set[str]") -> pl.DataFrame:
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


def _drop_impossible(
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


def _name_runs(
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
    return table.with_columns(pl.col(rate).alias("_rate")), False


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


def _is_higher(table: pl.DataFrame, judged: str, roles: Mapping[str, str]) -> bool:
    """By its name; else by where it goes in most runs."""
    words = set(_words(judged))
    if words & _HIGHER:
        return True
    if words & _LOWER:
        return False
    place = next(roles[r] for r in ("step", "examples", "epoch") if r in roles)
    ends = (
        table.filter(pl.col(place).is_not_null() & pl.col(place).is_not_nan())
        .sort(place, maintain_order=True)
        .group_by("_run", maintain_order=True)
        .agg((pl.col(judged).last() - pl.col(judged).first()).alias("gain"))
    )
    rises = (ends["gain"].fill_null(0).fill_nan(0) > 0).sum()
    return rises > len(ends) / 2


def _place(
    table: pl.DataFrame,
    roles: Mapping[str, str],
    epoch_examples: float | None,
    unit: str,
    notes: list[str],
) -> tuple[pl.DataFrame, bool, str]:
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
    return frame, step is not None, found_unit


def _holds_levels(frame: pl.DataFrame, metric: str) -> bool:
    """Whether rows are levels that were passed, the same ones in several runs."""
    distinct = frame[metric].drop_nans().n_unique()
    begins = frame.group_by("run").agg(pl.col("examples").min().alias("first"))["first"]
    several = frame["run"].n_unique() > 1
    shared = distinct <= _MOST_LEVELS and distinct <= len(frame) / 2
    return several and shared and bool((begins > 0).mean() or 0 > 0)


def _with_beginnings(frame: pl.DataFrame, metric: str, *, higher: bool) -> pl.DataFrame:
    """A row at the beginning of each run, before every level."""
    first = frame.unique("run", keep="first").with_columns(
        pl.lit(0.0).alias("examples"),
        pl.lit(0.0).alias("step"),
        pl.lit(-math.inf if higher else math.inf).alias(metric),
    )
    return (
        pl.concat([first, frame]).unique(["run", "examples"], keep="last").sort("run", "examples")
    )


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


def _examples_in_epoch(examples: pl.Series, epochs: pl.Series) -> float | None:
    """Where a table has both, what one epoch holds; None where its rows do not agree."""
    each = (examples / epochs).filter((epochs > 0) & examples.is_not_null()).drop_nans()
    middle = each.median() if len(each) else None
    if not isinstance(middle, float) or not middle > 0:
        return None
    agree = ((each / middle - 1).abs() < 0.05).mean()
    return middle if isinstance(agree, float) and agree > 0.9 else None


def _with_losses(
    frame: pl.DataFrame, table: pl.DataFrame, roles: Mapping[str, str], judged: str
) -> pl.DataFrame:
    columns = {role: roles.get(role) for role in ("train_loss", "val_loss")}
    frame = frame.with_columns(
        (pl.lit(math.nan) if column is None else table[column].cast(pl.Float64)).alias(role)
        for role, column in columns.items()
    )
    name = _metric_name(judged, roles)
    if name not in frame.columns:
        frame = frame.with_columns(table[judged].alias(name))
    return frame


def _metric_name(judged: str, roles: Mapping[str, str]) -> str:
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


def _keep_placed(frame: pl.DataFrame, metric: str) -> pl.DataFrame:
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
