"""Which batch size to use, what it will cost, how sure that is, and why."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from batchscope.budget import Target
from batchscope.decisions.choosing import choose, repeated_enough
from batchscope.decisions.cost import Usage
from batchscope.decisions.explaining import explain_curves, find_thin
from batchscope.decisions.limits import keep_within
from batchscope.decisions.memory import MemoryNeed
from batchscope.decisions.odds import Odds, weigh_sizes
from batchscope.decisions.optimum import find_optimum
from batchscope.decisions.prediction import Prediction, predict_training
from batchscope.decisions.reasons import explain, join_sizes
from batchscope.decisions.terms import Terms
from batchscope.decisions.timings import Timings
from batchscope.estimate import Estimate
from batchscope.findings.analysis import Analysis, find_best
from batchscope.findings.curves import Curve
from batchscope.findings.tuning import Setting, TunedSize


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What finding out took.

    Attributes:
        runs: trained, diverged ones included.
        examples: trained on or timed, evaluation not counted.
        evaluated: examples that runs were judged by, once for each look; None of stores that do not
            say how many a look takes.
        seconds: of training, added up over workers.
        full_runs: trainings of the whole budget that are as many examples; None where the budget
            does not say how many that is.
        share_of_grid: of the examples of the exhaustive grid, every batch size at five rates with
            three seeds; None likewise.
    """

    runs: int
    examples: int
    seconds: float
    evaluated: int | None = None
    full_runs: float | None = None
    share_of_grid: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What to train with.

    Attributes:
        batch_size: in examples, of all devices.
        micro_batch, accumulation: examples at a time on each device, and how often for one step.
        constants: others that were tuned, in words; empty for none.
        plateau: the batch sizes that are equivalent at the stated margin, the chosen included.
        predicted, usage: for one fresh training up to the target, or through its whole budget where
            quality is what counts.
        memory: what a step takes of what there is; None where no limit was given.
        optimum: where steps times seconds per step, or what else a step takes of the objective, is
            lowest by the two fitted curves, between and beyond the sizes that were run; None
            without both curves.
        second_counts: batch size -> what a second counts in the objective, as a multiple of the
            smallest's; empty where all count alike.
        slowdowns: batch size -> by what accumulating makes a step longer, of those that are split.
        odds: batch size -> how surely it takes the least, of those that were repeated; empty where
            fewer than two were, or quality is what counts.
        doubt: why the choice may well be wrong, in a sentence; None where it was compared over
            seeds with all settings that may be better.
        reasons: sentences with their numbers.
        script: lines to paste into a training script.
        next_command: what would narrow the interval most cheaply.
        report: the page that shows why; None until one is written.
    """

    task: str
    objective: str
    batch_size: int
    learning_rate: float
    constants: str
    micro_batch: int
    accumulation: int
    plateau: tuple[int, ...]
    target: str | None
    predicted: Prediction
    usage: Usage
    memory: MemoryNeed | None
    optimum: Estimate | None
    spent: Spent
    second_counts: Mapping[int, float]
    slowdowns: Mapping[int, float]
    odds: Mapping[int, Odds]
    doubt: str | None
    reasons: tuple[str, ...]
    script: str
    next_command: str
    analysis: Analysis
    report: str | None = None

    def with_report(self, path: str) -> "Recommendation":
        """The same with the page that shows it."""
        return replace(self, report=path)

    def to_dict(self) -> dict[str, object]:
        """The recommendation as JSON."""
        predicted = self.predicted
        return {
            "task": self.task,
            "objective": self.objective,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "constants": self.constants,
            "micro_batch": self.micro_batch,
            "accumulation": self.accumulation,
            "plateau": list(self.plateau),
            "target": self.target,
            "predicted": {
                "seconds": predicted.seconds.to_dict(),
                "steps": predicted.steps.to_dict(),
                "examples": predicted.examples.to_dict(),
            },
            "usage": self.usage.to_dict(),
            "memory": None if self.memory is None else self.memory.to_dict(),
            "optimum": None if self.optimum is None else self.optimum.to_dict(),
            "spent": asdict(self.spent),
            "odds": {str(size): odds.to_dict() for size, odds in self.odds.items()},
            "doubt": self.doubt,
            "reasons": list(self.reasons),
            "thin": list(self.thin),
            "script": self.script,
            "next_command": self.next_command,
            "report": self.report,
        }

    def __repr__(self) -> str:
        return f"Recommendation for {self.task}: {self.answer}"

    def explain(self) -> str:
        """The two curves, their product, the reasons, and where the evidence is thin."""
        parts = [self.answer, "", "Steps to the target x time per step:"]
        parts += explain_curves(self.analysis, self.second_counts, self.slowdowns)
        parts += ["", "Why:", *self.reasons]
        parts += ["", "Where the evidence is thin:", *self.thin] if self.thin else []
        return "\n".join([*parts, "", f"What would narrow it: {self.next_command}"])

    @property
    def thin(self) -> tuple[str, ...]:
        """Sentences on what the choice rests on that further runs could change."""
        return tuple(find_thin(self.analysis))

    @property
    def answer(self) -> str:
        """The choice in one sentence, or two where it is in doubt."""
        doubt = "" if self.doubt is None else f" {self.doubt}"
        others = [size for size in self.plateau if size != self.batch_size]
        equivalent = "no other size is shown to be equivalent"
        if others:
            equivalent = f"{join_sizes(others)} {'is' if len(others) == 1 else 'are'} equivalent"
        tuned = f", {self.constants}" if self.constants else ""
        return (
            f"Use batch size {self.batch_size} with learning rate {self.learning_rate:g}{tuned} "
            f"({equivalent}).{doubt}"
        )


def recommend_from(
    analysis: Analysis,
    *,
    terms: Terms,
    timings: Timings,
    spent: Spent,
    script_for: Mapping[str, str],
    next_command: str,
    memory: MemoryNeed | None = None,
) -> Recommendation:
    """Choose among the settings that were run.

    Args:
        script_for: run -> lines to paste.
        memory: within which the batch is split; None for no limit.

    Raises:
        CannotTell: nothing reached the target, or no size keeps to the limits.
    """

    def second_cost(size: int) -> float:
        """Of a second of whole steps, or of an example."""
        counts_seconds = terms.ranked_by != "examples"
        return terms.second_cost(size) * (timings.slowdown(size) if counts_seconds else 1.0)

    allowed = _keep_within(analysis, terms, timings) if terms.is_limited else analysis
    choice = choose(allowed, terms.ranked_by, unit_cost=second_cost)
    chosen, plateau = choice.size, choice.plateau
    findings = next(s for s in analysis.sizes if s.batch_size == chosen.batch_size)
    predicted = _predict(analysis, chosen, _aim(analysis, terms), timings)
    step_costs = {
        size: [second_cost(size) * seconds for seconds in times]
        for size, times in timings.settled.items()
    }
    critical = analysis.critical
    optimum = None
    if critical is not None and critical.fit is not None:
        optimum = find_optimum(critical.fit, step_costs)
    usage = terms.usage(predicted.seconds, chosen.batch_size)
    micro_batch, accumulation = math.ceil(chosen.batch_size / terms.devices), 1
    if memory is not None:
        micro_batch, accumulation = memory.split(chosen.batch_size)
    odds = _weigh(allowed, terms, step_costs, second_cost)
    kept = {size.batch_size for size in allowed.tuned}
    left_out = [size.batch_size for size in analysis.tuned if size.batch_size not in kept]
    members = plateau.batch_sizes if plateau is not None else (chosen.batch_size,)
    return Recommendation(
        task=analysis.task,
        objective=terms.objective,
        batch_size=chosen.batch_size,
        learning_rate=chosen.learning_rate,
        constants=chosen.constants,
        micro_batch=micro_batch,
        accumulation=accumulation,
        plateau=tuple(sorted({*members, chosen.batch_size})),
        target=None if analysis.target is None else str(analysis.target),
        predicted=predicted,
        usage=usage,
        memory=memory,
        optimum=optimum,
        spent=spent,
        second_counts={} if terms.is_alike else _relate(terms, timings),
        slowdowns={size: timings.slowdown(size) for size in timings.slowdowns},
        odds=odds,
        doubt=choice.doubt,
        reasons=explain(
            analysis,
            findings,
            plateau,
            timings,
            predicted,
            usage,
            optimum,
            terms,
            memory,
            odds,
            left_out,
        ),
        script=script_for[chosen.curves[0].run],
        next_command=next_command,
        analysis=analysis,
    )


def _aim(analysis: Analysis, terms: Terms) -> Target | None:
    """What one fresh training goes on to: None, the whole budget, where its end is what counts."""
    return None if terms.ranked_by == "quality" else analysis.target


def _predict(
    analysis: Analysis, size: TunedSize, target: Target | None, timings: Timings
) -> Prediction:
    """What one fresh training takes, accumulated where it has to be."""
    predicted = predict_training(
        size,
        _settings(analysis.curves),
        target,
        timings=timings.at_each_time(size.batch_size),
        unit=analysis.unit,
    )
    return replace(predicted, seconds=timings.lengthen(size.batch_size, predicted.seconds))


def _relate(terms: Terms, timings: Timings) -> dict[int, float]:
    """What a second counts at each batch size, as a multiple of the smallest one's."""
    costs = {size: terms.second_cost(size) for size in timings.seconds}
    return {size: cost / costs[min(costs)] for size, cost in costs.items()}


