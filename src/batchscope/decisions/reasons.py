"""The reasons of a recommendation, in sentences with their numbers."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from batchscope.decisions.cost import Usage
from batchscope.decisions.limits import chance_within
from batchscope.decisions.memory import MemoryNeed
from batchscope.decisions.odds import NEAR, Odds
from batchscope.decisions.prediction import Prediction
from batchscope.decisions.terms import AXES, PRICED, Terms
from batchscope.decisions.timings import Timings, find_disturbed, median_thirds
from batchscope.estimate import Estimate, Interval, write_number
from batchscope.findings.analysis import TIME_MARGIN, Analysis, SizeFindings
from batchscope.findings.plateau import Plateau

# Of the slowest over the fastest time.
_DRIFT_SAID = 1.1


def explain(
    analysis: Analysis,
    chosen: SizeFindings,
    plateau: Plateau | None,
    timings: Timings,
    predicted: Prediction,
    usage: Usage,
    optimum: Estimate | None,
    terms: Terms,
    memory: MemoryNeed | None,
    odds: Mapping[int, Odds],
    left_out: Sequence[int],
) -> tuple[str, ...]:
    """Why a batch size was chosen.

    Args:
        predicted, usage: of one fresh training at it.
        odds: batch size -> how surely it takes the least, of those that could be weighed.
        left_out: batch sizes that the limits forbid.
    """
    return (
        *_explain_choice(analysis, chosen, terms, plateau, timings, predicted),
        *_explain_odds(odds, chosen.batch_size, terms),
        _explain_split(chosen.batch_size, terms.devices, memory, timings),
        *_explain_optimum(optimum, terms),
        *_explain_usage(usage, terms),
        *_explain_limits(predicted, chosen.batch_size, terms),
        *_explain_left_out(left_out, chosen.batch_size, terms),
    )


def _explain_choice(
    analysis: Analysis,
    chosen: SizeFindings,
    terms: Terms,
    plateau: Plateau | None,
    timings: Timings,
    predicted: Prediction,
) -> list[str]:
    margin = f"{TIME_MARGIN:.0%}"
    if terms.ranked_by == "quality" and plateau is not None:
        margin = write_number(plateau.margin)
    derived = (
        " (derived from the runs: the best size's final value, made easier by a quarter or three "
        "seed deviations, at most half-way to an untrained network's)"
        if analysis.target_derived
        else ""
    )
    said: list[str] = []
    if analysis.target is not None and terms.ranked_by != "quality":
        said = [
            f"The target is {analysis.target}{derived}; batch size {chosen.batch_size} reached it "
            f"with {chosen.reached} of {chosen.seeds} seeds.",
        ]
    if isinstance(predicted.steps, Interval):
        there = "for its whole budget" if terms.ranked_by == "quality" else "to get there"
        said.append(
            f"One fresh training is predicted to need {predicted.steps} and {predicted.examples} "
            f"{there}: {predicted.seconds}."
        )
    else:
        said.append(f"What a fresh training needs is not identified: {predicted.steps.reason}.")
    if terms.ranked_by in AXES:
        said += _comparisons(analysis, chosen, terms, timings)
    said += _speed_reason(chosen.batch_size, timings)
    said += _explain_drift(timings.own(chosen.batch_size))
    if analysis.to_target_only:
        said += _explain_absent(analysis, timings.seconds)
    if plateau is not None and len(plateau.batch_sizes) > 1:
        said.append(
            f"Batch sizes {join_sizes(plateau.batch_sizes)} are equivalent: each was shown, at "
            f"5%, to be within {margin} of every other size."
        )
    ended = "its runs" if analysis.to_target_only else "the budget"
    test = "" if chosen.test_quality is None else f", on test data {chosen.test_quality}"
    said.append(
        f"At the end of {ended} its {analysis.metric} is {chosen.quality}{test}, its training "
        f"loss {chosen.train_loss}."
    )
    if chosen.test_quality is None:
        said.append("The task has no test data: the figures are of the data that chose the rates.")
    if chosen.at_edge:
        said.append(
            f"Its learning rate {chosen.learning_rate:g} lies at the edge of those tried: a wider "
            "search may do better."
        )
    return said


def _explain_odds(odds: Mapping[int, Odds], chosen: int, terms: Terms) -> list[str]:
    own = odds.get(chosen)
    if own is None:
        return []
    least = "the fewest examples" if terms.ranked_by == "examples" else f"the least {terms.least}"
    return [
        f"Of batch sizes {join_sizes(sorted(odds))}, which were repeated, it takes {least} with a "
        f"probability of {own.best:.0%}, and at most {NEAR:.0%} more with {own.near:.0%}."
    ]


def _explain_split(
    batch_size: int, devices: int, memory: MemoryNeed | None, timings: Timings
) -> str:
    if memory is not None:
        return memory.explain(batch_size, timings.slowdowns.get(batch_size))
    each = "" if devices == 1 else f" on each of {devices} devices"
    return (
        f"The micro-batch is {math.ceil(batch_size / devices)}{each}, as it was run here; --memory "
        "says how to split it where there is less."
    )


def _explain_optimum(optimum: Estimate | None, terms: Terms) -> list[str]:
    if terms.ranked_by != "time" or not isinstance(optimum, Interval):
        return []
    per_step = "seconds per step" if terms.is_alike else f"a step's {terms.least}"
    return [
        f"Steps times {per_step}, each by its fitted curve, is lowest near batch size {optimum}."
    ]


def _explain_absent(analysis: Analysis, step_seconds: Mapping[int, Sequence[float]]) -> list[str]:
    """Batch sizes that were timed, and not trained to the target."""
    shown = {size.batch_size for size in analysis.sizes}
    tried = {c.batch_size for c in analysis.curves} - shown
    given_up = {c.batch_size for c in analysis.curves if c.status == "stopped"} & tried
    parts = {
        "Given up, since the target was not in sight at a quarter more than the best "
        "took": given_up,
        "Diverged or too large for memory at every rate tried": tried - given_up,
        "Not trained, since sizes nearer to the choice were worse or the search had spent its "
        "share": set(step_seconds) - shown - tried,
    }
    return [
        f"{why}: batch size{'s' if len(sizes) > 1 else ''} {join_sizes(sorted(sizes))}."
        for why, sizes in parts.items()
        if sizes
    ]


def _comparisons(
    analysis: Analysis, chosen: SizeFindings, terms: Terms, timings: Timings
) -> list[str]:
    """What the smallest and the largest batch size take."""
    # A weighted mean has no unit that would say anything.
    name = terms.ranked_by if len(terms.weights) > 1 else terms.least
    said: list[str] = []
    for other in (analysis.sizes[0], analysis.sizes[-1]):
        if other.batch_size != chosen.batch_size:
            taken = getattr(other, AXES[name])
            if AXES[name] == "seconds":
                taken = timings.lengthen(other.batch_size, taken)
            if name in PRICED:
                taken = terms.usage(taken, other.batch_size).by_name[name]
            said.append(
                f"The {name} to the target at batch size {other.batch_size}, its own best "
                f"rate {other.learning_rate:g}: {taken}."
            )
    return said


def _speed_reason(size: int, timings: Timings) -> list[str]:
    if size not in timings.seconds:
        return []
    medians = {b: float(np.median(times)) for b, times in timings.settled.items()}
    rates = {b: b / median for b, median in medians.items()}
    fastest = max(rates, key=lambda b: rates[b])
    most = (
        "the most of all sizes"
        if size == fastest
        else f"the most is {write_number(rates[fastest])}, at batch size {fastest}"
    )
    timed = f"median of {len(timings.seconds[size])}"
    if timings.again:
        timed += ", at the mean speed before and after the runs"
    return [
        f"A step takes {write_number(1000 * medians[size])} ms ({timed}), "
        f"{write_number(rates[size])} examples per second; {most}."
    ]


def _explain_drift(timings: Sequence[Sequence[float]]) -> list[str]:
    medians = [float(np.median(times)) for times in timings]
    if len(medians) < 2:
        return []
    disturbed = find_disturbed(timings)
    if disturbed is not None:
        when = "after them" if disturbed else "before the runs, by which batch sizes were compared"
        slowest = [max(median_thirds(times)) for times in timings]
        return [
            f"Other programs slowed the timing {when}: {_say_times(slowest)} in the slowest third "
            "of each. The predicted time leaves it out, and is that of a machine with nothing else "
            "to do."
        ]
    if max(medians) < _DRIFT_SAID * min(medians):
        return []
    return [
        f"The machine's speed drifts: {_say_times(medians)}; the predicted time allows for that."
    ]


def _say_times(seconds: Sequence[float]) -> str:
    *first, last = (write_number(1000 * one) for one in seconds)
    return f"timed before the runs and after them, a step took {', '.join(first)} and {last} ms"


def _explain_usage(usage: Usage, terms: Terms) -> list[str]:
    """What one training takes beside its time, as far as that is known."""
    if not usage.shown:
        return []
    parts = [f"{name.lower()} {taken}" for name, taken in usage.shown]
    said = [f"One fresh training takes {', '.join(parts)}, in {usage.device_hours}."]
    priced = [name for name in terms.weights if name in PRICED]
    if priced and terms.is_alike:
        said.append(
            "A second takes as much at every batch size, so that the fastest training is the one "
            f"with the least {' and '.join(priced)}."
        )
    if terms.power is not None and len(terms.power.by_size) > 1:
        said.append(
            f"A device takes {terms.power.words}; between them its power is taken as linear in the "
            "logarithm of the batch size, beyond them as that of the nearest."
        )
    return said


def _explain_limits(predicted: Prediction, batch_size: int, terms: Terms) -> list[str]:
    seconds = predicted.seconds
    if not isinstance(seconds, Interval):
        return []
    return [
        f"One fresh training keeps to {limit.words} with a probability of about "
        f"{chance_within(seconds, limit, reach=predicted.reach):.0%}."
        for limit in terms.limits_at(batch_size)
    ]


def _explain_left_out(sizes: Sequence[int], chosen: int, terms: Terms) -> list[str]:
    """Batch sizes that no training is predicted to keep to the limits at."""
    if not sizes:
        return []
    limits = " and ".join(limit.words for limit in terms.limits_at(chosen))
    return [
        f"Left out, since a training there is not predicted to keep to {limits}: batch "
        f"size{'s' if len(sizes) > 1 else ''} {join_sizes(sizes)}."
    ]


def join_sizes(sizes: Sequence[int]) -> str:
    """8, 16 and 32."""
    words = [str(size) for size in sizes]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
