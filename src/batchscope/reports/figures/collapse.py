"""Training curves on the axis on which those of different batch sizes lie closest."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import polars as pl

from batchscope.estimate import write_number
from batchscope.findings.analysis import Analysis
from batchscope.reports.figures.style import GREY, label, line_style, make_figure
from batchscope.reports.sampling import CURVES_PER_SIZE, sample


def tabulate_collapse(analysis: Analysis, *, metric: str, gamma: float) -> pl.DataFrame:
    """A row per size, seed and evaluation after the first step: batch_size, seed, place, value.

    `place` is steps times the batch size to the power gamma.
    """
    frames: list[pl.DataFrame] = []
    for size in analysis.tuned:
        for curve in sample(size.curves, CURVES_PER_SIZE):
            steps = curve.columns["step"]
            if not np.isfinite(steps).all():
                steps = curve.columns["examples"] / curve.batch_size
            frame = pl.DataFrame(
                {
                    "batch_size": [size.batch_size] * len(steps),
                    "seed": [curve.seed] * len(steps),
                    "place": steps * curve.batch_size**gamma,
                    "value": curve.columns[metric],
                }
            )
            frames.append(frame.filter(pl.col("place") > 0))
    return pl.concat(frames)


def draw_collapse(
    frame: pl.DataFrame, *, metric: str, gamma: float, levels: Sequence[float]
) -> go.Figure:
    """Draw what tabulate_collapse gives, a line per seed, and the levels that gamma was read at."""
    axis = f"steps x (batch size)^{write_number(gamma, decimals=2)}"
    figure = make_figure(x=axis, y=metric.replace("_", " "), height=420)
    for index, (key, part) in enumerate(frame.group_by("batch_size", maintain_order=True)):
        style = line_style(index)
        for place, (_, curve) in enumerate(part.group_by("seed", maintain_order=True)):
            figure.add_scatter(
                x=curve["place"].to_list(),
                y=curve["value"].to_list(),
                name=label(f"{key[0]}"),
                legendgroup=f"{key[0]}",
                showlegend=place == 0,
                mode="lines",
                line={**style["line"], "width": 1.5},
                hovertemplate=f"batch size {key[0]}: " + "%{y:.4g}<extra></extra>",
            )
    for level in levels:
        figure.add_hline(y=level, line={"color": GREY, "width": 1, "dash": "dot"})
    figure.update_xaxes(type="log", exponentformat="none")
    if (frame["value"].drop_nans() > 0).all():
        figure.update_yaxes(type="log", exponentformat="none")
    return figure
