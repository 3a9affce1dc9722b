"""How every figure looks: colours, axes, intervals."""

import html
import textwrap
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import polars as pl
from markupsafe import Markup

# Okabe and Ito's colours, told apart by readers with any colour vision; black left out, since it
# vanishes on a dark page.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C00")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid")
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "x")
GREY = "#888888"


def make_figure(*, x: str, y: str, height: int = 380) -> go.Figure:
    """An empty figure with labelled axes, on whatever background the page has."""
    figure = go.Figure()
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 70, "r": 20, "t": 20, "b": 60},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": GREY, "size": 13},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        hovermode="closest",
    )
    grid: dict[str, Any] = {
        "gridcolor": "rgba(128,128,128,0.25)",
        "zeroline": False,
        "automargin": True,
    }
    figure.update_xaxes(title=label(x), **grid)
    figure.update_yaxes(title=label(y), **grid)
    return figure


def set_title(figure: go.Figure, text: str) -> None:
    """A title in lines that a phone can show."""
    lines = [label(line) for line in textwrap.wrap(text, 44)]
    figure.update_layout(
        title={"text": "<br>".join(lines), "font": {"size": 14}, "x": 0.02, "xanchor": "left"},
        margin={"t": 40 + 18 * len(lines)},
    )


def to_div(figure: go.Figure, name: str | None = None) -> Markup:
    """A figure as a part of a page that has plotly's script: as wide as there is room."""
    return Markup(
        figure.to_html(
            full_html=False,
            include_plotlyjs=False,
            div_id=name,
            config={"responsive": True, "displaylogo": False, "displayModeBar": False},
        )
    )


def use_batch_size_axis(figure: go.Figure, sizes: Sequence[int]) -> None:
    """A logarithmic axis of batch sizes with plain numbers."""
    figure.update_xaxes(type="log", tickvals=list(sizes), ticktext=[str(b) for b in sizes])


def add_band(
    figure: go.Figure,
    x: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    *,
    colour: str,
    row: int | None = None,
) -> None:
    """An interval as a band."""
    figure.add_scatter(
        x=[*x, *reversed(x)],
        y=[*high, *reversed(low)],
        fill="toself",
        fillcolor=with_alpha(colour, 0.18),
        mode="lines",
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        row=row,
        col=None if row is None else 1,
    )


def add_censored(
    figure: go.Figure,
    part: pl.DataFrame,
    column: str,
    *,
    style: dict[str, Any],
    row: int | None = None,
) -> None:
    """Hollow marks, joined to nothing, at the horizon of what was not reached."""
    missed = part.filter(~pl.col("reached"))
    if missed.is_empty():
        return
    marker = {**style["marker"], "symbol": f"{style['marker']['symbol']}-open", "size": 10}
    figure.add_scatter(
        x=missed["batch_size"].to_list(),
        y=missed[column].to_list(),
        mode="markers",
        marker=marker,
        showlegend=False,
        hovertemplate="batch size %{x}: not reached by %{y:.4g}<extra></extra>",
        row=row,
        col=None if row is None else 1,
    )


def with_alpha(colour: str, alpha: float) -> str:
    """A colour of the palette, let through."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def label(text: str) -> str:
    """A name that a user gave, as text: plotly reads some tags in labels."""
    return html.escape(text)


def line_style(index: int) -> dict[str, Any]:
    """Colour, dash and marker of the i-th line: never colour alone."""
    place = index % len(COLOURS)
    return {
        "line": {"color": COLOURS[place], "dash": DASHES[place]},
        "marker": {"color": COLOURS[place], "symbol": MARKERS[place], "size": 8},
    }