def _weigh(
    analysis: Analysis,
    terms: Terms,
    step_costs: Mapping[int, Sequence[float]],
    second_cost: Callable[[int], float],
) -> dict[int, Odds]:
    if analysis.target is None or terms.ranked_by == "quality":
        return {}
    return weigh_sizes(
        repeated_enough(analysis.tuned, analysis.target, terms.ranked_by, second_cost),
        analysis.target,
        step_costs if terms.ranked_by == "time" else None,
    )


def _keep_within(analysis: Analysis, terms: Terms, timings: Timings) -> Analysis:
    """The findings of the sizes whose training keeps to the limits, compared among themselves."""
    target = _aim(analysis, terms)
    seconds = {
        size.batch_size: _predict(analysis, size, target, timings).seconds
        for size in analysis.tuned
    }
    kept = keep_within(seconds, terms.limits_at, task=analysis.task, target=target)
    tuned = tuple(size for size in analysis.tuned if size.batch_size in kept)
    plateau = analysis.plateau
    if plateau is not None:
        plateau = find_best(tuned, analysis.metric, higher=analysis.higher, margin=analysis.margin)
    return replace(analysis, tuned=tuned, plateau=plateau)


def _settings(curves: Sequence[Curve]) -> list[list[Curve]]:
    """The runs of each setting that came to their end."""
    groups: dict[tuple[int, Setting], list[Curve]] = {}
    for curve in curves:
        if curve.finished:
            groups.setdefault((curve.batch_size, curve.setting), []).append(curve)
    return list(groups.values())
