"""The pages of replications: one each, and an index."""

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from batchscope.replications.published import Figure
from batchscope.replications.reproducing import Replication
from batchscope.reports.figures.style import line_style, make_figure, to_div, use_batch_size_axis
from batchscope.reports.page import make_environment, write_whole

# Points of a line below which each is marked.
_FEW = 20


def report_replication(found: Replication, path: str) -> str:
    """Write the page of one replication, and return its absolute path.

    Raises:
        StoreError: the page cannot be written.
    """
    styles = choose_styles(found.measured.figures)
    figures = [(figure.title, to_div(_draw(figure, styles))) for figure in found.measured.figures]
    text = (
        make_environment()
        .get_template("replication.html.jinja")
        .render(found=found, figures=figures, plotly=Markup(get_plotlyjs()))
    )
    return write_whole(text, Path(path))


def report_index(found: Sequence[Replication], pages: Mapping[str, str], path: str) -> str:
    """Write the index of several replications, and return its absolute path.

    Args:
        pages: name of a study -> its page, beside the index.

    Raises:
        StoreError: the page cannot be written.
    """
    text = (
        make_environment()
        .get_template("replications.html.jinja")
        .render(found=found, pages={name: Path(page).name for name, page in pages.items()})
    )
    return write_whole(text, Path(path))


def choose_styles(figures: Sequence[Figure]) -> dict[str, int]:
    """The place in the palette of each line's name, the same in all figures of a page."""
    styles: dict[str, int] = {}
    for figure in figures:
        names = [line.name for line in figure.lines]
        taken = {styles[name] for name in names if name in styles}
        free = (place for place in count() if place not in taken)
        styles |= {name: next(free) for name in names if name not in styles}
    return styles


def _draw(figure: Figure, styles: Mapping[str, int]) -> go.Figure:
    drawn = make_figure(x=figure.x, y=figure.y)
    for line in figure.lines:
        # A logarithmic axis has no place for the start.
        points = [
            (x, y)
            for x, y in zip(line.places, line.values, strict=True)
            if x > 0 or not figure.logarithmic[0]
        ]
        drawn.add_scatter(
            x=[x for x, _ in points],
            y=[y for _, y in points],
            name=line.name,
            mode="lines+markers" if len(points) < _FEW else "lines",
            **line_style(styles[line.name]),
        )
    for axis, is_log in zip(("xaxis", "yaxis"), figure.logarithmic, strict=True):
        if is_log:
            drawn.update_layout({axis: {"type": "log", "exponentformat": "none"}})
    places = sorted({x for line in figure.lines for x in line.places})
    if figure.x == "batch size":
        use_batch_size_axis(drawn, list(map(int, places)))
    elif len(places) < _FEW and not figure.logarithmic[0]:
        drawn.update_xaxes(tickvals=places)
    return drawn
