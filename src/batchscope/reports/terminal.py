"""Results in a terminal of 80 columns."""

import math
import statistics
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from batchscope.decisions.laws import Extrapolation
from batchscope.decisions.recommendation import Recommendation, Spent
from batchscope.decisions.steps import Forecast
from batchscope.estimate import Estimate, Interval, NotIdentified, scale, write_number
from batchscope.findings.analysis import Analysis
from batchscope.findings.curves import Curve, test_column
from batchscope.findings.sizes import SizeFindings
from batchscope.records import Run
from batchscope.replications.reproducing import Replication
from batchscope.reports.readings import Reading, describe
from batchscope.verbs.costing import Costs
from batchscope.verbs.preview import Preview
from batchscope.verbs.profiling import Profile
from batchscope.verbs.standing import Standing
from batchscope.verbs.studying import Study


def show_profile(console: Console, profile: Profile) -> None:
    """Seconds per step, a row per batch size."""
    _print(console, f"{profile.task} on {profile.device}, {profile.threads} threads")
    table = _table("batch size", "ms per step", f"{profile.unit} per second", "steps timed")
    for size in profile.sizes:
        milliseconds = str(scale(size.step_seconds, 1000, unit=""))
        table.add_row(
            str(size.batch_size),
            milliseconds,
            _short(size.examples_per_second),
            str(size.timed_steps),
        )
    console.print(table)
    _print(
        console,
        f"Batch size {profile.smallest_efficient} is the smallest with 95% of the best throughput. "
        "Medians with their 95% intervals.",
    )
    law = profile.law
    if isinstance(law.knee, Interval):
        _print(
            console,
            f"Half of a step is its examples' own from a batch of {law.knee} on.",
        )
    for jump in law.jumps:
        _print(
            console,
            f"Between {jump.after} and {jump.before} a step takes {jump.factor:.2f} times as long "
            "as the batch explains.",
        )


def show_reading(console: Console, reading: Reading) -> None:
    """What an instrument measured: its estimates, then what follows."""
    shown = describe(reading)
    _print(console, shown.title)
    table = _table("", "", "", "")
    table.show_header = False
    table.columns[0].justify = "left"
    for name, estimate in shown.rows:
        if isinstance(estimate, Interval):
            value, interval = _short(estimate).split("\n")
            table.add_row(name, value, interval, estimate.unit)
        else:
            table.add_row(name, *_write_bound(estimate))
    console.print(table)
    for sentence in shown.sentences:
        _print(console, f"- {sentence}", indent=2)


def _write_bound(estimate: NotIdentified) -> tuple[str, str, str]:
    for bound, words in ((estimate.low, "more than"), (estimate.high, "at most")):
        if bound is not None:
            return words, write_number(bound), estimate.unit
    return "", "not identified", ""


def show_study(console: Console, study: Study) -> None:
    """What a study did, and what to do next."""
    diverged = sum(run.status == "diverged" for run in study.runs)
    _print(
        console,
        f"Study {study.id} of {study.task}: {len(study.runs)} runs, {study.trained} trained now, "
        f"{diverged} diverged.",
    )
    if study.grid_examples:
        share = study.examples / study.grid_examples
        _print(
            console,
            f"It processed {study.examples:,} examples, {share:.0%} of what the exhaustive grid "
            f"would (five rates, {study.plan.seeds} seeds, every batch size).",
        )
    _print(console, f"The same again: batchscope study --config {study.settings}")
    _print(console, f"Next: batchscope analyze {study.store}")


def show_standing(console: Console, standing: Standing) -> None:
    """What is done, a row per run that is under way, and what is left."""
    done = ", ".join(f"{number} {status.replace('_', ' ')}" for status, number in standing.done)
    _print(console, f"Done: {done or 'nothing yet'}; {standing.seconds:,.0f} s of training.")
    if standing.running:
        table = _table("spent", "train loss", "run")
        for claim in standing.running:
            loss = claim.progress.loss
            table.add_row(
                f"{claim.progress.share:.0%}", "" if loss is None else f"{loss:.4g}", claim.label
            )
        console.print(table)
        _print(console, f"By {_join_owners(standing)}.")
    else:
        _print(console, "Nobody trains for it now.")
    if standing.left:
        _print(console, f"Left: about {standing.left}.")
    if standing.spared > 0:
        _print(console, f"Saved by ending runs early: {standing.spared:.0%} of whole runs.")


def _join_owners(standing: Standing) -> str:
    return ", ".join(sorted({claim.owner for claim in standing.running}))


