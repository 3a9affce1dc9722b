"""The memory that batches took, against their size."""

import plotly.graph_objects as go
import polars as pl

from batchscope.instruments.memory.largest import Fit
from batchscope.reports.figures.style import GREY, line_style, make_figure, set_title


def tabulate_memory(fit: Fit) -> pl.DataFrame:
    """A row per size that was tried: mode, outcome, and its peak in MiB (null: it has none)."""
    return pl.DataFrame(
        [
            {
                "batch_size": reading.batch_size,
                "mode": reading.mode,
                "outcome": reading.outcome,
                "peak_mebibytes": None if reading.peak is None else reading.peak / 2**20,
            }
            for reading in fit.tried
        ],
        infer_schema_length=None,
    )


def draw_memory(frame: pl.DataFrame, *, limit: float, title: str) -> go.Figure:
    """Draw what tabulate_memory gives; a hollow mark at the limit ran out of memory.

    Args:
        limit: in MiB.
    """
    figure = make_figure(x="batch size", y="peak memory, MiB")
    for index, mode in enumerate(("training", "evaluation")):
        part = frame.filter(pl.col("mode") == mode).sort("batch_size")
        style = line_style(index)
        ran = part.filter(pl.col("outcome") == "fits")
        figure.add_scatter(
            x=ran["batch_size"].to_list(),
            y=ran["peak_mebibytes"].to_list(),
            name=mode,
            mode="lines+markers",
            **style,
        )
        failed = part.filter(pl.col("outcome").is_in(["out of memory", "crashed"]))
        figure.add_scatter(
            x=failed["batch_size"].to_list(),
            y=[limit] * len(failed),
            mode="markers",
            marker={**style["marker"], "symbol": f"{style['marker']['symbol']}-open"},
            showlegend=False,
            hovertemplate="batch size %{x}: out of memory<extra></extra>",
        )
    figure.add_hline(y=limit, line={"dash": "dash", "color": GREY}, annotation_text="limit")
    set_title(figure, title)
    return figure
