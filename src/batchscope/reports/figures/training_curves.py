"""Training curves of each batch size at its best rate."""

import plotly.graph_objects as go
import polars as pl

from batchscope.findings.analysis import Analysis
from batchscope.reports.figures.style import line_style, make_figure
from batchscope.reports.sampling import CURVES_PER_SIZE, sample


def tabulate_training_curves(analysis: Analysis) -> pl.DataFrame:
    """A row per size, seed and evaluation: batch_size, seed, examples, train_loss, quality."""
    frames = [
        pl.DataFrame(
            {
                "batch_size": [size.batch_size] * len(curve.columns["examples"]),
                "seed": [curve.seed] * len(curve.columns["examples"]),
                "examples": curve.columns["examples"],
                "train_loss": curve.columns["train_loss"],
                "quality": curve.columns[analysis.metric],
            }
        )
        for size in analysis.tuned
        for curve in sample(size.curves, CURVES_PER_SIZE)
    ]
    return pl.concat(frames)


def draw_training_curves(frame: pl.DataFrame, *, column: str, name: str, unit: str) -> go.Figure:
    """Draw one column against examples seen; a line is a seed."""
    figure = make_figure(x=f"{unit} seen", y=name, height=420)
    for index, (key, part) in enumerate(frame.group_by("batch_size", maintain_order=True)):
        style = line_style(index)
        for place, (_, curve) in enumerate(part.group_by("seed", maintain_order=True)):
            figure.add_scatter(
                x=curve["examples"].to_list(),
                y=curve[column].to_list(),
                name=f"{key[0]}",
                legendgroup=f"{key[0]}",
                showlegend=place == 0,
                mode="lines",
                line={**style["line"], "width": 1.5},
                hovertemplate=f"batch size {key[0]}: " + "%{y:.4g} at %{x}<extra></extra>",
            )
    # A logarithmic axis has no place for an error of nothing.
    if (frame[column].fill_nan(None).drop_nulls() > 0).all():
        figure.update_yaxes(type="log", exponentformat="none")
    return figure