def show_preview(console: Console, preview: Preview) -> None:
    """What a study would train, a row per batch size."""
    _print(console, f"Study of {preview.task}, about {preview.runs} runs; nothing was started.")
    table = _table("batch size", "runs", "steps each", "seconds each", "MiB a step", "rates")
    for size in preview.sizes:
        table.add_row(
            str(size.batch_size),
            str(size.runs),
            "" if size.steps is None else f"{size.steps:,}",
            "not timed" if size.seconds is None else write_number(size.seconds),
            "not known" if size.peak_bytes is None else write_number(size.peak_bytes / 2**20),
            ", ".join(f"{rate:g}" for rate in size.rates),
        )
    console.print(table)
    if preview.seconds is None:
        _print(console, f"For the time first: batchscope profile {preview.task}")
    else:
        _print(console, f"About {write_number(preview.seconds)} s of one worker in all.")
    _print(
        console,
        "Memory is what a step's tensors take, predicted without running one; the framework's own "
        "and the allocator's come on top.",
    )


def show_analysis(console: Console, analysis: Analysis) -> None:
    """The findings, a row per batch size and then in sentences."""
    console.print(_tabulate(analysis, chosen=None, plateau=()))
    _explain_table(console, analysis, marks="")
    settled = [finding for finding in analysis.findings if not finding.is_open]
    left_open = [finding for finding in analysis.findings if finding.is_open]
    for finding in settled:
        _print(console, f"- {finding}", indent=2)
    if left_open:
        _print(console, "Open, what is cheapest to settle first:")
    for finding in left_open:
        _print(console, f"- {finding}", indent=2)
    if analysis.notes:
        _print(console, f"Read from the table: {'; '.join(analysis.notes)}.")


def show_costs(console: Console, found: Costs) -> None:
    """What each batch size costs, a row each, and what going to the next one does."""
    _print(console, f"To {found.target}")
    has_money = any(isinstance(c.total, Interval) and c.total.value > 0 for c in found.costs)
    has_energy = any(isinstance(c.kilowatt_hours, Interval) for c in found.costs)
    heads = ["batch size", "seconds", "device-hours"]
    heads += ["total cost"] if has_money else []
    heads += ["kWh"] if has_energy else []
    table = _table(*heads)
    for cost in found.costs:
        mark = " *" if cost.use.batch_size in found.frontier else ""
        row = [f"{cost.use.batch_size:,}{mark}", _short(cost.seconds), _short(cost.device_hours)]
        row += [_short(cost.total)] if has_money else []
        row += [_short(cost.kilowatt_hours)] if has_energy else []
        table.add_row(*row)
    console.print(table)
    _print(console, "* no other batch size is both faster and cheaper. Means with 95% intervals.")
    _print(console, f"Cheapest: {found.cheapest:,}. Fastest: {found.fastest:,}.")
    for sentence in found.sentences:
        _print(console, f"- {sentence}")


def show_forecast(console: Console, found: Forecast) -> None:
    """What batch sizes need that were never run, and how far off that is at those that were."""
    _print(console, f"To {found.target}")
    table = _table("batch size", "examples", "predicted from the others", "off by")
    for one in found.left_out:
        predicted = one.predicted
        off = "-"
        if isinstance(predicted, Interval):
            off = f"{100 * (predicted.value / one.measured - 1):+.0f}%"
        measured = write_number(one.measured)
        table.add_row(f"{one.batch_size:,}", measured, _short(predicted), off)
    for size, estimate in found.examples.items():
        table.add_row(f"{size:,}", "never run", _short(estimate), "")
    console.print(table)
    reasons = {e.reason for e in found.examples.values() if isinstance(e, NotIdentified)}
    for reason in sorted(reasons):
        _print(console, f"Not identified: {reason}.")
    if found.error is not None:
        share = f"{100 * found.error:.0f}%"
        _print(console, f"Leaving one batch size out is off by {share} (median). 90% intervals.")


def show_laws(console: Console, found: Extrapolation) -> None:
    """What each law says, and how far outside what it was fitted on."""
    _print(console, str(found))
    table = _table("law", "of", "says", "outside its data by", "off on your runs")
    for said in found.said:
        away = said.doublings_outside
        errors = ", ".join(f"{error:.2g} times" for error in said.errors)
        table.add_row(
            said.law.name,
            said.law.what,
            f"{write_number(said.value)} {said.law.unit}".rstrip(),
            f"{away:.1f} doublings" if away > 0 else "nothing",
            errors or "not measured",
        )
    console.print(table)
    for source in dict.fromkeys(said.law.source for said in found.said):
        _print(console, f"- {source}")
    _print(
        console,
        "Laws are no measurement: a batch size found on a small model of your own, given with "
        "--measured, moves them and shows how far each errs.",
    )


def show_replication(console: Console, found: Replication) -> None:
    """Each claim with its verdict, those that do not hold first."""
    _print(console, found.study.data)
    _print(console, f"{found.study.title}: {found.study.source}")
    if found.is_control:
        kills = ", ".join(found.study.kills)
        _print(console, f"Control: {found.study.control}. Must not hold here: {kills}.")
    for one in found.judged:
        claim = one.claim
        _print(console, f"{claim.id} {claim.name}: {one.verdict.upper()}")
        theirs = "" if claim.source is None else f", theirs {write_number(claim.source)}"
        unverified = " (unverified)" if theirs and claim.is_unverified else ""
        _print(
            console,
            f"{one.estimate}, asked {claim.direction} {write_number(claim.margin)}{theirs}"
            f"{unverified}; p holds {one.p_holds:.2g}, does not {one.p_does_not_hold:.2g}",
            indent=3,
        )
        if one.seeds_needed is not None:
            _print(console, f"{one.seeds_needed:,} seeds would tell", indent=3)
        if one.cause:
            _print(console, f"why: {one.cause}", indent=3)
    for note in found.measured.notes:
        _print(console, note)


