"""Whether claims hold: one test for all claims of a study, from paired seeds."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from scipy import stats

from batchscope.estimate import Estimate, Interval, NotIdentified
from batchscope.findings.comparison import ROUNDING, Comparison, compare_settings
from batchscope.findings.power import POWER, count_seeds

Kind = Literal["claim", "objection", "control"]
Direction = Literal["above", "below", "within"]
Verdict = Literal["holds", "does not hold", "cannot tell"]

LEVEL = 0.025
LEAST_SEEDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What is said of a quantity, before any run.

    Attributes:
        id: "C1" of the source, "O1" of those who object.
        kind: "control" of either, where the mechanism is removed.
        name: a sentence.
        direction: that the quantity lies above the margin, below it, or within plus or minus it.
        margin: in the quantity's own units; of a ratio, above 0 (within 1.3 is 1/1.3 to 1.3).
        is_ratio: whether it is a ratio, tested in its log.
        source: the source's own figure; None where it gives none.
        is_unverified: whether that figure is from memory or second hand.
    """

    id: str
    name: str
    kind: Kind
    direction: Direction
    margin: float
    is_ratio: bool = False
    source: float | None = None
    is_unverified: bool = False

    @property
    def bound(self) -> float:
        """The margin on the scale of the test."""
        return math.log(self.margin) if self.is_ratio else self.margin


@dataclass(frozen=True, slots=True)
class Seen:
    """The quantity at one seed; where a run was censored, both ends of what it can be.

    Attributes:
        signs: of a trend, those of every pair of batch sizes' difference, summed: the least and the
            most that they can be.
        sizes: of a trend, how many batch sizes there were.
    """

    low: float
    high: float
    signs: tuple[float, float] | None = None
    sizes: int = 0


