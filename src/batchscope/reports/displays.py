"""Any result as a table or a figure."""

from collections.abc import Sequence

import plotly.graph_objects as go
import polars as pl

from batchscope.decisions.recommendation import Recommendation
from batchscope.errors import InvalidInput
from batchscope.estimate import Estimate, Interval
from batchscope.findings.analysis import Analysis
from batchscope.instruments.memory.largest import Fit
from batchscope.records import Run
from batchscope.reports.figures.estimates import (
    draw_by_size,
    draw_estimates,
    tabulate_estimates,
)
from batchscope.reports.figures.memory import draw_memory, tabulate_memory
from batchscope.reports.figures.quality import (
    draw_quality,
    quality_column,
    tabulate_quality,
)
from batchscope.reports.figures.throughput import draw_throughput, tabulate_throughput
from batchscope.reports.figures.time import draw_time, tabulate_time
from batchscope.reports.figures.under_way import (
    draw_preview,
    draw_standing,
    tabulate_preview,
    tabulate_standing,
)
from batchscope.reports.readings import READINGS, Reading, describe
from batchscope.verbs.analyzing import analyze
from batchscope.verbs.preview import Preview
from batchscope.verbs.profiling import Profile
from batchscope.verbs.standing import Standing
from batchscope.verbs.studying import Study

Result = Profile | Study | Preview | Standing | Analysis | Recommendation | Reading


def table(result: Result) -> pl.DataFrame:
    """A result as a data frame: a row per batch size, or per run of a study.

    An estimate takes three columns, its value and its bounds; null where it cannot be told.

    Raises:
        InvalidInput: it is no result of Batchscope.
    """
    match result:
        case Profile():
            return tabulate_throughput(result)
        case Study():
            return _tabulate_study(result)
        case Preview():
            return tabulate_preview(result)
        case Standing():
            return tabulate_standing(result)
        case Analysis():
            return _tabulate_analysis(result)
        case Recommendation():
            return _tabulate_analysis(result.analysis).with_columns(
                pl.col("batch_size").is_in(result.plateau).alias("equivalent"),
                (pl.col("batch_size") == result.batch_size).alias("recommended"),
            )
        case Fit():
            return tabulate_memory(result)
        case _ if isinstance(result, READINGS):
            return tabulate_estimates(describe(result).rows)
        case _:
            raise _not_a_result(result)


def figure(result: Result) -> go.Figure:
    """A result as a figure of plotly.

    Raises:
        InvalidInput: it is no result of Batchscope.
    """
    match result:
        case Profile():
            return draw_throughput(tabulate_throughput(result), unit=result.unit)
        case Study():
            return figure(analyze(result))
        case Preview():
            return draw_preview(tabulate_preview(result), title=repr(result))
        case Standing():
            return draw_standing(tabulate_standing(result), title=repr(result))
        case Analysis():
            return draw_quality(tabulate_quality(result), metric=quality_column(result))
        case Recommendation():
            return draw_time(tabulate_time(result.analysis))
        case Fit():
            return draw_memory(
                tabulate_memory(result),
                limit=result.limit.amount / 2**20,
                title={
                    "memory": f"{result.max_batch_size} {result.unit} fit, one more does not",
                    "data": f"All {result.max_batch_size} {result.unit} fit",
                }.get(result.bounded_by, f"{result.max_batch_size} {result.unit} fit"),
            )
        case _ if isinstance(result, READINGS):
            shown = describe(result)
            draw = draw_by_size if shown.by_size else draw_estimates
            return draw(tabulate_estimates(shown.rows), title=shown.title, quantity=shown.quantity)
        case _:
            raise _not_a_result(result)


def _tabulate_study(study: Study) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "batch_size": run.configuration.batch_size,
                "learning_rate": run.configuration.learning_rate,
                "seed": run.configuration.seed,
                "status": run.status,
                "steps": run.steps,
                "train_loss": _last(run, "train_loss"),
                "val_loss": _last(run, "val_loss"),
            }
            for run in study.runs
        ]
    )


def _last(run: Run, column: str) -> float | None:
    return run.trajectory.last(column) if run.trajectory.columns else None


def _tabulate_analysis(analysis: Analysis) -> pl.DataFrame:
    names = ("quality", "test_quality", "train_loss", "steps", "examples", "seconds")
    rows: list[dict[str, object]] = []
    for size in analysis.sizes:
        row: dict[str, object] = {
            "batch_size": size.batch_size,
            "learning_rate": size.learning_rate,
            "seeds": size.seeds,
            "reached": size.reached,
        }
        for name in names:
            row |= _columns(name, getattr(size, name))
        rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None)


def _columns(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    keys = (name, f"{name}_low", f"{name}_high")
    if isinstance(estimate, Interval):
        return dict(zip(keys, (estimate.value, estimate.low, estimate.high), strict=True))
    bounds: Sequence[float | None] = (None, None, None)
    if estimate is not None:
        bounds = (None, estimate.low, estimate.high)
    return dict(zip(keys, bounds, strict=True))


def _not_a_result(value: object) -> InvalidInput:
    return InvalidInput(
        f"a {type(value).__name__} has no table or figure",
        where="bs.table, bs.figure",
        expected="what a verb such as profile, study, noise or recommend returned",
        do="pass the result itself",
    )
