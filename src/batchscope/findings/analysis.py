"""What a study's runs say, batch size by batch size."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from batchscope.budget import Target
from batchscope.errors import CannotTell
from batchscope.estimate import Estimate, NotIdentified, write_number
from batchscope.findings.curves import Curve
from batchscope.findings.default_target import derive_target
from batchscope.findings.fixed_rate import FixedRate, find_fixed_rate
from batchscope.findings.plateau import Plateau, find_plateau
from batchscope.findings.seeds import estimate_over_seeds
from batchscope.findings.to_target import reach_target
from batchscope.findings.tuning import Ranking, TunedSize, tune_sizes

TIME_MARGIN = 0.2
_RATE_MARGIN = 0.01
_RELATIVE_MARGIN = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeFindings:
    """What is known of one batch size at its best learning rate.

    Attributes:
        seeds, reached: how many runs, and how many of them got to the target.
        at_edge: the best rate was the highest or the lowest tried.
        quality, test_quality, train_loss: at the end of the budget; `test_quality` is None
            without a test set.
        steps, examples, seconds: to the target.
    """

    batch_size: int
    learning_rate: float
    at_edge: bool
    seeds: int
    reached: int
    quality: Estimate
    test_quality: Estimate | None
    train_loss: Estimate
    steps: Estimate
    examples: Estimate
    seconds: Estimate


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
            "batch_sizes": [_size_to_dict(size) for size in self.sizes],
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
    sizes = tuple(_describe_size(size, quality, target, unit) for size in tuned)
    finals = {
        size.batch_size: {c.seed: _final_value(c, quality, higher) for c in size.curves}
        for size in tuned
    }
    plateau = find_plateau(finals, margin=_quality_margin(finals, quality))
    fastest = None if target is None else find_fastest(tuned, target, "seconds")
    fixed = find_fixed_rate(curves, ranking)
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
        sentences=tuple(_sentences(sizes, quality, target, plateau, fastest, fixed)),
        curves=tuple(curves),
        tuned=tuple(tuned),
    )


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


def _describe_size(size: TunedSize, quality: str, target: Target | None, unit: str) -> SizeFindings:
    curves = size.curves
    reached = [] if target is None else [reach_target(c, target, "step") for c in curves]
    test = _test_column(quality)
    return SizeFindings(
        batch_size=size.batch_size,
        learning_rate=size.learning_rate,
        at_edge=size.at_edge,
        seeds=len(curves),
        reached=sum(map(math.isfinite, reached)),
        quality=_final(curves, quality),
        test_quality=_final(curves, test) if all(test in c.columns for c in curves) else None,
        train_loss=_final(curves, "train_loss"),
        steps=_to_target(curves, target, "step", "steps"),
        examples=_to_target(curves, target, "examples", unit),
        seconds=_to_target(curves, target, "seconds", "s"),
    )


def _final(curves: Sequence[Curve], column: str) -> Estimate:
    values = [float(c.columns[column][-1]) if c.finished else math.inf for c in curves]
    return estimate_over_seeds(values, unit="", bounds=_natural_bounds(column, curves))


def _natural_bounds(column: str, curves: Sequence[Curve]) -> tuple[float, float]:
    """0 for what was never below it, and 1 for a metric that was never above it."""
    seen = np.concatenate([curve.columns[column] for curve in curves])
    low = 0.0 if np.nanmin(seen) >= 0 else -math.inf
    is_share = low == 0.0 and np.nanmax(seen) <= 1 and not column.endswith("loss")
    return low, 1.0 if is_share else math.inf


def _to_target(curves: Sequence[Curve], target: Target | None, axis: str, unit: str) -> Estimate:
    if target is None:
        return NotIdentified(
            reason="no target, and no seed repeats to derive one from",
            remedy="--seeds 3, or --target",
            unit=unit,
        )
    needed = [reach_target(curve, target, axis) for curve in curves]
    if any(map(math.isnan, needed)):
        return NotIdentified(
            reason="seconds per step were not measured", remedy="batchscope profile", unit=unit
        )
    estimate = estimate_over_seeds([max(x, 1e-9) for x in needed], unit=unit, log=True)
    if isinstance(estimate, NotIdentified) and not math.isfinite(max(needed)):
        horizon = min(float(c.columns[axis][-1]) for c in curves)
        return NotIdentified(reason=estimate.reason, remedy=estimate.remedy, unit=unit, low=horizon)
    return estimate


def _test_column(quality: str) -> str:
    return f"test_{quality.removeprefix('val_').removeprefix('train_')}"


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


def _sentences(
    sizes: Sequence[SizeFindings],
    quality: str,
    target: Target | None,
    plateau: Plateau | None,
    fastest: Plateau | None,
    fixed: FixedRate | None,
) -> list[str]:
    said: list[str] = []
    if fastest is not None and target is not None:
        best = next(size for size in sizes if size.batch_size == fastest.best)
        said.append(
            f"Batch size {best.batch_size} reaches {target} first: "
            f"{best.seconds} of training alone on this machine."
        )
        said.append(_equivalent(fastest.batch_sizes, f"within {TIME_MARGIN:.0%} of that time"))
    if plateau is not None:
        margin = write_number(plateau.margin)
        said.append(
            f"The best final {quality} is at batch size {plateau.best}. "
            + _equivalent(plateau.batch_sizes, f"within {margin} of it")
        )
    if len(sizes) > 1:
        said += _from_small_to_large(sizes, quality, fixed)
    for size in sizes:
        if size.at_edge:
            said.append(
                f"The best rate of batch size {size.batch_size}, {size.learning_rate:g}, lies at "
                "the edge of those tried: it may do better yet."
            )
        if target is not None and size.reached < size.seeds:
            said.append(
                f"Batch size {size.batch_size} reached {target} with {size.reached} of "
                f"{size.seeds} seeds."
            )
    return said


def _from_small_to_large(
    sizes: Sequence[SizeFindings], quality: str, fixed: FixedRate | None
) -> list[str]:
    first, last = sizes[0], sizes[-1]
    name, ends = quality, (first.quality, last.quality)
    if first.test_quality is not None and last.test_quality is not None:
        name, ends = _test_column(quality), (first.test_quality, last.test_quality)
    name = name.replace("_", " ")
    said: list[str] = []
    if fixed is not None:
        said.append(f"At one learning rate, {fixed.learning_rate:g}: {fixed.describe(name)}.")
    said.append(
        f"Each at its best rate: {name} {ends[0]} at batch size {first.batch_size} and "
        f"{ends[1]} at {last.batch_size}; training loss {first.train_loss} and {last.train_loss}."
    )
    return said


def _equivalent(sizes: Sequence[int], how: str) -> str:
    if len(sizes) == 1:
        return f"No other size was shown to be {how}."
    return f"Batch sizes {', '.join(map(str, sizes))} are shown to be {how}."


def _size_to_dict(size: SizeFindings) -> dict[str, object]:
    estimates = ("quality", "train_loss", "steps", "examples", "seconds")
    test = size.test_quality
    return {
        "batch_size": size.batch_size,
        "learning_rate": size.learning_rate,
        "at_edge": size.at_edge,
        "seeds": size.seeds,
        "reached": size.reached,
        **{name: getattr(size, name).to_dict() for name in estimates},
        "test_quality": None if test is None else test.to_dict(),
    }


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
