"""Results in a terminal of 80 columns."""

import math
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from batchscope.decisions.recommendation import Recommendation, Spent
from batchscope.estimate import Interval, NotIdentified, scale, write_number
from batchscope.findings.analysis import Analysis
from batchscope.findings.claims import Judged
from batchscope.findings.curves import test_column
from batchscope.findings.sizes import SizeFindings
from batchscope.replications.reproducing import Replication
from batchscope.reports.endings import write_median
from batchscope.reports.readings import Reading, describe
from batchscope.reports.terminal_parts import make_table, say, say_command, shorten
from batchscope.verbs.listing import RunList
from batchscope.verbs.preview import Preview
from batchscope.verbs.profiling import Profile
from batchscope.verbs.standing import Standing
from batchscope.verbs.studying import Study


def show_profile(console: Console, profile: Profile) -> None:
    """Seconds per step, a row per batch size."""
    say(console, f"{profile.task} on {profile.device}, {profile.threads} threads")
    table = make_table("batch size", "ms per step", f"{profile.unit} per second", "steps timed")
    for size in profile.sizes:
        milliseconds = str(scale(size.step_seconds, 1000, unit=""))
        table.add_row(
            str(size.batch_size),
            milliseconds,
            shorten(size.examples_per_second),
            str(size.timed_steps),
        )
    console.print(table)
    say(
        console,
        f"Batch size {profile.smallest_efficient} is the smallest with 95% of the best throughput. "
        "Medians with their 95% intervals.",
    )
    law = profile.law
    if isinstance(law.knee, Interval):
        say(
            console,
            f"Half of a step is its examples' own from a batch of {law.knee} on.",
        )
    for jump in law.jumps:
        say(
            console,
            f"Between {jump.after} and {jump.before} a step takes {jump.factor:.2f} times as long "
            "as the batch explains.",
        )


def show_reading(console: Console, reading: Reading) -> None:
    """What an instrument measured: its estimates, then what follows."""
    shown = describe(reading)
    say(console, shown.title)
    table = make_table("", "", "", "")
    table.show_header = False
    table.columns[0].justify = "left"
    for name, estimate in shown.rows:
        if isinstance(estimate, Interval):
            value, interval = shorten(estimate).split("\n")
            table.add_row(name, value, interval, estimate.unit)
        else:
            table.add_row(name, *_write_bound(estimate))
    console.print(table)
    for sentence in shown.sentences:
        say(console, f"- {sentence}", indent=2)


def _write_bound(estimate: NotIdentified) -> tuple[str, str, str]:
    for bound, words in ((estimate.low, "more than"), (estimate.high, "at most")):
        if bound is not None:
            return words, write_number(bound), estimate.unit
    return "", "not identified", ""


def show_study(console: Console, study: Study) -> None:
    """What a study did, and what to do next."""
    diverged = sum(run.status == "diverged" for run in study.runs)
    say(
        console,
        f"Study {study.id} of {study.task}: {len(study.runs)} runs, {study.trained} trained now, "
        f"{diverged} diverged.",
    )
    if study.grid_examples:
        share = study.examples / study.grid_examples
        say(
            console,
            f"It processed {study.examples:,} examples, {share:.0%} of what the exhaustive grid "
            f"would (five rates, {study.plan.seeds} seeds, every batch size).",
        )
    say(console, f"The same again: batchscope study --config {study.settings}")
    say(console, f"Next: batchscope analyze {study.store}")


def show_standing(console: Console, standing: Standing) -> None:
    """What is done, a row per run that is under way, and what is left."""
    done = ", ".join(f"{number} {status.replace('_', ' ')}" for status, number in standing.done)
    say(console, f"Done: {done or 'nothing yet'}; {standing.seconds:,.0f} s of training.")
    if standing.running:
        table = make_table("spent", "train loss", "run")
        for claim in standing.running:
            loss = claim.progress.loss
            table.add_row(
                f"{claim.progress.share:.0%}", "" if loss is None else f"{loss:.4g}", claim.label
            )
        console.print(table)
        say(console, f"By {_join_owners(standing)}.")
    else:
        say(console, "Nobody trains for it now.")
    if standing.left:
        say(console, f"Left: about {standing.left}.")
    if standing.spared > 0:
        say(console, f"Saved by ending runs early: {standing.spared:.0%} of whole runs.")


def _join_owners(standing: Standing) -> str:
    return ", ".join(sorted({claim.owner for claim in standing.running}))


