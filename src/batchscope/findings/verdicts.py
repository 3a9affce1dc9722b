"""Why is the larger batch worse? One verdict for a pair of batch sizes, with its evidence."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from batchscope.budget import Target
from batchscope.estimate import Interval, write_number
from batchscope.findings.comparison import LEVEL, Comparison, compare_settings
from batchscope.findings.curves import Curve, test_column
from batchscope.findings.norm_arms import ghost_of
from batchscope.findings.power import MOST_SEEDS, POWER, count_seeds
from batchscope.findings.to_target import reach_target
from batchscope.findings.tuning import Ranking, TunedSize, tune_sizes

VerdictName = Literal[
    "fewer_updates",
    "learning_rate",
    "generalization",
    "batch_norm_noise",
    "not_enough_seeds",
    "no_difference",
    "cannot_tell",
]

# Fewer than three pairs have no spread to speak of.
_LEAST_SEEDS = 3
# Training losses at the end of runs that were not read before it.
_ALIKE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What explains the difference of two batch sizes.

    Attributes:
        small, large: the batch sizes, each at its best rate.
        confidence: in [0, 1]; 0 for verdicts that say nothing.
        evidence: sentences, the training loss always beside the judged metric.
        quality: the comparison that the verdict begins with.
    """

    small: int
    large: int
    verdict: VerdictName
    confidence: float
    evidence: tuple[str, ...]
    quality: Comparison

    def to_dict(self) -> dict[str, object]:
        """The verdict as JSON."""
        return {
            "batch_sizes": [self.small, self.large],
            "verdict": self.verdict,
            "confidence": self.confidence,
            "evidence": list(self.evidence),
            "difference": self.quality.difference.to_dict(),
            "margin": self.quality.margin,
        }


def judge_sizes(
    tuned: Sequence[TunedSize],
    curves: Sequence[Curve],
    metric: str,
    *,
    arms: Sequence[Curve] = (),
    higher: bool,
    margin: float,
) -> list[Verdict]:
    """A verdict on each size that is larger than the best, and on the largest beside the smallest.

    Args:
        metric: to judge by; on test data where every run has it there.
        arms: runs in which batch norm sees fewer examples than the batch.
        margin: what counts as no difference, in units of the metric.
    """
    if len(tuned) < 2:
        return []
    judged = _judged_column(metric, tuned)
    means = {size.batch_size: _mean_final(size, judged, higher) for size in tuned}
    best = min(tuned, key=lambda size: (means[size.batch_size], size.batch_size))
    pairs = [(best, size) for size in tuned if size.batch_size > best.batch_size]
    if best is not tuned[0]:
        pairs.append((tuned[0], tuned[-1]))
    ranking = Ranking(quality=metric, higher=higher)
    return [
        _Judge(small, large, curves, arms, judged, ranking, margin=margin).judge()
        for small, large in pairs
    ]


