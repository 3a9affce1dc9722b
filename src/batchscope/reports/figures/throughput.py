"""Examples per second against batch size."""

import plotly.graph_objects as go
import polars as pl

from batchscope.estimate import Interval
from batchscope.reports.figures.style import add_band, line_style, make_figure, use_batch_size_axis
from batchscope.verbs.profiling import Profile


def tabulate_throughput(profile: Profile) -> pl.DataFrame:
    """A row per size: its step in milliseconds, its examples per second with their interval."""
    rows: list[dict[str, object]] = []
    for size in profile.sizes:
        step, rate = size.step_seconds, size.examples_per_second
        if isinstance(step, Interval) and isinstance(rate, Interval):
            rows.append(
                {
                    "batch_size": size.batch_size,
                    "step_milliseconds": 1000 * step.value,
                    "examples_per_second": rate.value,
                    "low": rate.low,
                    "high": rate.high,
                    "timed_steps": size.timed_steps,
                }
            )
    return pl.DataFrame(rows)


def draw_throughput(frame: pl.DataFrame, *, unit: str) -> go.Figure:
    """Draw what tabulate_throughput gives."""
    figure = make_figure(x="batch size", y=f"{unit} per second")
    style = line_style(0)
    sizes = frame["batch_size"].to_list()
    low, high = frame["low"].to_list(), frame["high"].to_list()
    add_band(figure, sizes, low, high, colour=style["line"]["color"])
    figure.add_scatter(
        x=sizes, y=frame["examples_per_second"].to_list(), mode="lines+markers", **style
    )
    use_batch_size_axis(figure, sizes)
    return figure
