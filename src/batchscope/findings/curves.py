"""The runs table: one row per run and evaluation, and the curves in it."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from batchscope.budget import Budget, Target
from batchscope.errors import InvalidInput
from batchscope.records import HyperParameters, Run

RUN_COLUMNS = ("run", "batch_size", "learning_rate", "constants", "seed", "status")
_NEEDED = ("batch_size", "learning_rate", "seed", "step", "examples")

Values = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """One run's evaluations.

    Attributes:
        status: "finished", "stopped" (before its budget was spent), "diverged" or "out_of_memory".
        constants: others that were tuned, in words; empty for none.
        step_seconds: of the runs of its batch size, the median; NaN where none was timed.
        columns: each of shape (evaluations,): `step`, `examples`, `seconds` (NaN where unknown),
            losses and metrics.
    """

    run: str
    batch_size: int
    learning_rate: float
    seed: int
    status: str
    columns: Mapping[str, Values]
    constants: str = ""
    step_seconds: float = math.nan

    @property
    def setting(self) -> tuple[float, str]:
        """What is tuned at a batch size; a rate that nobody knows is one setting."""
        known = math.isfinite(self.learning_rate)
        return self.learning_rate if known else -1.0, self.constants

    @property
    def finished(self) -> bool:
        """Whether the run spent its budget."""
        return self.status == "finished"


def tabulate_runs(
    runs: Iterable[Run],
    step_seconds: Mapping[int, float],
    *,
    budget: Budget | None = None,
    target: Target | None = None,
    tuned: Sequence[str] = (),
) -> pl.DataFrame:
    """Runs as a table that `read_curves` reads.

    Args:
        budget: that runs spend to their end; those with a smaller one were stopped. None to take
            each by its own.
        target: at which a run is at its end as well; None where only the budget ends it. One of
            several seeds of a setting that was given up before it is not left out: it missed it.
        tuned: names of the constants that were tuned beside the rate.
        step_seconds: batch size -> seconds per step of a run that has the machine to itself. The
            column `seconds` is steps times that, empty where it was not measured: the time that a
            run took beside others says nothing.
    """
    runs = list(runs)
    seeds = Counter(map(_setting_of, runs))
    frames = [
        _tabulate_run(
            run,
            step_seconds.get(run.configuration.batch_size),
            was_stopped=_was_stopped(run, budget, target, is_repeat=seeds[_setting_of(run)] > 1),
            tuned=tuned,
        )
        for run in runs
    ]
    return pl.concat(frames, how="diagonal") if frames else pl.DataFrame()


def read_curves(frame: pl.DataFrame) -> list[Curve]:
    """The runs of a table, in the order of batch size, rate and seed.

    Raises:
        InvalidInput: a column is missing.
    """
    if frame.is_empty():
        return []
    missing = [name for name in _NEEDED if name not in frame.columns]
    # Runs that ended before their first evaluation have nothing but their status.
    if missing and ("status" not in frame.columns or "finished" in frame["status"]):
        raise InvalidInput(
            f"the table of runs has no column {missing[0]!r}",
            where="runs table",
            expected=f"the columns {', '.join(_NEEDED)}",
            do="export one with: batchscope runs STORE --csv",
        )
    return sorted(_read_all(frame), key=lambda c: (c.batch_size, *c.setting, c.seed, c.run))


def test_column(metric: str) -> str:
    """The column that a metric has on test data."""
    return f"test_{metric.removeprefix('val_').removeprefix('train_')}"


def write_constants(constants: HyperParameters, names: Sequence[str]) -> str:
    """Tuned constants in a few words.

    Example:
        >>> write_constants({"lr": 0.1, "momentum": 0.95}, ["momentum"])
        'momentum 0.95'
    """
    return ", ".join(f"{name} {float(constants[name]):.6g}" for name in names)


def _tabulate_run(
    run: Run, step_seconds: float | None, *, was_stopped: bool, tuned: Sequence[str]
) -> pl.DataFrame:
    configuration, columns = run.configuration, dict(run.trajectory.columns)
    own = {name: columns.pop(name, (0.0,)) for name in ("step", "examples")}
    columns.pop("seconds", None)
    columns.pop("learning_rate", None)
    rows = len(own["step"])
    head = {
        "run": run.key,
        "batch_size": configuration.batch_size,
        "learning_rate": configuration.learning_rate,
        "constants": write_constants(configuration.hyper_parameters, tuned),
        "seed": configuration.seed,
        "status": "stopped" if was_stopped else run.status,
    }
    per_step = math.nan if step_seconds is None else step_seconds
    seconds = [step * per_step for step in own["step"]]
    body = {name: list(values) for name, values in {**own, "seconds": seconds, **columns}.items()}
    return pl.DataFrame({name: [value] * rows for name, value in head.items()} | body)


def _was_stopped(
    run: Run, budget: Budget | None, target: Target | None, *, is_repeat: bool
) -> bool:
    if run.status != "finished" or budget is None:
        return False
    if budget == replace(run.configuration.budget, until=budget.until):
        return False
    if target is None:
        return True
    return not (is_repeat or target.is_met(run.trajectory.columns[target.metric]))


def _setting_of(run: Run) -> tuple[int, float]:
    return run.configuration.batch_size, run.configuration.learning_rate


def keep_longest(runs: Iterable[Run], target: Target | None) -> list[Run]:
    """Of the runs of one setting and seed one that got to the target, else the longest.

    A shorter run is the beginning of a longer one, but for the evaluation at its own end.
    """

    def place_of(run: Run) -> tuple[bool, int]:
        values = run.trajectory.columns.get(target.metric, ()) if target is not None else ()
        return target is not None and target.is_met(values), run.steps

    longest: dict[tuple[int, float, int], Run] = {}
    for run in sorted(runs, key=place_of):
        configuration = run.configuration
        place = (configuration.batch_size, configuration.learning_rate, configuration.seed)
        longest[place] = run
    return list(longest.values())


def _read_all(frame: pl.DataFrame) -> list[Curve]:
    """Every run of a table: slices of its columns, which are copied once."""
    frame = frame.with_columns(pl.col("run").cast(pl.String)).sort("run", maintain_order=True)
    names = [name for name in frame.columns if name not in RUN_COLUMNS]
    values = {
        name: frame[name].cast(pl.Float64).fill_null(math.nan).to_numpy().copy() for name in names
    }
    nothing = np.full(len(frame), math.nan)
    for name in ("train_loss", "val_loss", "step", "seconds"):
        values.setdefault(name, nothing)
    counts = frame["run"].rle().struct.field("len").to_numpy().astype(np.int64)
    ends = np.cumsum(counts)
    starts = ends - counts
    heads = frame.select(c for c in RUN_COLUMNS if c in frame.columns)[starts]
    step_seconds = _time_steps(heads["batch_size"], values, ends)
    return [
        Curve(
            run=str(head["run"]),
            batch_size=int(head["batch_size"]),
            learning_rate=float(head["learning_rate"]),
            constants=str(head.get("constants") or ""),
            seed=int(head["seed"]),
            status=str(head.get("status") or "finished"),
            step_seconds=step_seconds.get(int(head["batch_size"]), math.nan),
            columns={name: column[start:end] for name, column in values.items()},
        )
        for head, start, end in zip(heads.iter_rows(named=True), starts, ends, strict=True)
    ]


def _time_steps(
    batch_sizes: pl.Series, values: Mapping[str, Values], ends: np.ndarray
) -> dict[int, float]:
    """Batch size -> median seconds per step of the runs that took a step and were timed."""
    last = {name: values[name][ends - 1] for name in ("step", "seconds")}
    steps, seconds = pl.col("step"), pl.col("seconds")
    timed = pl.DataFrame({"batch_size": batch_sizes.cast(pl.Int64), **last}).filter(
        steps > 0, steps.is_finite(), seconds.is_finite()
    )
    each = timed.group_by("batch_size").agg((seconds / steps).median())
    return dict(each.iter_rows())
