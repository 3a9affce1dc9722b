"""Which batch size to use, what it will cost, how sure that is, and why."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from batchscope.decisions.explaining import explain_curves, find_thin
from batchscope.decisions.limits import chance_in_time, keep_in_time
from batchscope.decisions.optimum import find_optimum
from batchscope.decisions.prediction import Prediction, predict_training
from batchscope.errors import CannotTell
from batchscope.estimate import Estimate, Interval, write_number
from batchscope.findings.analysis import TIME_MARGIN, Analysis, SizeFindings, find_fastest
from batchscope.findings.curves import Curve
from batchscope.findings.plateau import Plateau
from batchscope.findings.tuning import Setting, TunedSize

_THIRDS = 3
_AXES = {"time": "seconds", "examples": "examples"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What finding out took.

    Attributes:
        runs: trained, diverged ones included.
        examples: trained on or timed, evaluation not counted.
        seconds: of training, added up over workers.
        full_runs: trainings of the whole budget that are as many examples; None where the budget
            does not say how many that is.
        share_of_grid: of the examples of the exhaustive grid, every batch size at five rates with
            three seeds; None likewise.
    """

    runs: int
    examples: int
    seconds: float
    full_runs: float | None = None
    share_of_grid: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What to train with.

    Attributes:
        batch_size, micro_batch: in examples; accumulation x micro_batch >= batch_size.
        constants: others that were tuned, in words; empty for none.
        plateau: the batch sizes that are equivalent at the stated margin, the chosen included.
        predicted: for one fresh training up to the target.
        optimum: where steps times seconds per step is lowest by the two fitted curves, between and
            beyond the sizes that were run; None without both curves.
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
    optimum: Estimate | None
    spent: Spent
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
            "optimum": None if self.optimum is None else self.optimum.to_dict(),
            "spent": asdict(self.spent),
            "reasons": list(self.reasons),
            "script": self.script,
            "next_command": self.next_command,
            "report": self.report,
        }

    def __repr__(self) -> str:
        return f"Recommendation for {self.task}: {self.answer}"

    def explain(self) -> str:
        """The two curves, their product, the reasons, and where the evidence is thin."""
        parts = [self.answer, "", "Steps to the target x time per step:"]
        parts += explain_curves(self.analysis)
        parts += ["", "Why:", *self.reasons]
        thin = find_thin(self.analysis)
        parts += ["", "Where the evidence is thin:", *thin] if thin else []
        return "\n".join([*parts, "", f"What would narrow it: {self.next_command}"])

    @property
    def answer(self) -> str:
        """The choice in one sentence."""
        others = [size for size in self.plateau if size != self.batch_size]
        equivalent = "no other size is shown to be equivalent"
        if others:
            equivalent = f"{_join(others)} {'is' if len(others) == 1 else 'are'} equivalent"
        tuned = f", {self.constants}" if self.constants else ""
        return (
            f"Use batch size {self.batch_size} with learning rate {self.learning_rate:g}{tuned} "
            f"({equivalent})."
        )


