"""A study that was not started, and one that is under way."""

import plotly.graph_objects as go
import polars as pl

from batchscope.reports.figures.style import make_figure, set_title
from batchscope.verbs.preview import Preview
from batchscope.verbs.standing import Standing


def tabulate_preview(preview: Preview) -> pl.DataFrame:
    """A row per batch size: runs, steps and seconds of each, and the bytes of a step's tensors."""
    return pl.DataFrame(
        [
            {
                "batch_size": size.batch_size,
                "runs": size.runs,
                "steps": size.steps,
                "seconds": size.seconds,
                "peak_bytes": size.peak_bytes,
            }
            for size in preview.sizes
        ],
        infer_schema_length=None,
    )


def draw_preview(frame: pl.DataFrame, *, title: str) -> go.Figure:
    """Draw the steps, or seconds where they are known, of all runs of a batch size."""
    timed = frame["seconds"].null_count() == 0
    quantity = "seconds" if timed else "steps"
    figure = make_figure(x="batch size", y=f"{quantity} of all runs")
    figure.add_bar(
        x=[str(size) for size in frame["batch_size"]],
        y=(frame["runs"] * frame[quantity]).to_list(),
        name=quantity,
    )
    figure.update_xaxes(type="category")
    set_title(figure, title)
    return figure


def tabulate_standing(standing: Standing) -> pl.DataFrame:
    """A row per kind of run that is done, per run under way, and for what is left."""
    rows: list[dict[str, object]] = []
    for status, number in standing.done:
        rows.append({"run": f"{number} {status}", "state": "done", "share": 1.0})
    for claim in standing.running:
        at = claim.progress
        rows.append(
            {"run": claim.label, "state": "running", "share": at.share, "train_loss": at.loss}
        )
    rows.append({"run": f"{standing.left or 0} left", "state": "left", "share": 0.0})
    return pl.DataFrame(rows, schema_overrides={"train_loss": pl.Float64}, infer_schema_length=None)


def draw_standing(frame: pl.DataFrame, *, title: str) -> go.Figure:
    """Draw how much of each running run is spent."""
    figure = make_figure(x="share of its budget", y="")
    running = frame.filter(pl.col("state") == "running")
    figure.add_bar(
        x=running["share"].to_list(),
        y=running["run"].to_list(),
        orientation="h",
        name="running",
    )
    figure.update_xaxes(type="linear", range=[0, 1])
    set_title(figure, title)
    return figure
