"""Parallel coordinates of every run."""

import math

import plotly.graph_objects as go
import polars as pl

from batchscope.findings.analysis import Analysis
from batchscope.reports.figures.quality import quality_column
from batchscope.reports.figures.style import label, make_figure


def tabulate_runs_seen(analysis: Analysis) -> pl.DataFrame:
    """A row per run: batch_size, learning_rate, seed, seconds, quality; diverged runs have none."""
    column = quality_column(analysis)
    return pl.DataFrame(
        [
            {
                "batch_size": curve.batch_size,
                "learning_rate": curve.learning_rate,
                "seed": curve.seed,
                "seconds": float(curve.columns["seconds"][-1]),
                "quality": float(curve.columns[column][-1]) if curve.finished else math.nan,
            }
            for curve in analysis.curves
        ]
    )


def draw_all_runs(frame: pl.DataFrame, *, metric: str) -> go.Figure:
    """Draw one line per run; parallel coordinates have no log axis, so logs are drawn."""
    shown = frame.with_columns(
        pl.col("quality").fill_nan(pl.col("quality").drop_nans().max()),
        pl.col("seconds").fill_nan(1.0).log10().alias("log_seconds"),
        pl.col("batch_size").log(2).alias("log_size"),
        pl.col("learning_rate").log10().alias("log_rate"),
    )
    figure = make_figure(x="", y="", height=440)
    sizes = frame["batch_size"].unique().sort().to_list()
    figure.add_parcoords(
        line={"color": shown["quality"].to_list(), "colorscale": "Cividis"},
        dimensions=[
            _dimension("batch size", shown["log_size"], {math.log2(b): str(b) for b in sizes}),
            _dimension("learning rate", shown["log_rate"], _decades(shown["log_rate"])),
            _dimension("seed", shown["seed"], {float(s): str(s) for s in shown["seed"].unique()}),
            _dimension("seconds", shown["log_seconds"], _decades(shown["log_seconds"])),
            {"label": label(metric.replace("_", " ")), "values": shown["quality"].to_list()},
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


def _decades(logs: pl.Series) -> dict[float, str]:
    values = [float(value) for value in logs]
    low, high = math.floor(min(values)), math.ceil(max(values))
    return {float(power): f"{10.0**power:g}" for power in range(low, high + 1)}