def show_recommendation(console: Console, recommendation: Recommendation) -> None:
    """The answer, the evidence and the lines to paste."""
    analysis = recommendation.analysis
    console.print(
        _tabulate(analysis, chosen=recommendation.batch_size, plateau=recommendation.plateau)
    )
    _explain_table(console, analysis, marks="; > recommended, = equivalent")
    console.print()
    console.print(Text(recommendation.answer, style="bold"))
    for reason in recommendation.reasons:
        _print(console, f"- {reason}", indent=2)
    spent = recommendation.spent
    _print(
        console,
        f"- Spent in all: {spent.runs} runs, {write_number(spent.examples)} {analysis.unit}, "
        f"{write_number(spent.seconds)} s of training{_share(spent)}.",
        indent=2,
    )
    console.print()
    _print(console, "For your training script:")
    for line in recommendation.script.splitlines():
        _print(console, f"    {line}")
    _print(console, "To narrow the interval:")
    _print(console, f"    {recommendation.next_command}")


def show_runs(console: Console, runs: Sequence[Run]) -> None:
    """A row per run."""
    table = _table("batch size", "rate", "seed", "status", "steps", "train loss", "val loss", "s")
    for run in runs:
        configuration, trajectory = run.configuration, run.trajectory
        has_rows = bool(trajectory.columns)
        table.add_row(
            str(configuration.batch_size),
            f"{configuration.learning_rate:g}",
            str(configuration.seed),
            run.status,
            str(run.steps),
            f"{trajectory.last('train_loss'):.4g}" if has_rows else "",
            f"{trajectory.last('val_loss'):.4g}" if has_rows else "",
            f"{run.provenance.seconds:.1f}",
        )
    console.print(table)


def _tabulate(analysis: Analysis, *, chosen: int | None, plateau: Iterable[int]) -> Table:
    metric = analysis.metric.replace("_", " ")
    has_test = analysis.sizes[0].test_quality is not None
    table = _table(
        "",
        "batch",
        "rate",
        "seconds to target",
        f"test {metric}" if has_test else metric,
        "train loss",
    )
    for size in analysis.sizes:
        mark = ">" if size.batch_size == chosen else "=" if size.batch_size in plateau else ""
        quality = size.quality if size.test_quality is None else size.test_quality
        curves = next(t.curves for t in analysis.tuned if t.batch_size == size.batch_size)
        column = analysis.metric if size.test_quality is None else test_column(analysis.metric)
        table.add_row(
            mark,
            str(size.batch_size),
            _write_rate(size),
            _short(size.seconds, fallback=f"{size.reached} of {size.seeds} seeds\ngot there"),
            _short(quality, fallback=_median(curves, column)),
            _short(size.train_loss, fallback=_median(curves, "train_loss")),
        )
    return table


def _write_rate(size: SizeFindings) -> str:
    if math.isnan(size.learning_rate):
        return "unknown"
    return f"{size.learning_rate:g}{'*' if size.at_edge else ''}"


def _explain_table(console: Console, analysis: Analysis, *, marks: str) -> None:
    edge = "; * at the edge of the rates tried" if any(s.at_edge for s in analysis.sizes) else ""
    _print(
        console,
        f"Medians over seeds with 95% intervals; target {analysis.target}{marks}{edge}.",
    )


def _median(curves: Sequence[Curve], column: str) -> str:
    values = [float(curve.columns[column][-1]) for curve in curves]
    if any(map(math.isnan, values)):
        return "unknown"
    return f"{statistics.median(values):.3g}\n(no interval)"


def _short(estimate: Estimate, *, fallback: str = "not identified") -> str:
    """An estimate without its unit, which the column's head gives, over two lines."""
    if not isinstance(estimate, Interval):
        return fallback
    value, _, interval = str(estimate).removesuffix(f" {estimate.unit}").partition(" ")
    return f"{value}\n{interval}"


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place else "right", overflow="fold")
    return table


def _print(console: Console, text: str, *, indent: int = 0) -> None:
    wrapped = Text(text).wrap(console, console.width - indent)
    for place, line in enumerate(wrapped):
        console.print(Text(" " * (indent if place else 0)) + line, highlight=False)


def _share(spent: Spent) -> str:
    if spent.full_runs is None or spent.share_of_grid is None:
        return ""
    runs, share = write_number(spent.full_runs), f"{spent.share_of_grid:.1%}"
    return f": {runs} trainings of the whole budget, {share} of the exhaustive grid"
