"""Training time against batch size: for the whole budget, and to the target."""

import math

import plotly.graph_objects as go
import polars as pl

from batchscope.estimate import Interval
from batchscope.findings.analysis import Analysis
from batchscope.reports.figures.style import (
    add_band,
    add_censored,
    line_style,
    make_figure,
    use_batch_size_axis,
)

BUDGET, TARGET = "whole budget", "to the target"


def tabulate_time(analysis: Analysis) -> pl.DataFrame:
    """A row per point: series, batch_size, seconds, low, high, reached.

    Of runs that end at the target none is of the whole budget.
    """
    rows: list[dict[str, object]] = []
    for tuned, size in zip(analysis.tuned, analysis.sizes, strict=True):
        whole = max(float(c.columns["seconds"][-1]) for c in tuned.curves)
        if not math.isfinite(whole):
            continue
        if not analysis.to_target_only:
            rows.append(_row(BUDGET, size.batch_size, whole, None, None, reached=True))
        seconds = size.seconds
        if isinstance(seconds, Interval):
            high = seconds.high if math.isfinite(seconds.high) else None
            low = seconds.low if high is not None else None
            rows.append(_row(TARGET, size.batch_size, seconds.value, low, high, reached=True))
        elif seconds.low is not None:
            rows.append(_row(TARGET, size.batch_size, seconds.low, None, None, reached=False))
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def draw_time(frame: pl.DataFrame) -> go.Figure:
    """Draw what tabulate_time gives; a hollow mark is a size that did not get there in time."""
    figure = make_figure(x="batch size", y="seconds of training")
    for index, series in enumerate((TARGET, BUDGET)):
        part = frame.filter(pl.col("series") == series)
        if part.is_empty():
            continue
        style = line_style(index)
        known = part.drop_nulls("low")
        add_band(
            figure,
            known["batch_size"].to_list(),
            known["low"].to_list(),
            known["high"].to_list(),
            colour=style["line"]["color"],
        )
        reached = part.filter("reached")
        figure.add_scatter(
            x=reached["batch_size"].to_list(),
            y=reached["seconds"].to_list(),
            name=series,
            mode="lines+markers",
            hovertemplate="batch size %{x}: %{y:.3g} s<extra></extra>",
            **style,
        )
        add_censored(figure, part, "seconds", style=style)
    use_batch_size_axis(figure, frame["batch_size"].unique().sort().to_list())
    figure.update_yaxes(type="log", exponentformat="none")
    return figure


_SCHEMA = {
    "series": pl.String,
    "batch_size": pl.Int64,
    "seconds": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "reached": pl.Boolean,
}


def _row(
    series: str,
    batch_size: int,
    seconds: float,
    low: float | None,
    high: float | None,
    *,
    reached: bool,
) -> dict[str, object]:
    return {
        "series": series,
        "batch_size": batch_size,
        "seconds": seconds,
        "low": low,
        "high": high,
        "reached": reached,
    }