class _Judge:
    """One pair of batch sizes."""

    def __init__(
        self,
        small: TunedSize,
        large: TunedSize,
        curves: Sequence[Curve],
        arms: Sequence[Curve],
        metric: str,
        ranking: Ranking,
        *,
        margin: float,
    ) -> None:
        self._arms = arms
        self._ranking = ranking
        # The reference was picked as the best of several.
        self._level = LEVEL / 2
        self._small, self._large = small, large
        self._metric, self._sign = metric, -1.0 if ranking.higher else 1.0
        self._margin = margin
        self._curves = curves
        self._quality = self._compare(metric, self._sign)
        self._evidence = [
            f"{metric} {self._ends(metric)}: {_describe(self._quality)} (margin "
            f"{write_number(margin)})",
            f"training loss {self._ends('train_loss')}",
        ]

    def judge(self) -> Verdict:
        quality = self._quality
        if quality.seeds < _LEAST_SEEDS:
            return self._say("not_enough_seeds", 0.0, _count_pairs(quality.seeds))
        if quality.is_equivalent:
            return self._say("no_difference", 1 - max(quality.p_below, quality.p_above))
        if quality.is_better:
            return self._say("cannot_tell", 0.0, "the larger batch is the better one")
        if not quality.is_worse or quality.p_different > self._level:
            if quality.power is None and not quality.censored:
                return self._say("cannot_tell", 0.0, "runs without a spread say nothing of others")
            if quality.power is None or quality.power < POWER:
                return self._say("not_enough_seeds", 0.0, self._describe_power())
            return self._say("cannot_tell", 0.0, "neither a difference nor its absence is shown")
        return self._explain()

    def _explain(self) -> Verdict:
        """The larger batch is worse."""
        sure = 1 - self._quality.p_different
        norm = self._norm_arm()
        if norm is not None:
            return self._say("batch_norm_noise", sure, norm)
        rate = self._rate_fault()
        if rate is not None:
            return self._say("learning_rate", sure, rate)
        if not self._has_training_loss():
            return self._say("cannot_tell", 0.0, "no training loss to match the two at")
        is_behind = self._ends_with_more_loss()
        parts = self._split()
        if parts is None:
            if is_behind:
                return self._say(
                    "fewer_updates",
                    sure,
                    "its training loss is worse, and above all that the smaller batch was read at",
                )
            if self._ends_alike():
                return self._say("generalization", sure, "their training loss is alike at the end")
            return self._say("cannot_tell", 0.0, "the two have no training loss in common")
        matched, further = parts
        left = compare_settings(dict.fromkeys(matched, 0.0), matched, margin=self._margin)
        self._evidence.append(f"at matched training loss {_describe(left)}")
        # What further training brings within a run has no luck of another run in it.
        balance = compare_settings(matched, further, margin=self._margin)
        settled = 1 - balance.p_different
        if balance.is_worse and is_behind:
            return self._say("fewer_updates", min(sure, settled))
        if balance.is_better:
            return self._say("generalization", min(sure, settled))
        return self._say("cannot_tell", 0.0, "matching the training loss settles nothing")

    def _say(self, verdict: VerdictName, confidence: float, *evidence: str) -> Verdict:
        return Verdict(
            small=self._small.batch_size,
            large=self._large.batch_size,
            verdict=verdict,
            confidence=float(min(max(confidence, 0.0), 1.0)),
            evidence=(*self._evidence, *evidence),
            quality=self._quality,
        )

    def _compare(self, column: str, sign: float) -> Comparison:
        return compare_settings(
            _finals(self._small, column, sign),
            _finals(self._large, column, sign),
            margin=self._margin,
        )

    def _split(self) -> tuple[dict[int, float], dict[int, float]] | None:
        """Of each seed's difference: the part at matched training loss, and the rest.

        Both are read where they have the training loss of the one that ends with more of it; the
        rest is what the other gains from there to its end.
        """
        matched: dict[int, float] = {}
        rest: dict[int, float] = {}
        larges = {curve.seed: curve for curve in self._large.curves if curve.finished}
        for small in self._small.curves:
            large = larges.get(small.seed)
            if large is None or not small.finished:
                continue
            level = max(float(c.columns["train_loss"][-1]) for c in (small, large))
            ends = [self._sign * float(c.columns[self._metric][-1]) for c in (small, large)]
            at = [_read_at(c, self._metric, level) for c in (small, large)]
            if at[0] is None or at[1] is None:
                continue
            matched[small.seed] = self._sign * (at[1] - at[0])
            rest[small.seed] = ends[1] - ends[0] - matched[small.seed]
        return (matched, rest) if len(matched) > 1 else None

    def _rate_fault(self) -> str | None:
        if self._large.at_edge:
            return f"its best rate, {self._large.learning_rate:g}, lies at the edge of those tried"
        every: dict[int, set[float]] = {}
        for curve in self._curves:
            every.setdefault(curve.batch_size, set()).add(curve.learning_rate)
        has_one_each = all(len(tried) == 1 for tried in every.values())
        moved = {rate for tried in every.values() for rate in tried if not math.isnan(rate)}
        if has_one_each and len(moved) > 1:
            return "its rate was moved by a rule, not tuned"
        return None

    def _norm_arm(self) -> str | None:
        """Whether the larger batch is as good as the smaller where batch norm sees as few."""
        small = _finals(self._small, self._metric, self._sign)
        here = [curve for curve in self._arms if curve.batch_size == self._large.batch_size]
        for ghost in sorted({ghost_of(curve) or math.inf for curve in here}):
            for arm in tune_sizes([c for c in here if ghost_of(c) == ghost], self._ranking):
                values = _finals(arm, self._metric, self._sign)
                compared = compare_settings(small, values, margin=self._margin)
                if compared.is_equivalent or compared.is_better:
                    return f"with batch norm over {ghost:g} examples it is not worse"
        return None

    def _ends_with_more_loss(self) -> bool:
        """Whether the larger batch ends with more training loss, surely or at every seed."""
        small, large = (_finals(size, "train_loss", 1.0) for size in (self._small, self._large))
        everywhere = all(large[seed] > small[seed] for seed in set(small) & set(large))
        return everywhere or compare_settings(small, large, margin=self._margin).is_worse

    def _ends_alike(self) -> bool:
        """Whether the training losses at the end are within 5% of each other, over the seeds."""
        ends = [
            _mean_final(size, "train_loss", higher=False) for size in (self._small, self._large)
        ]
        return max(ends) <= (1 + _ALIKE) * min(ends)

    def _has_training_loss(self) -> bool:
        curves = (*self._small.curves, *self._large.curves)
        return all(np.isfinite(c.columns["train_loss"][-1]) for c in curves if c.finished)

    def _ends(self, column: str) -> str:
        ends = [_mean_final(size, column, higher=False) for size in (self._small, self._large)]
        first, second = (write_number(x) if math.isfinite(x) else "unknown" for x in ends)
        return f"{first} at {self._small.batch_size}, {second} at {self._large.batch_size}"

    def _describe_power(self) -> str:
        power, seeds = self._quality.power, self._quality.seeds
        if power is None:
            return f"{seeds} seeds, {self._quality.censored} of them without an end"
        needed = count_seeds(self._margin, self._quality.deviation)
        more = f"more than {MOST_SEEDS:,}" if needed is None else needed
        return (
            f"{seeds} seeds show a difference of the margin with a power of {power:.0%}; "
            f"{more} would with {POWER:.0%}"
        )


