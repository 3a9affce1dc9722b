"""Estimates side by side: one line each, or against batch size."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import polars as pl

from batchscope.estimate import Estimate
from batchscope.reports.figures.style import (
    add_band,
    label,
    line_style,
    make_figure,
    set_title,
    use_batch_size_axis,
)


def tabulate_estimates(rows: Sequence[tuple[str, Estimate]]) -> pl.DataFrame:
    """A row per estimate: name, value (null where it is not identified), low, high, unit.

    An open end is null.
    """
    table: list[dict[str, object]] = []
    for name, estimate in rows:
        numbers = estimate.to_dict()
        table.append({"name": name, **{k: numbers[k] for k in ("value", "low", "high", "unit")}})
    types = {"name": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    return pl.DataFrame(table, schema={**types, "unit": pl.String})


def draw_estimates(frame: pl.DataFrame, *, title: str, quantity: str) -> go.Figure:
    """Draw what tabulate_estimates gives, a line each; an open end has an arrow, never an end."""
    figure = make_figure(x=quantity, y="", height=max(220, 90 + 30 * len(frame)))
    style = line_style(0)
    names: list[str] = [label(name) for name in frame["name"].to_list()]
    points = frame.with_row_index("place")
    for row in points.iter_rows(named=True):
        _add_estimate(figure, row, names[int(row["place"])], style["line"]["color"])
    is_positive = all(low > 0 for low in frame["low"].drop_nulls())
    figure.update_xaxes(type="log" if is_positive else "linear")
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=list(reversed(names)))
    figure.update_layout(showlegend=False)
    set_title(figure, title)
    return figure


def draw_by_size(frame: pl.DataFrame, *, title: str, quantity: str) -> go.Figure:
    """Draw estimates whose names are batch sizes."""
    figure = make_figure(x="batch size", y=quantity)
    known = frame.drop_nulls("value")
    sizes = [int(name) for name in known["name"]]
    style = line_style(0)
    if known["low"].null_count() == 0 == known["high"].null_count():
        low, high = known["low"].to_list(), known["high"].to_list()
        add_band(figure, sizes, low, high, colour=style["line"]["color"])
    figure.add_scatter(x=sizes, y=known["value"].to_list(), mode="lines+markers", **style)
    use_batch_size_axis(figure, sizes)
    if all(value > 0 for value in known["value"]):
        figure.update_yaxes(type="log")
    figure.update_layout(showlegend=False)
    set_title(figure, title)
    return figure


def _add_estimate(figure: go.Figure, row: dict[str, Any], name: str, colour: str) -> None:
    ends = [row["low"], row["high"]]
    present = [end for end in (*ends, row["value"]) if end is not None]
    if not present:
        figure.add_annotation(x=0.5, xref="paper", y=name, text="not identified", showarrow=False)
        return
    span = [end for end in ends if end is not None] or [row["value"]]
    figure.add_scatter(
        x=span if len(span) == 2 else [*span, row["value"] or span[0]],
        y=[name, name],
        mode="lines",
        line={"color": colour, "width": 3},
        hoverinfo="skip",
    )
    is_open = None in ends
    symbol = "circle" if not is_open else "triangle-right-open"
    figure.add_scatter(
        x=[row["value"] if row["value"] is not None else span[0]],
        y=[name],
        mode="markers",
        marker={"color": colour, "size": 10, "symbol": symbol},
        hovertemplate=f"{name}: %{{x:.4g}}<extra></extra>",
    )
