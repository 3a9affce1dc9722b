"""Steps and examples to the target against batch size."""

import math
from typing import Any, cast

import plotly.graph_objects as go
import polars as pl
from plotly import subplots

from batchscope.estimate import Interval
from batchscope.findings.analysis import Analysis
from batchscope.reports.figures.style import GREY, add_censored, line_style, make_figure


def tabulate_to_target(analysis: Analysis) -> pl.DataFrame:
    """A row per size and axis: axis, batch_size, value, low, high, reached."""
    rows: list[dict[str, object]] = []
    for size in analysis.sizes:
        for axis, estimate in (("steps", size.steps), ("examples", size.examples)):
            row = {"axis": axis, "batch_size": size.batch_size}
            if isinstance(estimate, Interval):
                high = estimate.high if math.isfinite(estimate.high) else None
                found = {"value": estimate.value, "low": estimate.low, "high": high}
                rows.append({**row, **found, "reached": True})
            elif estimate.low is not None:
                rows.append(
                    {**row, "value": estimate.low, "low": None, "high": None, "reached": False}
                )
    return pl.DataFrame(rows, schema=_SCHEMA)


def draw_to_target(frame: pl.DataFrame) -> go.Figure:
    """Draw what tabulate_to_target gives, two panels; hollow marks are the horizon of sizes that
    did not get there.
    """
    base = make_figure(x="batch size", y="")
    figure: go.Figure = subplots.make_subplots(
        rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06
    )
    figure.update_layout(cast(Any, base).layout)
    sizes = frame["batch_size"].unique().sort().to_list()
    for place, axis in enumerate(("steps", "examples")):
        part = frame.filter(pl.col("axis") == axis)
        style = line_style(place)
        reached = part.filter("reached")
        figure.add_scatter(
            x=reached["batch_size"].to_list(),
            y=reached["value"].to_list(),
            error_y={
                "type": "data",
                "symmetric": False,
                "array": (reached["high"] - reached["value"]).fill_null(0).to_list(),
                "arrayminus": (reached["value"] - reached["low"]).fill_null(0).to_list(),
            },
            name=axis,
            mode="lines+markers",
            hovertemplate="batch size %{x}: %{y:.4g} " + axis + "<extra></extra>",
            row=place + 1,
            col=1,
            **style,
        )
        add_censored(figure, part, "value", style=style, row=place + 1)
        figure.update_yaxes(title=f"{axis} to target", type="log", row=place + 1, col=1)
    grid: dict[str, Any] = {"gridcolor": "rgba(128,128,128,0.25)", "zeroline": False, "color": GREY}
    figure.update_yaxes(**grid)
    figure.update_xaxes(
        type="log", tickvals=sizes, ticktext=[str(b) for b in sizes], title="", **grid
    )
    figure.update_xaxes(title="batch size", row=2, col=1)
    figure.update_layout(height=520, showlegend=False)
    return figure


_SCHEMA = {
    "axis": pl.String,
    "batch_size": pl.Int64,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "reached": pl.Boolean,
}
