"""The pages of replications: one each, and an index."""

from collections.abc import Mapping, Sequence
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
    figures = [(figure.title, to_div(_draw(figure))) for figure in found.measured.figures]
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


def _draw(figure: Figure) -> go.Figure:
    drawn = make_figure(x=figure.x, y=figure.y)
    for index, line in enumerate(figure.lines):
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
            **line_style(index),
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