def recommend_from(
    analysis: Analysis,
    *,
    objective: str,
    step_seconds: Mapping[int, Sequence[float]],
    spent: Spent,
    script_for: Mapping[str, str],
    next_command: str,
    deadline: float | None = None,
) -> Recommendation:
    """Choose among the settings that were run.

    Objective "time" and "examples": the lowest geometric mean over seeds among sizes whose every
    seed reached the target. Objective "quality": of the sizes that are equivalent to the best, the
    one that spends its budget fastest.

    Args:
        step_seconds: batch size -> the timed steps.
        script_for: run -> lines to paste.
        deadline: seconds that one training may take; None for no limit.

    Raises:
        CannotTell: no size can be compared, or none meets the deadline.
    """
    whole = analysis
    if deadline is not None:
        analysis = _keep_in_time(analysis, deadline, step_seconds)
    plateau = _find_plateau(analysis, objective)
    chosen = _choose(analysis, objective, plateau)
    analysis = whole
    findings = next(s for s in analysis.sizes if s.batch_size == chosen.batch_size)
    times = step_seconds.get(chosen.batch_size, ())
    predicted = predict_training(
        chosen,
        _settings(analysis.curves),
        analysis.target,
        step_spread=_log_spread(times),
        unit=analysis.unit,
    )
    critical = analysis.critical
    optimum = None
    if critical is not None and critical.fit is not None:
        optimum = find_optimum(critical.fit, step_seconds)
    members = plateau.batch_sizes if plateau is not None else (chosen.batch_size,)
    return Recommendation(
        task=analysis.task,
        objective=objective,
        batch_size=chosen.batch_size,
        learning_rate=chosen.learning_rate,
        constants=chosen.constants,
        micro_batch=chosen.batch_size,
        accumulation=1,
        plateau=tuple(sorted({*members, chosen.batch_size})),
        target=None if analysis.target is None else str(analysis.target),
        predicted=predicted,
        optimum=optimum,
        spent=spent,
        reasons=(
            *_reasons(analysis, findings, objective, plateau, step_seconds, predicted),
            *_explain_optimum(optimum, objective),
            *_explain_deadline(predicted.seconds, deadline),
        ),
        script=script_for[chosen.curves[0].run],
        next_command=next_command,
        analysis=analysis,
    )


def _keep_in_time(
    analysis: Analysis, deadline: float, step_seconds: Mapping[int, Sequence[float]]
) -> Analysis:
    """The findings of the sizes whose training ends before a deadline."""
    seconds = {
        size.batch_size: predict_training(
            size,
            _settings(analysis.curves),
            analysis.target,
            step_spread=_log_spread(step_seconds.get(size.batch_size, ())),
            unit=analysis.unit,
        ).seconds
        for size in analysis.tuned
    }
    kept = keep_in_time(seconds, deadline, task=analysis.task, target=str(analysis.target))
    tuned = tuple(size for size in analysis.tuned if size.batch_size in kept)
    plateau = analysis.plateau
    if plateau is not None:
        members = tuple(b for b in plateau.batch_sizes if b in kept)
        plateau = replace(plateau, batch_sizes=members) if members else None
    return replace(analysis, tuned=tuned, plateau=plateau)


def _explain_deadline(seconds: Estimate, deadline: float | None) -> list[str]:
    if deadline is None or not isinstance(seconds, Interval):
        return []
    chance = chance_in_time(seconds, deadline)
    return [
        f"One fresh training ends before the deadline of {write_number(deadline)} s with a "
        f"probability of about {chance:.0%}."
    ]


def _settings(curves: Sequence[Curve]) -> list[list[Curve]]:
    """The runs of each setting that came to their end."""
    groups: dict[tuple[int, Setting], list[Curve]] = {}
    for curve in curves:
        if curve.finished:
            groups.setdefault((curve.batch_size, curve.setting), []).append(curve)
    return list(groups.values())


def _find_plateau(analysis: Analysis, objective: str) -> Plateau | None:
    if objective == "quality":
        return analysis.plateau
    if analysis.target is None:
        return None
    return find_fastest(analysis.tuned, analysis.target, _AXES[objective])


def _choose(analysis: Analysis, objective: str, plateau: Plateau | None) -> TunedSize:
    by_size = {size.batch_size: size for size in analysis.tuned}
    if plateau is None and objective == "time" and _lack_seconds(analysis):
        raise CannotTell(
            "seconds per step were not measured at these batch sizes",
            where=f"recommend {analysis.task}",
            expected="a profile of every batch size of the study",
            do=f"batchscope profile {analysis.task}",
        )
    if plateau is None:
        raise CannotTell(
            f"no batch size reached {analysis.target} with all of at least two seeds"
            if analysis.target is not None
            else "with one seed per batch size nothing can be compared",
            where=f"recommend {analysis.task}",
            expected="one setting that reaches the target with every seed",
            do="an easier --target, a larger --budget, or --seeds 3",
        )
    if objective != "quality":
        return by_size[plateau.best]
    return min(
        (by_size[size] for size in plateau.batch_sizes),
        key=lambda size: (_budget_seconds(size), -size.batch_size),
    )


