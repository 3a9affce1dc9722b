"""Quality against batch size: at the best rate of each size, and at one rate for all."""

import plotly.graph_objects as go
import polars as pl

from batchscope.estimate import Interval
from batchscope.findings.analysis import Analysis
from batchscope.findings.curves import test_column
from batchscope.reports.figures.style import (
    add_band,
    label,
    line_style,
    make_figure,
    use_batch_size_axis,
)

TUNED, FIXED, TRAIN_LOSS = "best rate at each size", "one rate", "training loss, best rate"


def tabulate_quality(analysis: Analysis) -> pl.DataFrame:
    """A row per point: series, batch_size, value, and low and high where there are several seeds.

    The training loss stands beside the quality, since a worse test figure at a worse training loss
    is no statement about generalization.
    """
    rows: list[dict[str, object]] = []
    for tuned, size in zip(analysis.tuned, analysis.sizes, strict=True):
        shown = size.quality if size.test_quality is None else size.test_quality
        column = quality_column(analysis)
        for series, estimate, name in (
            (TUNED, shown, column),
            (TRAIN_LOSS, size.train_loss, "train_loss"),
        ):
            finals = [float(c.columns[name][-1]) for c in tuned.curves if c.finished]
            is_interval = isinstance(estimate, Interval)
            rows.append(
                {
                    "series": series,
                    "batch_size": size.batch_size,
                    "value": estimate.value if is_interval else sum(finals) / len(finals),
                    "low": estimate.low if is_interval else None,
                    "high": estimate.high if is_interval else None,
                    "learning_rate": size.learning_rate,
                }
            )
    for point in analysis.fixed_rate.points if analysis.fixed_rate else ():
        rows.append(
            {
                "series": FIXED,
                "batch_size": point.batch_size,
                "value": point.quality,
                "low": None,
                "high": None,
                "learning_rate": analysis.fixed_rate.learning_rate if analysis.fixed_rate else None,
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)


def quality_column(analysis: Analysis) -> str:
    """The column that quality is shown from: test data where there are any."""
    has_test = analysis.sizes[0].test_quality is not None
    return test_column(analysis.metric) if has_test else analysis.metric


def draw_quality(frame: pl.DataFrame, *, metric: str) -> go.Figure:
    """Draw what tabulate_quality gives; a band is the 95% interval, a hollow mark a single run."""
    figure = make_figure(x="batch size", y=metric.replace("_", " "))
    for index, series in enumerate((TUNED, FIXED)):
        _add_series(figure, frame.filter(pl.col("series") == series), index, series)
    use_batch_size_axis(figure, frame["batch_size"].unique().sort().to_list())
    return figure


def draw_train_loss(frame: pl.DataFrame) -> go.Figure:
    """Draw the training loss that belongs to the quality."""
    figure = make_figure(x="batch size", y="training loss", height=260)
    _add_series(figure, frame.filter(pl.col("series") == TRAIN_LOSS), 2, TRAIN_LOSS)
    use_batch_size_axis(figure, frame["batch_size"].unique().sort().to_list())
    return figure


def _add_series(figure: go.Figure, part: pl.DataFrame, index: int, name: str) -> None:
    if part.is_empty():
        return
    style = line_style(index)
    known = part.drop_nulls("low")
    if not known.is_empty():
        add_band(
            figure,
            known["batch_size"].to_list(),
            known["low"].to_list(),
            known["high"].to_list(),
            colour=style["line"]["color"],
        )
    hollow = part["low"].is_null().all()
    if hollow:
        style["marker"]["symbol"] += "-open"
    figure.add_scatter(
        x=part["batch_size"].to_list(),
        y=part["value"].to_list(),
        name=label(name),
        mode="lines+markers",
        customdata=part["learning_rate"].to_list(),
        hovertemplate="batch size %{x}: %{y:.4g}, rate %{customdata:g}<extra></extra>",
        **style,
    )