# A censored quantity may be at either end of what is known.
_ENDS: tuple[Callable[[Seen], float], ...] = (lambda seen: seen.low, lambda seen: seen.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What became of a claim.

    Attributes:
        estimate: with its own 95% interval, not adjusted for the other claims.
        alone: what its own test would say, were it the only claim of the study.
        p_holds, p_does_not_hold: adjusted by Holm's procedure over all claims of the study.
        seeds: how many were read.
        seeds_needed: with which it would be told four times in five; None where it was told, or
            nobody knows, or no thousand would do.
        cause: what the curves say of why.
    """

    claim: Claim
    verdict: Verdict
    alone: Verdict
    estimate: Estimate
    p_holds: float
    p_does_not_hold: float
    seeds: int
    seeds_needed: int | None
    cause: str = ""

    @property
    def words(self) -> str:
        """The verdict, and what its own test alone would say where that is more."""
        if self.alone == self.verdict:
            return self.verdict
        return f"{self.verdict} (alone: {self.alone})"

    def to_dict(self) -> dict[str, object]:
        """The verdict as JSON."""
        return {
            "id": self.claim.id,
            "name": self.claim.name,
            "kind": self.claim.kind,
            "verdict": self.verdict,
            "alone": self.alone,
            "direction": self.claim.direction,
            "estimate": self.estimate.to_dict(),
            "margin": self.claim.margin,
            "p_holds": self.p_holds,
            "p_does_not_hold": self.p_does_not_hold,
            "source": self.claim.source,
            "unverified": self.claim.is_unverified,
            "seeds": self.seeds,
            "seeds_needed": self.seeds_needed,
            "cause": self.cause,
        }


def judge_claims(
    claims: Sequence[Claim],
    seen: Mapping[str, Sequence[Seen]],
    *,
    causes: Mapping[str, str] | None = None,
) -> list[Judged]:
    """Judge all claims of one study together.

    Two one-sided tests over seeds of each claim against its margin (`compare_settings`), one for
    holds and one for does not hold; of a quantity within a band the larger of the two, and outside
    it the smaller. Holm's procedure at 0.025 over all claims, for holds and for does not hold
    apart. Where a run was censored the larger p of the two ends counts. A trend needs both the
    contrast of its ends and the Jonckheere-Terpstra test within seeds. With fewer than five seeds
    nothing is told. What is the same at every seed has no noise and is told as it is.

    Args:
        seen: claim -> the quantity per seed, on the scale of the test (the log of a ratio).
        causes: claim -> what the curves say of why.
    """
    raw = {claim.id: _test(claim, list(seen.get(claim.id, ()))) for claim in claims}
    holds = _holm({name: p for name, (p, _) in raw.items()})
    fails = _holm({name: p for name, (_, p) in raw.items()})
    return [
        _judge(
            claim,
            list(seen.get(claim.id, ())),
            raw[claim.id],
            (holds[claim.id], fails[claim.id]),
            (causes or {}).get(claim.id, ""),
            len(claims),
        )
        for claim in claims
    ]


def see_trend(values: Sequence[float], highest: Sequence[float] | None = None) -> Seen:
    """One seed's values at ascending batch sizes: the contrast of the ends, and the signs.

    Args:
        highest: of each value, where some are censored; the values are the lowest then.
    """
    most = values if highest is None else highest
    pairs = [(i, j) for j in range(len(values)) for i in range(j)]
    signs = (
        float(sum(np.sign(values[j] - most[i]) for i, j in pairs)),
        float(sum(np.sign(most[j] - values[i]) for i, j in pairs)),
    )
    return Seen(values[-1] - most[0], most[-1] - values[0], signs=signs, sizes=len(values))


def exactly(values: Sequence[float]) -> list[Seen]:
    """Values of which none is censored."""
    return [Seen(value, value) for value in values]


def _test(claim: Claim, seen: Sequence[Seen]) -> tuple[float, float]:
    """P for holds and for does not hold, each the worse of the two ends."""
    if len(seen) < LEAST_SEEDS:
        return 1.0, 1.0
    bound = claim.bound
    above, below = _worst_sides(seen, bound)
    if claim.direction == "above":
        holds, fails = above, below
    elif claim.direction == "below":
        holds, fails = below, above
    else:
        over, under = _worst_sides(seen, -bound)
        # Outside the band is on one side of it with both ends.
        holds, fails = max(over, below), min(above, under)
    if seen[0].signs is not None:
        holds = max(holds, _test_trend(claim, seen))
    return holds, fails


def _worst_sides(seen: Sequence[Seen], bound: float) -> tuple[float, float]:
    """P of the quantity being above a bound, and of its being below, each at its worse end."""
    above, below = zip(*(_one_sided([end(s) for s in seen], bound) for end in _ENDS), strict=True)
    return max(above), max(below)


def _one_sided(values: Sequence[float], bound: float) -> tuple[float, float]:
    """P of the quantity being above a bound, and of its being below."""
    if _are_same(values, bound):
        mean = float(np.mean(values)) - bound
        return (0.0, 1.0) if mean > 0 else (1.0, 0.0) if mean < 0 else (1.0, 1.0)
    compared = _compare(values, bound)
    return compared.p_worse, compared.p_better


def _compare(values: Sequence[float], bound: float = 0.0) -> Comparison:
    """A quantity over seeds against a bound."""
    settled = dict.fromkeys(range(len(values)), bound)
    return compare_settings(settled, dict(enumerate(values)), margin=abs(bound))


def _are_same(values: Sequence[float], bound: float = 0.0) -> bool:
    if not np.isfinite(values).all():
        return False
    largest = max(1.0, abs(bound), *(abs(value) for value in values))
    return float(np.std(values, ddof=1)) <= ROUNDING * largest


def _test_trend(claim: Claim, seen: Sequence[Seen]) -> float:
    """Jonckheere-Terpstra within seeds, by its normal approximation (Hollander and Wolfe 1999)."""
    z = _trend_z(claim, seen)
    return 1.0 if math.isnan(z) else float(stats.norm.sf(z))


def _trend_z(claim: Claim, seen: Sequence[Seen]) -> float:
    """Its normal deviate towards the claim, each seed at the end that speaks against it."""
    signs = [cast(tuple[float, float], s.signs) for s in seen]
    variance = sum(s.sizes * (s.sizes - 1) * (2 * s.sizes + 5) / 18 for s in seen)
    total = (
        sum(low for low, _ in signs)
        if claim.direction == "above"
        else -sum(high for _, high in signs)
    )
    return total / math.sqrt(variance)


def _holm(raw: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p values, in the order of the raw ones (Holm 1979)."""
    ordered = sorted(raw, key=lambda name: raw[name])
    adjusted: dict[str, float] = {}
    highest = 0.0
    for rank, name in enumerate(ordered):
        highest = max(highest, min(1.0, (len(ordered) - rank) * raw[name]))
        adjusted[name] = highest
    return adjusted


def _judge(
    claim: Claim,
    seen: Sequence[Seen],
    raw: tuple[float, float],
    adjusted: tuple[float, float],
    cause: str,
    claims: int,
) -> Judged:
    verdict = _decide(*adjusted)
    holds, fails = adjusted
    return Judged(
        claim=claim,
        verdict=verdict,
        alone=_decide(*raw),
        estimate=_estimate(claim, seen),
        p_holds=holds,
        p_does_not_hold=fails,
        seeds=len(seen),
        seeds_needed=None if verdict != "cannot tell" else _seeds_needed(claim, seen, claims),
        cause=cause,
    )


def _decide(holds: float, fails: float) -> Verdict:
    if holds < LEVEL:
        return "holds"
    return "does not hold" if fails < LEVEL else "cannot tell"


def _estimate(claim: Claim, seen: Sequence[Seen]) -> Estimate:
    """Over seeds, with its interval; as wide as both ends where runs are censored."""
    if len(seen) < 2:
        return NotIdentified(reason=f"{len(seen)} seeds", remedy="--seeds 5", unit="")
    lowest, highest = (_estimate_end([end(s) for s in seen]) for end in _ENDS)
    if isinstance(lowest, NotIdentified) or isinstance(highest, NotIdentified):
        return NotIdentified(reason="runs gave no number", remedy="more --seeds", unit="")
    low, value, high = lowest.low, (lowest.value + highest.value) / 2, highest.high
    if claim.is_ratio:
        low, value, high = math.exp(low), math.exp(value), math.exp(high)
    return Interval(value=value, low=low, high=high, unit="")


def _estimate_end(values: Sequence[float]) -> Estimate:
    if _are_same(values):
        mean = float(np.mean(values))
        return Interval(value=mean, low=mean, high=mean, unit="")
    return _compare(values).difference


def _seeds_needed(claim: Claim, seen: Sequence[Seen], claims: int) -> int | None:
    """With which the distance to the margin would be told, if it is what was seen.

    None where no thousand would do, or nobody knows: the margin lies between the ends of what was
    censored, or a trend's signs speak against its ends.
    """
    if len(seen) < 2 or not all(math.isfinite(s.low + s.high) for s in seen):
        return None
    ends = [np.array([end(s) for s in seen]) for end in _ENDS]
    bounds = (claim.bound, -claim.bound) if claim.direction == "within" else (claim.bound,)
    away = min((float(e.mean()) - b for e in ends for b in bounds), key=abs)
    sides = {tuple(float(e.mean()) > b for b in bounds) for e in ends}
    if away == 0 or len(sides) > 1:
        return None
    # Holm's first step; the test is of one sample, and to one side.
    level = LEVEL / claims
    deviation = max(float(e.std(ddof=1)) for e in ends) / math.sqrt(2)
    needed = count_seeds(abs(away), deviation, level=2 * level)
    if needed is None:
        return None
    if seen[0].signs is not None and (away > 0) == (claim.direction == "above"):
        z = _trend_z(claim, seen)
        if not z > 0:
            return None
        wanted = float(stats.norm.isf(level) + stats.norm.ppf(POWER))
        needed = max(needed, math.ceil(len(seen) * (wanted / z) ** 2))
    return max(needed, LEAST_SEEDS, len(seen) + 1)
