"""The page: one HTML file that opens anywhere, the answer first."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from batchscope.decisions.recommendation import Recommendation
from batchscope.errors import CannotTell, StoreError
from batchscope.estimate import Interval
from batchscope.findings.analysis import Analysis
from batchscope.reports.endings import write_ending
from batchscope.reports.figures.all_runs import draw_all_runs, tabulate_runs_seen
from batchscope.reports.figures.collapse import draw_collapse, tabulate_collapse
from batchscope.reports.figures.epochs import draw_epochs, tabulate_epochs
from batchscope.reports.figures.quality import (
    draw_quality,
    draw_train_loss,
    quality_column,
    tabulate_quality,
)
from batchscope.reports.figures.rate_map import DIVERGED, GIVEN_UP, draw_rates, tabulate_rates
from batchscope.reports.figures.step_time import draw_step_time, tabulate_step_time
from batchscope.reports.figures.style import to_div
from batchscope.reports.figures.time import draw_time, tabulate_time
from batchscope.reports.figures.to_target import draw_to_target, tabulate_fit, tabulate_to_target
from batchscope.reports.figures.training_curves import (
    draw_training_curves,
    tabulate_training_curves,
)
from batchscope.reports.sampling import CURVES_PER_SIZE, RUNS, describe_sample
from batchscope.verbs.analyzing import analyze
from batchscope.verbs.opening import read_origin
from batchscope.verbs.recommending import read_recommendation
from batchscope.verbs.studying import Study

DEFAULT_PAGE = "batchscope-report.html"
_HOW_FIT_IS_READ = (
    " The grey line is the fitted curve with its 95% interval; shaded is where B_2x lies among "
    "the steps and B_20 among the examples, as far as they are known."
)
_COUNTS = {
    "steps": "Steps are what counts",
    "examples": "Examples are what counts",
    "between": "What counts lies between steps and examples",
    "neither": "Neither steps nor examples count alone",
    "cannot tell": "Steps or examples may be what counts: the runs cannot tell",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """One figure of the page.

    Attributes:
        title: states the finding.
        note: how to read it.
    """

    name: str
    title: str
    note: str
    html: Markup


def report(
    study: Study | Analysis | str,
    path: str = DEFAULT_PAGE,
    *,
    which: str | None = None,
    recommendation: Recommendation | None = None,
) -> str:
    """Write the page of a study, or of an analysis, and return its absolute path.

    Where its runs allow no recommendation, the page says why and shows the findings.

    Args:
        study: what `study` or `analyze` returned, or a store's path or URL.
        which: a study's id or its task's name; None for the latest.
        recommendation: from it, on terms of one's own; None for the one that its runs lead to.

    Raises:
        StoreError: there is no such store or study, or the page cannot be written.
        CannotTell: no run of it finished.
    """
    if isinstance(study, Analysis):
        return write_whole(_render(study, None, None, None), Path(path))
    analysis = analyze(study, which=which)
    refusal = None
    if recommendation is None:
        try:
            recommendation = read_recommendation(study, which=which)
        except CannotTell as error:
            refusal = str(error)
    page = _render(analysis, recommendation, refusal, read_origin(study, which=which))
    return write_whole(page, Path(path))


def _render(
    analysis: Analysis,
    recommendation: Recommendation | None,
    refusal: str | None,
    origin: Mapping[str, object] | None,
) -> str:
    return (
        make_environment()
        .get_template("page.html.jinja")
        .render(
            analysis=analysis,
            recommendation=recommendation,
            refusal=refusal,
            exhibits=_make_exhibits(analysis),
            endings=_write_endings(analysis),
            origin=origin,
            column=quality_column(analysis).replace("_", " "),
            plotly=Markup(get_plotlyjs()),
        )
    )


def _write_endings(analysis: Analysis) -> dict[int, tuple[str, str]]:
    """Batch size -> its quality, on test data where there are, and its training loss."""
    column = quality_column(analysis)
    return {
        size.batch_size: (
            write_ending(size.test_quality or size.quality, tuned.curves, column),
            write_ending(size.train_loss, tuned.curves, "train_loss"),
        )
        for tuned, size in zip(analysis.tuned, analysis.sizes, strict=True)
    }


def check_page_path(path: str) -> None:
    """See that a page can be written there, before anything is spent on it.

    Raises:
        StoreError: it cannot.
    """
    folder = Path(path).absolute().parent
    if not os.access(folder, os.W_OK) or Path(path).is_dir():
        raise StoreError(
            f"cannot write the report {path}",
            where=str(folder),
            expected="a folder that exists and can be written",
            do="name another place with --output",
        )


def make_environment() -> Environment:
    """The templates of pages; a name that one lacks is an error."""
    return Environment(
        loader=PackageLoader("batchscope.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _make_exhibits(analysis: Analysis) -> list[Exhibit]:
    return [
        *(() if analysis.to_target_only else _show_quality(analysis)),
        *_show_curves_that_decide(analysis),
        *_show_time(analysis),
        *_show_collapse(analysis),
        *_show_rates(analysis),
        *_show_curves(analysis),
        *_show_epochs(analysis),
        *_show_runs(analysis),
    ]


def _show_quality(analysis: Analysis) -> Iterator[Exhibit]:
    column, quality = quality_column(analysis), tabulate_quality(analysis)
    yield _exhibit(
        "quality",
        _quality_title(analysis, column.replace("_", " ")),
        "Bands are 95% intervals over seeds; hollow marks are single runs. "
        "The budget is the same for all sizes, so larger batches take fewer steps.",
        draw_quality(quality, metric=column),
    )
    yield _exhibit(
        "train-loss",
        "Training loss at the same moment",
        "Where it rises with the batch size as well, the larger batch was trained less, and "
        "the figure above says nothing about how well it generalizes.",
        draw_train_loss(quality),
    )


def _show_time(analysis: Analysis) -> Iterator[Exhibit]:
    times = tabulate_time(analysis)
    if not times.is_empty():
        yield _exhibit(
            "time",
            _time_title(analysis),
            "Steps times seconds per step, measured while nothing else of ours ran. Hollow "
            "marks: the target was not reached by then.",
            draw_time(times),
        )


def _show_curves_that_decide(analysis: Analysis) -> Iterator[Exhibit]:
    if analysis.target is not None:
        fit = tabulate_fit(analysis)
        how = "" if fit.is_empty() else _HOW_FIT_IS_READ
        yield _exhibit(
            "to-target",
            f"Steps and {analysis.unit} until {analysis.target}",
            f"Fewer steps with a larger batch, up to a point; more examples beyond it.{how}",
            draw_to_target(tabulate_to_target(analysis), fit, analysis.critical),
        )
    steps = tabulate_step_time(analysis)
    if not steps.is_empty():
        yield _exhibit(
            "step-time",
            "Time of a step",
            "Flat where the hardware has room, rising with the batch beyond. Steps to the target "
            "times this is the time below.",
            draw_step_time(steps),
        )


def _show_rates(analysis: Analysis) -> Iterator[Exhibit]:
    title = "The learning rate was searched at every batch size"
    note = f"Final {analysis.metric} on validation data, mean over seeds"
    if analysis.to_target_only:
        title = "The settings that were tried"
        note = (
            f"The {analysis.metric} at which each run ended: at the target, or without it at the "
            "end of its budget"
        )
    yield _exhibit(
        "rates",
        title,
        f"{note}; the rate that was chosen is in brackets; {GIVEN_UP} was given up, {DIVERGED} "
        "diverged.",
        draw_rates(tabulate_rates(analysis), metric=analysis.metric),
    )


def _show_curves(analysis: Analysis) -> Iterator[Exhibit]:
    curves = tabulate_training_curves(analysis)
    most = max(len(size.curves) for size in analysis.tuned)
    fewer = describe_sample(most, CURVES_PER_SIZE, "seeds at each size")
    yield _exhibit(
        "curves-quality",
        f"{analysis.metric.replace('_', ' ').capitalize()} during training, validation data",
        "Each size at its best rate, a line per seed. Tap a size in the legend to hide it." + fewer,
        draw_training_curves(curves, column="quality", name=analysis.metric, unit=analysis.unit),
    )
    yield _exhibit(
        "curves-loss",
        "Training loss during training",
        "Each size at its best rate, a line per seed." + fewer,
        draw_training_curves(curves, column="train_loss", name="training loss", unit=analysis.unit),
    )


def _show_collapse(analysis: Analysis) -> Iterator[Exhibit]:
    collapse, target = analysis.collapse, analysis.target
    if collapse is None or target is None or not isinstance(collapse.gamma, Interval):
        return
    gamma, metric = collapse.gamma.value, target.metric
    on_axis, on_steps, on_examples = (f"{x:.2g}" for x in collapse.scatter)
    yield _exhibit(
        "collapse",
        _COUNTS[collapse.axis],
        f"The axis on which the curves of different batch sizes lie closest: gamma is "
        f"{collapse.gamma}, 0 for steps and 1 for {analysis.unit}. They scatter by {on_axis} (in "
        f"the log) there, by {on_steps} on steps, by {on_examples} on {analysis.unit}, read at "
        "the dotted levels.",
        draw_collapse(
            tabulate_collapse(analysis, metric=metric, gamma=gamma),
            metric=metric,
            gamma=gamma,
            levels=collapse.levels,
        ),
    )


def _show_epochs(analysis: Analysis) -> Iterator[Exhibit]:
    if not analysis.epochs:
        return
    unit = analysis.epochs[0].unit
    yield _exhibit(
        "epochs",
        "How long training went on to pay",
        f"Until where {analysis.metric.replace('_', ' ')} on validation data is shown to improve "
        "beyond what seeds differ by, of the whole budget.",
        draw_epochs(tabulate_epochs(analysis), unit=unit),
    )


def _show_runs(analysis: Analysis) -> Iterator[Exhibit]:
    column = quality_column(analysis)
    yield _exhibit(
        "all-runs",
        f"The {len(analysis.curves)} runs",
        f"A line is a run, coloured by its {column.replace('_', ' ')}; drag along an axis to pick "
        "some. Seconds are those of the whole run; one that was begun anew for longer counts once."
        + describe_sample(len(analysis.curves), RUNS, "runs"),
        draw_all_runs(tabulate_runs_seen(analysis), metric=column),
    )


def _exhibit(name: str, title: str, note: str, figure: go.Figure) -> Exhibit:
    return Exhibit(name=name, title=title, note=note, html=to_div(figure, f"figure-{name}"))


def _quality_title(analysis: Analysis, metric: str) -> str:
    fixed = analysis.fixed_rate
    if fixed is None or len(analysis.sizes) < 2:
        return f"{metric.capitalize()} at each batch size"
    first, last = fixed.ends
    tuned = analysis.sizes[-1]
    shown = tuned.quality if tuned.test_quality is None else tuned.test_quality
    remains = f"; re-tuned, it is {shown.value:.2g} there" if isinstance(shown, Interval) else ""
    return (
        f"At one rate, {fixed.learning_rate:g}, {metric} goes from {first.quality:.2g} at batch "
        f"size {first.batch_size} to {last.quality:.2g} at {last.batch_size}{remains}"
    )


def _time_title(analysis: Analysis) -> str:
    if analysis.fastest is None:
        return "Training time at each batch size"
    return f"Batch size {analysis.fastest.best} reaches {analysis.target} in the least time"


def write_whole(text: str, path: Path) -> str:
    """Write a file so that it is never half there."""
    target = path.absolute()
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, suffix=".html.part")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except OSError as error:
        raise StoreError(
            f"cannot write the report: {error.strerror}",
            where=str(target),
            expected="a folder that exists, can be written and has room",
            do="name another place with --output",
        ) from error
    return str(target)
