"""What a study's runs say, batch size by batch size."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from batchscope.budget import Target
from batchscope.errors import CannotTell
from batchscope.findings.curves import Curve
from batchscope.findings.default_target import derive_target
from batchscope.findings.fixed_rate import FixedRate, find_fixed_rate
from batchscope.findings.plateau import Plateau, find_plateau
from batchscope.findings.sentences import TIME_MARGIN, write_sentences
from batchscope.findings.sizes import SizeFindings, describe_size
from batchscope.findings.to_target import reach_target
from batchscope.findings.tuning import Ranking, TunedSize, tune_sizes

_RATE_MARGIN = 0.01
_RELATIVE_MARGIN = 0.02


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
        fixed_rate: the same at one learning rate; None where no rate was run at every size.
        sentences: the findings in words.
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
    diverged: int
    sentences: tuple[str, ...]
    curves: tuple[Curve, ...]
    tuned: tuple[TunedSize, ...]

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
            "diverged": self.diverged,
            "findings": list(self.sentences),
        }

    def __repr__(self) -> str:
        return "\n".join([f"Analysis of study {self.study} of {self.task}", *self.sentences])


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
) -> Analysis:
    """Draw the first findings from runs.

    Args:
        quality: the metric to judge by, a column of every curve.
        target: None to derive one from the runs.
        rank_by_target: choose rates by what they need to the target; otherwise by quality.

    Raises:
        CannotTell: no run finished; the lowest rate tried is named.
    """
    if not any(curve.finished for curve in curves):
        raise _nothing_finished(curves, task)
    ranking = Ranking(quality=quality, higher=higher, target=target if rank_by_target else None)
    tuned = tune_sizes(curves, ranking)
    derived = target is None
    target = derive_target(tuned, ranking) if derived else target
    sizes = tuple(describe_size(size, quality, target, unit) for size in tuned)
    # A single lucky run does not beat a mean, of batch sizes as of rates.
    most = max((len(size.curves) for size in tuned), default=0)
    finals = {
        size.batch_size: {c.seed: _final_value(c, quality, higher) for c in size.curves}
        for size in tuned
        if len(size.curves) == most
    }
    plateau = find_plateau(finals, margin=_quality_margin(finals, quality))
    fastest = None if target is None else find_fastest(tuned, target, "seconds")
    fixed = find_fixed_rate(_at_usual_constants(curves), ranking)
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
        diverged=sum(curve.status == "diverged" for curve in curves),
        sentences=tuple(write_sentences(sizes, quality, target, plateau, fastest, fixed)),
        curves=tuple(curves),
        tuned=tuple(tuned),
    )


def _at_usual_constants(curves: Sequence[Curve]) -> list[Curve]:
    """The runs that were not stopped, of the constants that most were trained with."""
    trained = [curve for curve in curves if curve.status != "stopped"]
    usual = Counter(curve.constants for curve in trained).most_common(1)
    return [curve for curve in trained if curve.constants == usual[0][0]]


def find_fastest(tuned: Sequence[TunedSize], target: Target, axis: str) -> Plateau | None:
    """The sizes that are equivalent in the log of what they need to the target."""
    values = {
        size.batch_size: {c.seed: log_to_target(c, target, axis) for c in size.curves}
        for size in tuned
        if len(size.curves) >= 2
    }
    return find_plateau(values, margin=math.log1p(TIME_MARGIN)) if values else None


def log_to_target(curve: Curve, target: Target, axis: str) -> float:
    """The log of what a run needed to its target; infinite where it missed it or nobody knows."""
    needed = reach_target(curve, target, axis)
    return math.log(max(needed, 1e-9)) if math.isfinite(needed) else math.inf


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
    lowest = min(curve.learning_rate for curve in curves)
    return CannotTell(
        f"all {len(curves)} runs of {task} diverged, down to the learning rate {lowest:g}",
        where="analyze",
        expected="one rate at which training does not diverge",
        do="start at a lower rate in the task's optimizer, or look at the data's scale",
    )
