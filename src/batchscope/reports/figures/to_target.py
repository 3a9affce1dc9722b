"""Steps and examples to the target against batch size."""

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import plotly.graph_objects as go
import polars as pl
from plotly import subplots

from batchscope.estimate import Estimate, Interval
from batchscope.findings.analysis import Analysis
from batchscope.findings.critical import CriticalBatchSize
from batchscope.reports.figures.style import (
    GREY,
    add_band,
    add_censored,
    line_style,
    make_figure,
    with_alpha,
)

# Of the fitted curve, so that it is smooth at any zoom.
_FIT_POINTS = 60
# Of the decades that the sizes span, what is drawn beyond them.
_BEYOND = 0.1


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


def tabulate_fit(analysis: Analysis) -> pl.DataFrame:
    """The fitted curve, a row per axis and place: axis, batch_size, value, low, high.

    Empty where no fit is used; without steps where nobody counted them.
    """
    critical = analysis.critical
    rows: list[dict[str, object]] = []
    if critical is not None and critical.fit is not None:
        fit = critical.fit
        counts_steps = any(isinstance(size.steps, Interval) for size in analysis.sizes)
        for place in np.geomspace(fit.smallest, fit.largest, _FIT_POINTS):
            steps = fit.predict(float(place))
            for axis, factor in (("steps", 1.0), ("examples", float(place))):
                if axis == "examples" or counts_steps:
                    row: dict[str, object] = {"axis": axis, "batch_size": float(place)}
                    ends = {"value": steps.value, "low": steps.low, "high": steps.high}
                    rows.append(row | {name: factor * end for name, end in ends.items()})
    return pl.DataFrame(rows, schema=_FIT_SCHEMA)


def draw_to_target(
    frame: pl.DataFrame, fit: pl.DataFrame, critical: CriticalBatchSize | None
) -> go.Figure:
    """Draw what the two tables give, two panels, and where the critical batch sizes lie.

    Hollow marks are the horizon of sizes that did not get there. The grey line is the fitted curve
    with its 95% interval; the shaded range is B_2x among steps, and B_20 among examples.
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
        _add_fit(figure, fit.filter(pl.col("axis") == axis), row=place + 1)
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
            mode="markers" if not fit.is_empty() else "lines+markers",
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
    if critical is not None and sizes:
        _mark(figure, critical.b_2x, sizes, row=1)
        _mark(figure, critical.b_20, sizes, row=2)
    return figure


def _add_fit(figure: go.Figure, fit: pl.DataFrame, *, row: int) -> None:
    if fit.is_empty():
        return
    places = fit["batch_size"].to_list()
    add_band(figure, places, fit["low"].to_list(), fit["high"].to_list(), colour=GREY, row=row)
    figure.add_scatter(
        x=places,
        y=fit["value"].to_list(),
        mode="lines",
        line={"color": GREY, "width": 1.5},
        hoverinfo="skip",
        row=row,
        col=1,
    )


def _mark(figure: go.Figure, found: Estimate, sizes: Sequence[int], *, row: int) -> None:
    """Shade where a critical batch size lies, as far as the axis goes."""
    if not isinstance(found, Interval):
        return
    reach = (max(sizes) / min(sizes)) ** _BEYOND
    low, high = max(found.low, min(sizes) / reach), min(found.high, max(sizes) * reach)
    if low < high:
        colour = line_style(row - 1)["line"]["color"]
        # Plotly's stubs know rows by their names alone.
        cast(Any, figure).add_vrect(
            x0=low, x1=high, fillcolor=with_alpha(colour, 0.15), line_width=0, row=row, col=1
        )


_FIT_SCHEMA = {
    "axis": pl.String,
    "batch_size": pl.Float64,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}
_SCHEMA = {
    "axis": pl.String,
    "batch_size": pl.Int64,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "reached": pl.Boolean,
}