def show_preview(console: Console, preview: Preview) -> None:
    """What a study would train, a row per batch size."""
    further = ", and further seeds as far as --detect needs them" if preview.plan.detect else ""
    say(
        console,
        f"Study of {preview.task}, about {preview.runs} runs{further}; nothing was started.",
    )
    table = make_table("batch size", "runs", "steps each", "seconds each", "MiB a step", "rates")
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
        say(console, f"For the time first: batchscope profile {preview.task}")
    else:
        say(console, f"About {write_number(preview.seconds)} s of one worker in all.")
    say(
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
        say(console, f"- {finding}", indent=2)
    if left_open:
        say(console, "Open, what is cheapest to settle first:")
    for finding in left_open:
        say(console, f"- {finding}", indent=2)
    if analysis.notes:
        say(console, f"Read from the table: {'; '.join(analysis.notes)}.")


def show_replication(console: Console, found: Replication) -> None:
    """Each claim with its verdict, those that do not hold first."""
    say(console, found.data)
    say(console, f"{found.study.title}: {found.study.source}")
    if found.is_control:
        kills = ", ".join(found.kills)
        say(console, f"Control: {found.control}. Must not hold here: {kills}.")
    for one in found.judged:
        claim = one.claim
        say(console, f"{claim.id} {claim.name}: {_shout(one)}")
        theirs = "" if claim.source is None else f", theirs {write_number(claim.source)}"
        unverified = " (unverified)" if theirs and claim.is_unverified else ""
        say(
            console,
            f"{one.estimate}, asked {claim.direction} {write_number(claim.margin)}{theirs}"
            f"{unverified}; p holds {one.p_holds:.2g}, does not {one.p_does_not_hold:.2g}",
            indent=3,
        )
        if one.seeds_needed is not None:
            say(console, f"{one.seeds_needed:,} seeds would tell", indent=3)
        if one.cause:
            say(console, f"why: {one.cause}", indent=3)
    for note in found.measured.notes:
        say(console, note)


def _shout(judged: Judged) -> str:
    return judged.words.replace(judged.verdict, judged.verdict.upper(), 1)


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
        say(console, f"- {reason}", indent=2)
    spent = recommendation.spent
    say(
        console,
        f"- Spent in all: {spent.runs} runs, {write_number(spent.examples)} {analysis.unit}, "
        f"{write_number(spent.seconds)} s of training{_share(spent)}.{_evaluated(spent)}",
        indent=2,
    )
    console.print()
    say(console, "For your training script:")
    for line in recommendation.script.splitlines():
        say(console, f"    {line}")
    say(console, "To narrow the interval:")
    say_command(console, recommendation.next_command)


def show_runs(console: Console, found: RunList) -> None:
    """A row per run."""
    runs, statuses = found.runs, found.statuses
    known = dict.fromkeys(name for run in runs for name in run.trajectory.columns)
    # The task's own metrics, each of which is read on training data as well.
    metrics = [name for name in known if f"train_{name}" in known]
    shown = [*metrics[:1], "train_loss", "val_loss"]
    heads = [name.replace("_", " ") for name in shown]
    table = make_table("batch", "rate", "seed", "status", "steps", *heads, "seconds")
    for run in runs:
        configuration, trajectory = run.configuration, run.trajectory
        table.add_row(
            str(configuration.batch_size),
            f"{configuration.learning_rate:g}",
            str(configuration.seed),
            statuses[run.key],
            str(run.steps),
            *(
                f"{trajectory.last(name):.4g}" if name in trajectory.columns else ""
                for name in shown
            ),
            write_number(run.provenance.seconds),
        )
    console.print(table)


def _tabulate(analysis: Analysis, *, chosen: int | None, plateau: Iterable[int]) -> Table:
    metric = analysis.metric.replace("_", " ")
    has_test = analysis.sizes[0].test_quality is not None
    is_timed = any(isinstance(size.seconds, Interval) for size in analysis.sizes)
    table = make_table(
        "",
        "batch",
        "rate",
        f"{'seconds' if is_timed else analysis.unit} to target",
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
            shorten(
                size.seconds if is_timed else size.examples,
                fallback=f"{size.reached} of {size.seeds} seeds\ngot there",
            ),
            shorten(quality, fallback=f"{write_median(curves, column)}\n(no interval)"),
            shorten(
                size.train_loss, fallback=f"{write_median(curves, 'train_loss')}\n(no interval)"
            ),
        )
    return table


def _write_rate(size: SizeFindings) -> str:
    if math.isnan(size.learning_rate):
        return "unknown"
    return f"{size.learning_rate:g}{'*' if size.at_edge else ''}"


def _explain_table(console: Console, analysis: Analysis, *, marks: str) -> None:
    edge = "; * at the edge of the rates tried" if any(s.at_edge for s in analysis.sizes) else ""
    say(
        console,
        "Means over seeds (medians where some missed the target) with 95% intervals; target "
        f"{analysis.target}{marks}{edge}.",
    )
    if analysis.to_target_only:
        say(
            console,
            "A run ends at the target, or without it at the end of its budget: the last two "
            "columns are of there.",
        )


def _evaluated(spent: Spent) -> str:
    if spent.evaluated is None:
        return ""
    return f" Evaluation, not counted there, looked at {write_number(spent.evaluated)}."


def _share(spent: Spent) -> str:
    if spent.full_runs is None or spent.share_of_grid is None:
        return ""
    runs, share = write_number(spent.full_runs), f"{spent.share_of_grid:.1%}"
    return f": {runs} trainings of the whole budget, {share} of the exhaustive grid"
