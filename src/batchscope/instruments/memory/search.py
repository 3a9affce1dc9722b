"""The largest batch size that fits, from probes alone: which one to run next, and when to stop."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

# Readings of one batch size differ by about this much from run to run; worth two residuals.
_READING_NOISE = 0.006
_READING_NOISE_WORTH = 2
# How often the affine law holds, is broken by a jump, or says nothing at all.
_LAW, _JUMP, _ANYTHING = 0.78, 0.18, 0.04
# A jump takes up to half of the batch size that the law promised.
_LARGEST_JUMP = 0.5
# A probe that runs out of memory tells less than one that fits, and costs more.
_RISK_WITH_READINGS = 0.3
_RISK_WITHOUT = 0.5
_RISK_OF_GUESS = 0.15
# How often everything fits that may be asked for, where nothing else is known.
_EVERYTHING = 0.2
# What bounds a process and what reads its peak do not count quite the same pages.
_CAP_NOISE = 0.004


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One batch size that was run.

    Attributes:
        fits: it ran; otherwise memory ran out.
        peak: of memory, in bytes, while it ran; None where it cannot be read.
    """

    batch_size: int
    fits: bool
    peak: float | None = None


def search_largest(
    probe: Callable[[int], Probe], *, smallest: int = 1, largest: int, cap: float | None = None
) -> tuple[Probe, ...]:
    """Run batch sizes until the largest that fits and the next larger one have both been run.

    Args:
        probe: runs one batch size.
        smallest, largest: that may be asked for.
        cap: the memory that there is, in bytes; None where it is not known.

    Returns:
        The probes in order; none of them fits where nothing does.
    """
    probes: list[Probe] = []
    while (size := next_size(probes, smallest=smallest, largest=largest, cap=cap)) is not None:
        probes.append(probe(size))
    return tuple(probes)


def next_size(
    probes: Sequence[Probe], *, smallest: int, largest: int, cap: float | None
) -> int | None:
    """The batch size that tells most, or None when the answer is known.

    The limit's distribution is cut at a point with a fixed risk of running out. Without readings it
    is log-uniform between what fits and what does not. Two readings add the affine law that they
    suggest, blurred by their noise.
    """
    fitting = max((p.batch_size for p in probes if p.fits), default=smallest - 1)
    failing = min((p.batch_size for p in probes if not p.fits), default=largest + 1)
    lump = _EVERYTHING if failing > largest else 0.0
    if failing - fitting == 1:
        return None
    if fitting < smallest:
        # One example is the cheapest probe; only without readings is a guess worth more.
        if cap is not None or failing <= smallest + 1:
            return smallest
        return _cut(lambda _: 0.0, fitting, failing, law=0.0, lump=lump, risk=_RISK_WITHOUT)
    readings = [(p.batch_size, p.peak) for p in probes if p.fits and p.peak is not None]
    if cap is None or not readings:
        return _cut(lambda _: 0.0, fitting, failing, law=0.0, lump=lump, risk=_RISK_WITHOUT)
    if len(readings) == 1:
        # The peak grows at most in proportion to the batch.
        safe = int(readings[0][0] * (1 - 2 * _READING_NOISE) * cap / readings[0][1])
        guess = _cut(lambda _: 0.0, fitting, failing, law=0.0, lump=lump, risk=_RISK_OF_GUESS)
        return min(max(safe, guess, fitting + 1), failing - 1)
    return _cut(
        _Affine(readings, cap).survival,
        fitting,
        failing,
        law=1.0,
        lump=lump,
        risk=_RISK_WITH_READINGS,
    )


class _Affine:
    """The affine law of memory that readings suggest, with its uncertainty."""

    def __init__(self, readings: Sequence[tuple[int, float]], cap: float) -> None:
        self._cap = max(cap, *(peak for _, peak in readings))
        sizes, peaks = (np.array(column, dtype=float) for column in zip(*readings, strict=True))
        design = np.stack([np.ones_like(sizes), sizes], axis=1) / peaks[:, None]
        inverse = np.linalg.inv(design.T @ design)
        self._law = inverse @ design.T @ np.ones_like(peaks)
        residuals = design @ self._law - 1
        self._freedom = _READING_NOISE_WORTH + len(readings) - 2
        known = _READING_NOISE_WORTH * _READING_NOISE**2 + float(residuals @ residuals)
        self._covariance = inverse * known / self._freedom
        self._limit = self._solve()

    def survival(self, size: float) -> float:
        """The chance that a batch of this size still fits."""
        place = np.array([1.0, size])
        error = math.hypot(math.sqrt(place @ self._covariance @ place), _CAP_NOISE * self._cap)
        by_law = float(stats.t.cdf((self._cap - place @ self._law) / error, self._freedom))
        low = _LARGEST_JUMP * self._limit
        by_jump = min(1.0, max(0.0, (self._limit - size) / (self._limit - low)))
        return (_LAW * by_law + _JUMP * by_jump) / (_LAW + _JUMP)

    def _solve(self) -> float:
        intercept, slope = self._law
        return float((self._cap - intercept) / slope) if slope > 0 < self._cap - intercept else 1e12


def _cut(
    survival: Callable[[float], float],
    fitting: int,
    failing: int,
    *,
    law: float,
    lump: float,
    risk: float,
) -> int:
    """The size between the two whose risk of running out, given both, is as wanted.

    Args:
        lump: the chance that all sizes fit, as far as no law tells; 0 once one has failed.
    """
    floor, ceiling = math.log(max(fitting, 0.5)), math.log(failing)
    share = law * (1 - _ANYTHING)

    def chance(size: float) -> float:
        anything = lump + (1 - lump) * (ceiling - math.log(size)) / (ceiling - floor)
        return share * survival(size) + (1 - share) * anything

    # Size n fits if the limit is at least n, and limits between whole numbers are the lower one's.
    top = chance(fitting + 0.5)
    bottom = 0.0 if lump else chance(failing - 0.5)
    wanted = bottom + (1 - risk) * (top - bottom)
    low, high = fitting + 1, failing - 1
    while low < high:
        middle = (low + high + 1) // 2
        if chance(middle - 0.5) >= wanted:
            low = middle
        else:
            high = middle - 1
    return low


def say_bound(found: int, *, most: int, train_size: int) -> str:
    """What ended a search for the largest batch, as `Fit.bounded_by` has it.

    Args:
        most: that was tried.
    """
    if found < most:
        return "memory"
    return "data" if found == train_size else "largest"