def _count_pairs(count: int) -> str:
    return f"{count} paired seed{'s' if count != 1 else ''}"


def _judged_column(metric: str, tuned: Sequence[TunedSize]) -> str:
    test = test_column(metric)
    curves = [curve for size in tuned for curve in size.curves]
    has_test = all(
        test in c.columns and np.isfinite(c.columns[test][-1]) for c in curves if c.finished
    )
    return test if has_test else metric


def _finals(size: TunedSize, column: str, sign: float) -> Mapping[int, float]:
    return {
        c.seed: sign * float(c.columns[column][-1]) if c.finished else math.inf for c in size.curves
    }


def _mean_final(size: TunedSize, column: str, higher: bool) -> float:
    values = _finals(size, column, -1.0 if higher else 1.0)
    return float(np.mean(list(values.values())))


def _read_at(curve: Curve, metric: str, level: float) -> float | None:
    """The metric where training loss first falls to a level; None where it began below it."""
    known = np.isfinite(curve.columns["train_loss"]) & np.isfinite(curve.columns[metric])
    read = replace(curve, columns={k: v[known] for k, v in curve.columns.items()})
    losses = read.columns["train_loss"]
    if not len(losses) or losses[0] < level:
        return None
    value = reach_target(read, Target("train_loss", level, "<="), metric)
    return value if math.isfinite(value) else None


def _describe(comparison: Comparison) -> str:
    difference = comparison.difference
    if not isinstance(difference, Interval):
        return str(difference)
    return f"worse by {difference}" if difference.value > 0 else f"not worse, by {difference}"