def _lack_seconds(analysis: Analysis) -> bool:
    return all(math.isnan(c.columns["seconds"][-1]) for t in analysis.tuned for c in t.curves)


def _budget_seconds(size: TunedSize) -> float:
    seconds = [float(curve.columns["seconds"][-1]) for curve in size.curves]
    finite = [x for x in seconds if math.isfinite(x)]
    return float(np.mean(finite)) if finite else math.inf


def _log_spread(times: Sequence[float]) -> float:
    """How far the machine's speed drifts: the deviation of the log medians of three thirds.

    A training averages over its steps, so single slow steps hardly matter to it; the thirds were
    timed in rounds some seconds apart.
    """
    if len(times) < _THIRDS:
        return 0.0
    medians = [np.median(third) for third in np.array_split(np.array(times), _THIRDS)]
    return float(np.std(np.log(medians), ddof=1))


def _reasons(
    analysis: Analysis,
    chosen: SizeFindings,
    objective: str,
    plateau: Plateau | None,
    step_seconds: Mapping[int, Sequence[float]],
    predicted: Prediction,
) -> list[str]:
    margin = f"{TIME_MARGIN:.0%}"
    if objective == "quality" and plateau is not None:
        margin = write_number(plateau.margin)
    derived = (
        " (derived from the runs: the best size's final value, made easier by a quarter or three "
        "seed deviations)"
        if analysis.target_derived
        else ""
    )
    said: list[str] = []
    if analysis.target is not None:
        said = [
            f"The target is {analysis.target}{derived}; batch size {chosen.batch_size} reached it "
            f"with {chosen.reached} of {chosen.seeds} seeds.",
        ]
    said += [
        f"One fresh training is predicted to need {predicted.steps} and {predicted.examples} "
        f"to get there: {predicted.seconds}.",
    ]
    if objective in _AXES:
        said += _comparisons(analysis, chosen, objective)
    said += _speed_reason(chosen.batch_size, step_seconds)
    if analysis.to_target_only:
        said += _explain_absent(analysis, step_seconds)
    if plateau is not None and len(plateau.batch_sizes) > 1:
        said.append(
            f"Batch sizes {_join(plateau.batch_sizes)} are equivalent: each was shown, at 5%, to "
            f"be within {margin} of every other size."
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
    said.append(
        f"The micro-batch is {chosen.batch_size}, the largest that was run of this batch; nothing "
        "is known yet of what fits in memory beyond it."
    )
    return said


def _explain_optimum(optimum: Estimate | None, objective: str) -> list[str]:
    if objective != "time" or not isinstance(optimum, Interval):
        return []
    return [
        "Steps times seconds per step, each by its fitted curve, is lowest near batch size "
        f"{optimum}."
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
    return [f"{why}: batch size {_join(sorted(sizes))}." for why, sizes in parts.items() if sizes]


def _comparisons(analysis: Analysis, chosen: SizeFindings, objective: str) -> list[str]:
    said: list[str] = []
    for other in (analysis.sizes[0], analysis.sizes[-1]):
        if other.batch_size != chosen.batch_size:
            said.append(
                f"The {objective} to the target at batch size {other.batch_size}, its own best "
                f"rate {other.learning_rate:g}: {getattr(other, _AXES[objective])}."
            )
    return said


def _speed_reason(size: int, step_seconds: Mapping[int, Sequence[float]]) -> list[str]:
    if size not in step_seconds:
        return []
    medians = {b: float(np.median(times)) for b, times in step_seconds.items()}
    rates = {b: b / median for b, median in medians.items()}
    fastest = max(rates, key=lambda b: rates[b])
    return [
        f"A step takes {write_number(1000 * medians[size])} ms (median of "
        f"{len(step_seconds[size])}), {write_number(rates[size])} examples per second; the most is "
        f"{write_number(rates[fastest])}, at batch size {fastest}."
    ]


def _join(sizes: Sequence[int]) -> str:
    words = [str(size) for size in sizes]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
