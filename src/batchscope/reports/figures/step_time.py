"""Seconds per step against batch size."""

import math

import plotly.graph_objects as go
import polars as pl

from batchscope.findings.analysis import Analysis
from batchscope.reports.figures.style import line_style, make_figure, use_batch_size_axis


def tabulate_step_time(analysis: Analysis) -> pl.DataFrame:
    """A row per size that was timed: batch_size, milliseconds per step."""
    rows: list[dict[str, float]] = []
    for size in analysis.tuned:
        last = max(size.curves, key=lambda curve: float(curve.columns["step"][-1]))
        seconds, steps = (float(last.columns[name][-1]) for name in ("seconds", "step"))
        if math.isfinite(seconds) and steps > 0:
            rows.append({"batch_size": size.batch_size, "milliseconds": 1000 * seconds / steps})
    return pl.DataFrame(rows, schema={"batch_size": pl.Int64, "milliseconds": pl.Float64})


def draw_step_time(frame: pl.DataFrame) -> go.Figure:
    """Draw what tabulate_step_time gives."""
    figure = make_figure(x="batch size", y="milliseconds per step", height=300)
    sizes = frame["batch_size"].to_list()
    figure.add_scatter(
        x=sizes,
        y=frame["milliseconds"].to_list(),
        mode="lines+markers",
        hovertemplate="batch size %{x}: %{y:.3g} ms<extra></extra>",
        **line_style(2),
    )
    use_batch_size_axis(figure, sizes)
    figure.update_yaxes(type="log", exponentformat="none")
    return figure
