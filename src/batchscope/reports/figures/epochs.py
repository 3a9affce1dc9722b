"""How long validation went on to improve, at each batch size."""

import plotly.graph_objects as go
import polars as pl

from batchscope.findings.analysis import Analysis
from batchscope.reports.figures.style import line_style, make_figure, with_alpha

IMPROVES, GOES_ON, TURNS = "still improves", "no longer shown to", "gets worse from here"


def tabulate_epochs(analysis: Analysis) -> pl.DataFrame:
    """A row per size: batch_size, improves_until, turns_at (null: nowhere), ends_at."""
    return pl.DataFrame(
        [
            {
                "batch_size": found.batch_size,
                "improves_until": found.improves_until,
                "turns_at": found.turns_at,
                "ends_at": found.ends_at,
            }
            for found in analysis.epochs
        ],
        schema_overrides={"turns_at": pl.Float64},
    )


def draw_epochs(frame: pl.DataFrame, *, unit: str) -> go.Figure:
    """Draw what tabulate_epochs gives: a bar per size, full where validation still improved."""
    figure = make_figure(x=unit, y="batch size", height=160 + 32 * len(frame))
    sizes = [str(size) for size in frame["batch_size"].to_list()]
    colour = line_style(0)["line"]["color"]
    parts = (
        (IMPROVES, frame["improves_until"], colour),
        (GOES_ON, frame["ends_at"] - frame["improves_until"], with_alpha(colour, 0.25)),
    )
    for name, lengths, shade in parts:
        figure.add_bar(
            x=lengths.to_list(),
            y=sizes,
            orientation="h",
            name=name,
            marker={"color": shade},
            hovertemplate="batch size %{y}: " + name + " for %{x:.4g} " + unit + "<extra></extra>",
        )
    turned = frame.drop_nulls("turns_at")
    if not turned.is_empty():
        figure.add_scatter(
            x=turned["turns_at"].to_list(),
            y=[str(size) for size in turned["batch_size"].to_list()],
            name=TURNS,
            mode="markers",
            marker={**line_style(1)["marker"], "size": 11},
            hovertemplate="batch size %{y}: " + TURNS + ", %{x:.4g} " + unit + "<extra></extra>",
        )
    figure.update_layout(barmode="stack", legend_traceorder="normal")
    figure.update_yaxes(type="category", showgrid=False)
    return figure
