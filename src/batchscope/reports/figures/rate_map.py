"""Every learning rate tried, against batch size."""

import math

import plotly.graph_objects as go
import polars as pl

from batchscope.findings.analysis import Analysis
from batchscope.findings.curves import Curve
from batchscope.reports.figures.style import label, make_figure

# In place of a value.
DIVERGED, GIVEN_UP = "∞", "\u00d7"


def tabulate_rates(analysis: Analysis) -> pl.DataFrame:
    """A row per batch size and rate: mean final quality (null: not there), seeds, chosen, why."""
    chosen = {size.batch_size: size.learning_rate for size in analysis.sizes}
    rows: dict[tuple[int, float], list[float]] = {}
    diverged = {(c.batch_size, c.learning_rate) for c in analysis.curves if _has_diverged(c)}
    for curve in analysis.curves:
        values = rows.setdefault((curve.batch_size, curve.learning_rate), [])
        values.append(float(curve.columns[analysis.metric][-1]) if curve.finished else math.nan)
    return pl.DataFrame(
        [
            {
                "batch_size": size,
                "learning_rate": rate,
                "quality": sum(values) / len(values),
                "seeds": len(values),
                "chosen": chosen.get(size) == rate,
                "absent": DIVERGED if (size, rate) in diverged else GIVEN_UP,
            }
            for (size, rate), values in sorted(rows.items())
        ]
    ).with_columns(pl.col("quality").fill_nan(None))


def draw_rates(frame: pl.DataFrame, *, metric: str) -> go.Figure:
    """Draw a heat map: a cell per rate and size, the chosen one of each size in brackets."""
    figure = make_figure(x="batch size", y="learning rate", height=420)
    sizes = frame["batch_size"].unique().sort().to_list()
    rates = frame["learning_rate"].unique().sort().to_list()
    found = {(row["batch_size"], row["learning_rate"]): row for row in frame.to_dicts()}
    cells = [[found.get((size, rate)) for size in sizes] for rate in rates]
    figure.add_heatmap(
        x=[str(size) for size in sizes],
        y=[f"{rate:g}" for rate in rates],
        z=[[cell["quality"] if cell else None for cell in row] for row in cells],
        text=[[_write(cell, cell["quality"]) if cell else "" for cell in row] for row in cells],
        texttemplate="%{text}",
        colorscale="Cividis",
        colorbar={"title": label(metric), "thickness": 12},
        hovertemplate="batch size %{x}, rate %{y}: %{z:.4g}<extra></extra>",
        hoverongaps=False,
    )
    absent = [row for row in found.values() if row["quality"] is None]
    figure.add_scatter(
        x=[str(row["batch_size"]) for row in absent],
        y=[f"{row['learning_rate']:g}" for row in absent],
        text=[_write(row, row["absent"]) for row in absent],
        mode="text",
        textfont={"size": 14},
        hoverinfo="skip",
        showlegend=False,
    )
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(type="category", showgrid=False)
    return figure


def _write(cell: dict[str, object], value: object) -> str:
    text = f"{value:.2g}" if isinstance(value, float) else str(value or "")
    return f"<b>[{text}]</b>" if text and cell["chosen"] else text


def _has_diverged(curve: Curve) -> bool:
    return curve.status in ("diverged", "out_of_memory")
