"""What a study's runs say, batch size by batch size."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from batchscope.budget import Target
from batchscope.errors import CannotTell
from batchscope.estimate import Estimate
from batchscope.findings.collapse import Collapse, find_collapse
from batchscope.findings.critical import CriticalBatchSize, find_critical
from batchscope.findings.curves import Curve
from batchscope.findings.default_target import derive_target
from batchscope.findings.epochs import EpochFindings, find_epochs
from batchscope.findings.explanations import (
    explain_collapse,
    explain_critical,
    explain_epochs,
    explain_ladder,
    explain_noise,
    explain_rates,
    explain_verdicts,
)
from batchscope.findings.finding import Finding, rank_findings
from batchscope.findings.fixed_rate import FixedRate, find_fixed_rate
from batchscope.findings.ladder import build_ladder
from batchscope.findings.norm_arms import split_norm_arms
from batchscope.findings.plateau import Plateau, find_plateau
from batchscope.findings.rate_exponent import RateExponent, find_rate_exponent
from batchscope.findings.seeds import estimate_over_seeds
from batchscope.findings.sentences import TIME_MARGIN, explain_sizes
from batchscope.findings.sizes import SizeFindings, describe_size
from batchscope.findings.to_target import need_to_target
from batchscope.findings.tuning import Ranking, TunedSize, tune_sizes
from batchscope.findings.verdicts import Verdict, judge_sizes

_RATE_MARGIN = 0.01
_RELATIVE_MARGIN = 0.02
# Findings in a representation, the most telling first.
_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What a study's runs say.

    Attributes:
        metric, higher: what quality is measured by, and whether higher is better.
        target: what steps, examples and seconds are counted to; None where no seed repeats.
        target_derived: it was computed from these runs.
        unit: what one example is called.
        plateau: sizes whose final quality is equivalent to the best.
        fastest: sizes whose time to the target is equivalent to the best.
        critical: the critical batch sizes at the target; None with one batch size or no target.
        ladder: the same at targets before it.
        verdicts: why larger batches are worse, where they are.
        collapse: the axis on which the curves of different batch sizes coincide.
        rate_exponent: how the best rate moves with the batch size.
        noise: the noise scale early in training, where the table has it.
        epochs: what further epochs brought, at each batch size.
        margin: what counts as no difference in quality.
        fixed_rate: the same at one learning rate; None where no rate was run at every size.
        findings: in words and as data, ranked.
        notes: how a table from elsewhere was read.
        to_target_only: runs ended at the target, so that their final quality says nothing.
    """

    study: str
    task: str
    metric: str
    higher: bool
    target: Target | None
    target_derived: bool
    unit: str
    sizes: tuple[SizeFindings, ...]
    plateau: Plateau | None
    fastest: Plateau | None
    fixed_rate: FixedRate | None
    critical: CriticalBatchSize | None
    ladder: tuple[CriticalBatchSize, ...]
    verdicts: tuple[Verdict, ...]
    collapse: Collapse | None
    rate_exponent: RateExponent
    noise: Estimate | None
    epochs: tuple[EpochFindings, ...]
    margin: float
    diverged: int
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    curves: tuple[Curve, ...]
    tuned: tuple[TunedSize, ...]
    to_target_only: bool = False

    @property
    def sentences(self) -> tuple[str, ...]:
        """The findings in words."""
        return tuple(map(str, self.findings))

    def to_dict(self) -> dict[str, object]:
        """The findings as JSON."""
        return {
            "study": self.study,
            "task": self.task,
            "metric": self.metric,
            "target": None if self.target is None else str(self.target),
            "target_derived": self.target_derived,
            "unit": self.unit,
            "batch_sizes": [size.to_dict() for size in self.sizes],
            "plateau": _plateau_to_dict(self.plateau),
            "fastest": _plateau_to_dict(self.fastest),
            "fixed_rate": None if self.fixed_rate is None else self.fixed_rate.to_dict(),
            "margin": self.margin,
            "critical_batch_size": None if self.critical is None else self.critical.to_dict(),
            "ladder": [rung.to_dict() for rung in self.ladder],
            "verdicts": [verdict.to_dict() for verdict in self.verdicts],
            "collapse": None if self.collapse is None else self.collapse.to_dict(),
            "learning_rate_exponent": self.rate_exponent.to_dict(),
            "noise_scale": None if self.noise is None else self.noise.to_dict(),
            "epochs": [found.to_dict() for found in self.epochs],
            "diverged": self.diverged,
            "findings": [finding.to_dict() for finding in self.findings],
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        shown = self.sentences[:_SHOWN]
        more = len(self.sentences) - len(shown)
        rest = [f"and {more} more in `findings`"] if more else []
        return "\n".join([f"Analysis of study {self.study} of {self.task}", *shown, *rest])


def analyze_curves(
    curves: Sequence[Curve],
    *,
    study: str,
    task: str,
    quality: str,
    higher: bool,
    target: Target | None,
    unit: str,
    rank_by_target: bool = True,
    margin: float | None = None,
    epoch_examples: float | None = None,
    target_derived: bool = False,
    to_target_only: bool = False,
    notes: Sequence[str] = (),
) -> Analysis:
    """Draw the first findings from runs.

    Args:
        quality: the metric to judge by, a column of every curve.
        target: None to derive one from the runs.
        margin: what counts as no difference in quality; None for 0.01 of a share in [0, 1], and
            2% of the best otherwise.
        epoch_examples: in one pass over the training set; None where unknown.
        target_derived: `target` was computed from these runs.
        to_target_only: runs ended at the target, so that their final quality says nothing.
        notes: on how the runs were read.
        rank_by_target: choose rates by what they need to the target; otherwise by quality.

    Raises:
        CannotTell: no run finished; the lowest rate tried is named.
    """
    if not any(curve.finished for curve in curves):
        raise _nothing_finished(curves, task)
    curves, arms = split_norm_arms(curves)
    ranking = Ranking(quality=quality, higher=higher, target=target if rank_by_target else None)
    tuned = tune_sizes(curves, ranking)
    derived = target is None or target_derived
    target = derive_target(tuned, ranking) if target is None else target
    sizes = tuple(describe_size(size, quality, target, unit) for size in tuned)
    if margin is None:
        margin = _quality_margin(_read_finals(tuned, quality, higher), quality)
    plateau = None
    if not to_target_only:
        plateau = find_best(tuned, quality, higher=higher, margin=margin)
    fastest = None if target is None else find_fastest(tuned, target, "seconds")
    fixed = None
    if not to_target_only:
        fixed = find_fixed_rate(_at_usual_constants(curves), ranking, margin=margin)
    rungs = [] if target is None else build_ladder(tuned, target)
    critical = [find_critical(tuned, rung) for rung in rungs]
    epochs: list[EpochFindings | None] = []
    verdicts: list[Verdict] = []
    if not to_target_only:
        epochs = [
            find_epochs(size, quality, higher=higher, epoch_examples=epoch_examples, margin=margin)
            for size in tuned
        ]
        verdicts = judge_sizes(tuned, curves, quality, arms=arms, higher=higher, margin=margin)
    collapse = find_collapse(tuned, rungs) if rungs else None
    exponent = find_rate_exponent(tuned, curves)
    noise = read_noise_scale(tuned, unit)
    return Analysis(
        study=study,
        task=task,
        metric=quality,
        higher=higher,
        target=target,
        target_derived=derived,
        unit=unit,
        sizes=sizes,
        plateau=plateau,
        fastest=fastest,
        fixed_rate=fixed,
        critical=critical[-1] if critical else None,
        ladder=tuple(rung for rung in critical[:-1] if rung is not None),
        verdicts=tuple(verdicts),
        collapse=collapse,
        rate_exponent=exponent,
        epochs=tuple(found for found in epochs if found is not None),
        margin=margin,
        diverged=sum(curve.status == "diverged" for curve in curves),
        noise=noise,
        findings=rank_findings(
            [
                *explain_sizes(
                    sizes,
                    quality,
                    target,
                    plateau,
                    fastest,
                    fixed,
                    to_target_only=to_target_only,
                ),
                *explain_critical(critical[-1] if critical else None, unit),
                *explain_ladder([rung for rung in critical if rung is not None]),
                *explain_verdicts(verdicts),
                *explain_collapse(collapse),
                *(explain_rates(exponent) if len(tuned) > 1 else ()),
                *explain_noise(noise, critical[-1] if critical else None),
                *explain_epochs([found for found in epochs if found is not None]),
            ]
        ),
        notes=tuple(notes),
        curves=tuple(curves),
        tuned=tuple(tuned),
        to_target_only=to_target_only,
    )


def read_noise_scale(tuned: Sequence[TunedSize], unit: str) -> Estimate | None:
    """The noise scale in the first quarter of the examples, over runs and batch sizes."""
    early: list[float] = []
    for size in tuned:
        for curve in size.curves:
            values = curve.columns.get("noise_scale")
            if values is None:
                continue
            examples = curve.columns["examples"]
            first = values[examples <= examples[-1] / 4]
            good = first[np.isfinite(first) & (first > 0)]
            if len(good):
                early.append(float(np.median(good)))
    return estimate_over_seeds(early, unit=unit, log=True) if early else None


def _at_usual_constants(curves: Sequence[Curve]) -> list[Curve]:
    """The runs that were not stopped, of the constants that most were trained with."""
    trained = [curve for curve in curves if curve.status != "stopped"]
    usual = Counter(curve.constants for curve in trained).most_common(1)
    return [curve for curve in trained if curve.constants == usual[0][0]]


def find_best(
    tuned: Sequence[TunedSize], quality: str, *, higher: bool, margin: float
) -> Plateau | None:
    """The sizes that are equivalent in a metric at the end.

    Args:
        higher: whether the metric is better higher.
    """
    return find_plateau(_read_finals(tuned, quality, higher), margin=margin)


def _read_finals(
    tuned: Sequence[TunedSize], quality: str, higher: bool
) -> dict[int, dict[int, float]]:
    """Batch size -> seed -> value, lower is better.

    A single lucky run does not beat a mean, of batch sizes as of rates: sizes with fewer than half
    of the seeds that another has are left out.
    """
    most = max((len(size.curves) for size in tuned), default=0)
    return {
        size.batch_size: {c.seed: _final_value(c, quality, higher) for c in size.curves}
        for size in tuned
        if len(size.curves) >= max(min(2, most), most / 2)
    }


def find_fastest(
    tuned: Sequence[TunedSize],
    target: Target,
    axis: str,
    *,
    unit_cost: Callable[[int], float] = lambda _: 1.0,
) -> Plateau | None:
    """The sizes that are equivalent in the log of what they need to the target.

    Args:
        unit_cost: batch size -> what one of the axis counts there.
    """
    values = {
        size.batch_size: {
            c.seed: log_to_target(c, target, axis) + math.log(unit_cost(size.batch_size))
            for c in size.curves
        }
        for size in tuned
        if len(size.curves) >= 2
    }
    return find_plateau(values, margin=math.log1p(TIME_MARGIN)) if values else None


def log_to_target(curve: Curve, target: Target, axis: str) -> float:
    """The log of what a run needed to its target; infinite where it missed it or nobody knows."""
    needed = need_to_target(curve, target, axis)
    return math.log(needed) if math.isfinite(needed) else math.inf


def _final_value(curve: Curve, quality: str, higher: bool) -> float:
    """Lower is better; infinite for a run that did not finish."""
    if not curve.finished:
        return math.inf
    value = float(curve.columns[quality][-1])
    return -value if higher else value


def _quality_margin(finals: Mapping[int, Mapping[int, float]], quality: str) -> float:
    """0.01 for shares in [0, 1], and 2% of the best otherwise."""
    means = [float(np.mean(list(seeds.values()))) for seeds in finals.values()]
    finite = [mean for mean in means if math.isfinite(mean)]
    is_share = not quality.endswith("loss") and all(abs(mean) <= 1 for mean in finite)
    if is_share or not finite:
        return _RATE_MARGIN
    return max(_RELATIVE_MARGIN * abs(min(finite)), 1e-12)


def _plateau_to_dict(plateau: Plateau | None) -> list[int]:
    return [] if plateau is None else list(plateau.batch_sizes)


def _nothing_finished(curves: Sequence[Curve], task: str) -> CannotTell:
    if not curves:
        return CannotTell(
            f"no run of {task} is finished",
            where="analyze",
            expected="at least one finished run",
            do=f"batchscope study {task}",
        )
    if any(curve.status == "out_of_memory" for curve in curves):
        smallest = min(curve.batch_size for curve in curves)
        return CannotTell(
            f"memory ran out in the runs of {task}, down to batch size {smallest}",
            where="analyze",
            expected="one batch size that fits",
            do="name smaller sizes with --batch-sizes",
        )
    stopped = [curve for curve in curves if curve.status == "stopped"]
    if stopped:
        return CannotTell(
            f"none of {len(stopped)} runs of {task} came to its end before it was given up",
            where="analyze",
            expected="one setting that reaches the target",
            do="an easier --target, a larger --budget, or --effort thorough",
        )
    lowest = min(curve.learning_rate for curve in curves)
    return CannotTell(
        f"all {len(curves)} runs of {task} diverged, down to the learning rate {lowest:g}",
        where="analyze",
        expected="one rate at which training does not diverge",
        do="start at a lower rate in the task's optimizer, or look at the data's scale",
    )
