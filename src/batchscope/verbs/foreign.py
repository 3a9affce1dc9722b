"""Runs that other tools keep, as one table: a row per run and step."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy import exc as sa_errors

from batchscope.errors import InvalidInput
from batchscope.studies.connection import path_of
from batchscope.workers.extras import import_extra

_OPTUNA = {"studies", "trials", "trial_params"}
_MLFLOW = {"experiments", "runs", "metrics", "params"}
_EVENTS = "events.out.tfevents.*"
_WANDB_STEP = ("Step", "_step", "step")
# A folder's name often says what a run was trained with: bs64_lr0.1_seed3.
_IN_NAMES = {
    "batch_size": r"(?:batch_size|batch|bs)[=_-]?(\d+)",
    "learning_rate": r"(?:learning_rate|lr)[=_-]?([0-9.]+(?:e-?\d+)?)",
    "seed": r"seed[=_-]?(\d+)",
}


def find_kind(place: str) -> str | None:
    """What else a place is: "optuna", "mlflow" or "tensorboard"; None for none of these."""
    path = path_of(place)
    if path is not None and path.is_dir():
        return "tensorboard" if next(path.rglob(_EVENTS), None) is not None else None
    if path is None or not path.is_file():
        return None
    with path.open("rb") as file:
        if file.read(15) != b"SQLite format 3":
            return None
    engine = sa.create_engine(f"sqlite:///{path}")
    try:
        tables = set(sa.inspect(engine).get_table_names())
    except sa_errors.DatabaseError:
        return None
    finally:
        engine.dispose()
    return "optuna" if tables >= _OPTUNA else "mlflow" if tables >= _MLFLOW else None


def read_foreign(place: str, kind: str) -> pl.DataFrame:
    """The runs of a place of such a kind.

    Raises:
        InvalidInput: it holds no runs, or what reads it is not installed.
    """
    match kind:
        case "optuna":
            rows = _read_optuna(place)
        case "mlflow":
            rows = _read_mlflow(place)
        case _:
            rows = _read_tensorboard(place)
    if not rows:
        raise InvalidInput(
            f"{place} holds no runs with a metric",
            where="STORE",
            expected=f"finished runs of {kind}",
            do="name another place",
        )
    return pl.DataFrame(rows, infer_schema_length=None)


def join_history(history: pl.DataFrame, runs: pl.DataFrame) -> pl.DataFrame:
    """W&B's export of a chart, a column per run, beside its export of the runs.

    The chart has columns "NAME - METRIC" beside "Step"; the runs have "Name" and their settings.

    Raises:
        InvalidInput: either is no such export.
    """
    step = next((name for name in _WANDB_STEP if name in history.columns), None)
    if step is None or "Name" not in runs.columns:
        raise InvalidInput(
            "these are not W&B's exports of a chart and of its runs",
            where="--runs",
            expected='a chart with "Step" and columns "NAME - METRIC", and runs with "Name"',
            do="export both as CSV from the same project",
        )
    parts: list[pl.DataFrame] = []
    for column in history.columns:
        name, dash, metric = column.rpartition(" - ")
        if dash and not metric.endswith(("__MIN", "__MAX")):
            parts.append(
                history.select(
                    pl.lit(name).alias("Name"),
                    pl.col(step).cast(pl.Float64, strict=False).alias("step"),
                    pl.lit(metric).alias("_metric"),
                    pl.col(column).cast(pl.Float64, strict=False).alias("_value"),
                ).drop_nulls("_value")
            )
    if not parts:
        raise InvalidInput(
            'the chart has no column "NAME - METRIC"',
            where="STORE",
            expected="W&B's export of a chart",
            do="export the chart as CSV",
        )
    long = pl.concat(parts).pivot("_metric", index=["Name", "step"], values="_value")
    kept = [c for c in runs.columns if c not in long.columns or c == "Name"]
    return long.join(runs.select(kept), on="Name", how="left").rename({"Name": "run"})


def _read_optuna(place: str) -> list[dict[str, Any]]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = f"sqlite:///{path_of(place)}"
    rows: list[dict[str, Any]] = []
    for name in optuna.get_all_study_names(storage):
        study = optuna.load_study(study_name=name, storage=storage)
        metric = "metric_loss" if study.direction.name == "MINIMIZE" else "metric_score"
        for trial in study.trials:
            head = {"study": name, "run": str(trial.number), "status": trial.state.name.lower()}
            said = {**trial.params, **trial.user_attrs}
            points = dict(trial.intermediate_values)
            if trial.values is not None and not points:
                points = {0: trial.values[0]}
            rows += [
                {**head, **said, "step": step, metric: value} for step, value in points.items()
            ]
    return rows


def _read_mlflow(place: str) -> list[dict[str, Any]]:
    engine = sa.create_engine(f"sqlite:///{path_of(place)}")
    try:
        with engine.connect() as connection:
            settings: dict[str, dict[str, Any]] = {}
            for run, key, value in connection.execute(
                sa.text("SELECT run_uuid, key, value FROM params")
            ):
                settings.setdefault(run, {})[key] = value
            heads = {
                run: {"experiment": str(experiment), "run": run, "status": str(status).lower()}
                for run, experiment, status in connection.execute(
                    sa.text(
                        "SELECT run_uuid, experiment_id, status FROM runs "
                        "WHERE lifecycle_stage = 'active'"
                    )
                )
            }
            points: dict[tuple[str, int], dict[str, Any]] = {}
            for run, key, value, is_nan, step in connection.execute(
                sa.text("SELECT run_uuid, key, value, is_nan, step FROM metrics ORDER BY timestamp")
            ):
                points.setdefault((run, step), {})[key] = float("nan") if is_nan else value
    finally:
        engine.dispose()
    return [
        {**heads[run], **_as_numbers(settings.get(run, {})), "step": step, **values}
        for (run, step), values in sorted(points.items())
        if run in heads
    ]


def _read_tensorboard(place: str) -> list[dict[str, Any]]:
    module = "tensorboard.backend.event_processing.event_accumulator"
    events: Any = import_extra(module, extra="tensorboard", where="STORE")
    rows: list[dict[str, Any]] = []
    root = Path(place)
    for folder in sorted({file.parent for file in root.rglob(_EVENTS)}):
        accumulator = events.EventAccumulator(str(folder), size_guidance={"scalars": 0})
        accumulator.Reload()
        name = str(folder.relative_to(root))
        head = {"run": name, **_settings_of(accumulator), **_read_name(name)}
        points: dict[int, dict[str, Any]] = {}
        for tag in accumulator.Tags()["scalars"]:
            for event in accumulator.Scalars(tag):
                points.setdefault(event.step, {})[tag] = event.value
        rows += [{**head, "step": step, **values} for step, values in sorted(points.items())]
    return rows


def _settings_of(accumulator: Any) -> dict[str, Any]:
    """What `add_hparams` wrote of a run."""
    try:
        content = accumulator.PluginTagToContent("hparams")
    except KeyError:
        return {}
    plugin: Any = import_extra(
        "tensorboard.plugins.hparams.plugin_data_pb2", extra="tensorboard", where="STORE"
    )
    settings: dict[str, Any] = {}
    for data in content.values():
        for key, value in plugin.HParamsPluginData.FromString(
            data
        ).session_start_info.hparams.items():
            settings[key] = getattr(value, value.WhichOneof("kind"))
    return settings


def _read_name(name: str) -> dict[str, Any]:
    found = {role: re.search(pattern, name) for role, pattern in _IN_NAMES.items()}
    return {role: float(match[1]) for role, match in found.items() if match is not None}


def _as_numbers(settings: Mapping[str, Any]) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for key, value in settings.items():
        try:
            numbers[key] = float(value)
        except ValueError:
            numbers[key] = value
    return numbers
