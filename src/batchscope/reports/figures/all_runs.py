"""Parallel coordinates of every run."""

import math

import plotly.graph_objects as go
import polars as pl

from batchscope.findings.analysis import Analysis
from batchscope.findings.curves import Curve
from batchscope.reports.figures.quality import quality_column
from batchscope.reports.figures.style import label, make_figure
from batchscope.reports.sampling import RUNS, sample

_MOST_TICKS = 12
# To be told apart on a light page and on a dark one.
_COLOURS = [[0, "#0072B2"], [0.5, "#8C8C8C"], [1, "#E69F00"]]


def tabulate_runs_seen(analysis: Analysis) -> pl.DataFrame:
    """A row per run: batch_size, learning_rate, seed, seconds, quality; diverged runs have none."""
    column = quality_column(analysis)
    return pl.DataFrame(
        [
            {
                "batch_size": curve.batch_size,
                "learning_rate": curve.learning_rate,
                "seed": curve.seed,
                "seconds": _last(curve, "seconds"),
                "quality": _last(curve, column) if curve.finished else math.nan,
            }
            for curve in sample(analysis.curves, RUNS)
        ]
    )


def _last(curve: Curve, column: str) -> float:
    values = curve.columns[column]
    return float(values[-1]) if len(values) else math.nan


def draw_all_runs(frame: pl.DataFrame, *, metric: str) -> go.Figure:
    """Draw one line per run; parallel coordinates have no log axis, so logs are drawn."""
    shown = frame.with_columns(
        pl.col("quality").fill_nan(pl.col("quality").drop_nans().max()),
        pl.col("seconds").log10().alias("log_seconds"),
        pl.col("batch_size").log(2).alias("log_size"),
        pl.col("learning_rate").log10().alias("log_rate"),
    )
    figure = make_figure(x="", y="", height=440)
    sizes = frame["batch_size"].unique().sort().to_list()
    figure.add_parcoords(
        line={
            "color": shown["quality"].to_list(),
            "colorscale": _COLOURS,
            "showscale": True,
            "colorbar": {"title": label(metric.replace("_", " ")), "thickness": 12},
        },
        dimensions=[
            _dimension("batch size", shown["log_size"], {math.log2(b): str(b) for b in sizes}),
            *_measured("learning rate", shown["log_rate"]),
            _dimension("seed", shown["seed"], _seed_ticks(shown["seed"])),
            *_measured("seconds", shown["log_seconds"]),
            {
                "label": label(metric.replace("_", " ")),
                "values": shown["quality"].to_list(),
                "tickformat": ".3g",
            },
        ],
    )
    figure.update_layout(margin={"l": 60, "r": 60, "t": 60, "b": 30})
    return figure


def _dimension(name: str, values: pl.Series, ticks: dict[float, str]) -> dict[str, object]:
    return {
        "label": name,
        "values": values.to_list(),
        "tickvals": list(ticks),
        "ticktext": list(ticks.values()),
    }


def _measured(name: str, logs: pl.Series) -> list[dict[str, object]]:
    """An axis of logs, left out where a table of runs has no such column."""
    known = [value for value in logs if value is not None and math.isfinite(value)]
    if not known:
        return []
    least = min(known)
    filled = pl.Series([least if not math.isfinite(value) else value for value in logs])
    return [_dimension(name, filled, _decades(filled))]


def _seed_ticks(seeds: pl.Series) -> dict[float, str]:
    distinct = seeds.unique().sort().to_list()
    every = max(1, len(distinct) // _MOST_TICKS)
    return {float(seed): str(seed) for seed in distinct[::every]}


def _decades(logs: pl.Series) -> dict[float, str]:
    """Both ends, and the powers of ten between them that are not next to one."""
    low, high = float(min(logs)), float(max(logs))
    near = (high - low) / _MOST_TICKS
    inside = range(math.ceil(low + near), math.floor(high - near) + 1)
    return {float(at): f"{10.0**at:.3g}" for at in (low, *inside, high)}
