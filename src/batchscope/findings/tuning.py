"""Which learning rate is the best at a batch size."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from batchscope.budget import Target
from batchscope.findings.curves import Curve
from batchscope.findings.to_target import reach_target

# How a setting ranks, lower first: the share of seeds that diverged, then that missed the
# target, then the mean log of examples to it or the mean quality, then validation loss.
Score = tuple[float, float, float, float]
# A learning rate, and the other constants that were tuned, in words.
Setting = tuple[float, str]

_TAIL = 3
_COMPARED_FROM = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """What settings are ranked by.

    Attributes:
        quality: the metric of the last three evaluations' mean.
        higher: whether it is better when higher.
        target: examples to it come first; None to rank by quality alone.
    """

    quality: str
    higher: bool
    target: Target | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedSize:
    """A batch size at its best learning rate.

    Attributes:
        constants: others that were tuned, in words; empty for none.
        curves: of that setting, one per seed.
        at_edge: no higher, or no lower, rate was tried.
    """

    batch_size: int
    learning_rate: float
    curves: tuple[Curve, ...]
    at_edge: bool
    constants: str = ""


def score_runs(curves: Sequence[Curve], ranking: Ranking) -> Score:
    """Rank one setting from its seeds."""
    values = [_score_run(curve, ranking) for curve in curves]
    diverged, missed, value, loss = (float(np.mean(column)) for column in zip(*values, strict=True))
    return diverged, missed, value, loss


def tune_sizes(curves: Iterable[Curve], ranking: Ranking) -> list[TunedSize]:
    """The best setting of each batch size, in the order of size.

    Of a size's settings that did not always diverge, those with the most seeds are compared: a
    single lucky run does not beat a mean. Runs that were stopped before their end count as tried,
    not as trained. Sizes at which every rate diverged are left out.
    """
    groups: defaultdict[int, defaultdict[Setting, list[Curve]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for curve in curves:
        groups[curve.batch_size][curve.setting].append(curve)
    tuned = (_tune(size, rates, ranking) for size, rates in sorted(groups.items()))
    return [size for size in tuned if size is not None]


def _tune(size: int, tried: Mapping[Setting, list[Curve]], ranking: Ranking) -> TunedSize | None:
    trained = {
        setting: [c for c in curves if c.status != "stopped"] for setting, curves in tried.items()
    }
    scores = {setting: score_runs(curves, ranking) for setting, curves in trained.items() if curves}
    ended = [setting for setting, (diverged, *_) in scores.items() if diverged < 1]
    if not ended:
        return None
    most = max(len(trained[setting]) for setting in ended)
    best = min(
        (setting for setting in ended if len(trained[setting]) == most),
        key=lambda setting: (scores[setting], setting),
    )
    rate, constants = trained[best][0].learning_rate, best[1]
    rates = {rate for rate, _ in tried}
    return TunedSize(
        batch_size=size,
        learning_rate=rate,
        constants=constants,
        curves=tuple(sorted(trained[best], key=lambda c: c.seed)),
        at_edge=len(rates) > 1 and rate in (min(rates), max(rates)),
    )


def keep_repeated(curves: Sequence[Curve], target: Target) -> list[Curve]:
    """Of a race: the setting of each size that stands for it.

    At a size where the repeats of some settings all got to the target, all others count as stopped:
    with the most seeds one of them may be the one that missed. Of several that with the least mean
    does not, of those that were repeated often enough to be compared: a race repeats what may be
    the best until that is known, which takes some settings more seeds than others. Where a repeat
    of every setting missed the target, it is the one that gets there most often by Laplace's rule
    of succession, then that with the least mean: repeats that missed tell against a setting.
    """
    groups: defaultdict[int, defaultdict[Setting, list[Curve]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for curve in curves:
        groups[curve.batch_size][curve.setting].append(curve)
    best = {size: _find_repeated(settings, target) for size, settings in groups.items()}
    return [
        curve
        if best[curve.batch_size] in (None, curve.setting)
        else replace(curve, status="stopped" if curve.finished else curve.status)
        for curve in curves
    ]


def often_enough(counts: Iterable[int]) -> int:
    """Seeds from which on a setting is held against others: three, or as many as any of them has.

    Two that were lucky do not beat many; three are what a difference over pairs of them needs.
    """
    return min(_COMPARED_FROM, max(counts, default=0))


def _find_repeated(settings: Mapping[Setting, list[Curve]], target: Target) -> Setting | None:
    """The setting that stands for a size; None where nothing was repeated, or got there."""
    logs = {
        setting: [
            math.log(max(reach_target(c, target, "step"), 1e-9)) if c.finished else math.inf
            for c in seeds
        ]
        for setting, seeds in settings.items()
    }
    if max(map(len, logs.values())) < 2:
        return None
    always = {s: own for s, own in logs.items() if len(own) > 1 and all(map(math.isfinite, own))}
    least = often_enough(map(len, always.values()))
    means = {s: float(np.mean(own)) for s, own in always.items() if len(own) >= least}
    if means:
        return min(means, key=lambda setting: (means[setting], setting))
    there = {s: [x for x in own if math.isfinite(x)] for s, own in logs.items()}

    def rank(setting: Setting) -> tuple[float, float, Setting]:
        hits, seeds = len(there[setting]), len(logs[setting])
        return -(hits + 1) / (seeds + 2), float(np.mean(there[setting])), setting

    return min((s for s in there if there[s]), key=rank, default=None)


def tail_mean(curve: Curve, metric: str) -> float:
    """The mean of a metric over the last three evaluations of what was trained."""
    trained = curve.columns["step"] > 0
    return float(np.mean(curve.columns[metric][trained if trained.any() else ...][-_TAIL:]))


def _score_run(curve: Curve, ranking: Ranking) -> Score:
    if not curve.finished or len(curve.columns["step"]) == 0:
        return 1.0, 1.0, math.inf, math.inf
    loss = tail_mean(curve, "val_loss")
    if math.isnan(loss):
        # A table from elsewhere may have the metric alone.
        loss = 0.0
    if ranking.target is not None:
        needed = reach_target(curve, ranking.target, "examples")
        if math.isfinite(needed):
            return 0.0, 0.0, math.log(max(needed, 1e-9)), loss
    value = tail_mean(curve, ranking.quality)
    return 0.0, 1.0, -value if ranking.higher else value, loss
