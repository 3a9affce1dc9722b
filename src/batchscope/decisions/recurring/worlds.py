"""What a quantity may be at every batch size, given what was seen at some of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
from scipy import special

from batchscope.findings.scaling_posterior import Array

WORLDS = 256
# Of what the forms leave: about a fifth between batch sizes an octave apart, a third at most.
_LEFT, _OCTAVES = 0.3, 4.0
# Doublings above the largest batch size where the critical one may lie.
_BEYOND = 3.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing seen of a quantity, in logs.

    Attributes:
        at: position of the batch size.
        value: the log of the quantity, or what it is at least.
        variance: of the value; not used of bounds.
        is_bound: whether the quantity is above the value, and no more is known.
        doubt: of a bound, how likely nothing there ever ends, whatever the quantity is.
        chance: of a bound, how likely it came about by chance where things do end.
        count: of a bound, how many outcomes had it.
    """

    at: int
    value: float
    variance: float
    is_bound: bool = False
    doubt: float = 0.0
    chance: float = 0.0
    count: int = 1


@dataclass(frozen=True, slots=True)
class Belief:
    """The log of a positive quantity over batch sizes, before anything is seen.

    A mixture of Gaussian processes: each has one form for its mean and a level of its own, and
    all the same departures from it.

    Attributes:
        forms: one row per form, one column per batch size.
        weights: log prior probability of each form.
        level, level_variance: of what is added to every form.
        departures: covariance of what the forms leave, between batch sizes.
    """

    forms: Array
    weights: Array
    level: float
    level_variance: float
    departures: Array

    def draw(self, seen: Sequence[Seen], noise: float, normals: Array) -> tuple[Array, Array]:
        """Draw worlds.

        Args:
            seen: in any order.
            noise: variance of one outcome about its mean; bounds are of outcomes.
            normals: (worlds, batch sizes) standard normal numbers.

        Returns:
            Values of the log of the quantity, (worlds, batch sizes); and how likely each batch size
            is none where nothing ever ends.
        """
        placed, works = self._place_bounds(seen, noise)
        seen = [s for s in seen if not s.is_bound] + placed
        logs, means, covariance = self._condition(_combine(seen))
        count = len(normals)
        # Evenly spaced draws of the forms: the same share of worlds as of probability.
        ends = np.cumsum(np.exp(logs))
        shares = (np.arange(count) + 0.5) / count * ends[-1]
        forms = cast("npt.NDArray[np.int64]", np.searchsorted(ends, shares))
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(values, 0))
        return means[np.minimum(forms, len(means) - 1)] + normals @ root.T, works

    def _place_bounds(self, seen: Sequence[Seen], noise: float) -> tuple[list[Seen], Array]:
        """Bounds as values with a variance: the moments of what is left by each (ADF).

        A bound that is more likely to have come about otherwise leaves more to be known than
        before, and is left out.
        """
        placed: list[Seen] = []
        # How likely nothing there ever ends.
        never: dict[int, float] = {}
        known = [s for s in seen if not s.is_bound]
        for bound in (s for s in seen if s.is_bound):
            logs, means, covariance = self._condition(_combine(known + placed))
            share = np.exp(logs)
            here = means[:, bound.at]
            mean = float(share @ here)
            variance = float(covariance[bound.at, bound.at] + share @ np.square(here - mean))
            spread = math.sqrt(variance + noise)
            # The least of several outcomes lies below their mean.
            below = float(special.ndtri(bound.count / (bound.count + 1))) * math.sqrt(noise)
            away = (bound.value + below - mean) / spread
            # Of a standard normal variable above `away`: its mean, and what its variance loses.
            hazard = math.exp(-away * away / 2 - float(special.log_ndtr(-away)))
            hazard /= math.sqrt(2 * math.pi)
            lost = hazard * (hazard - away)
            doubt, holds = never.get(bound.at, bound.doubt), 1.0
            # Else the quantity alone is to blame, however unlikely that is.
            if doubt or bound.chance:
                chance = bound.chance**bound.count
                by_chance = (1 - doubt) * chance
                above = (1 - doubt) * (1 - chance) * float(special.ndtr(-away))
                holds = above / (above + by_chance + doubt)
                never[bound.at] = doubt / (above + by_chance + doubt)
            gain = variance / spread
            moves = gain * hazard
            left = variance - holds * gain * gain * lost + holds * (1 - holds) * moves**2
            left = max(left, 1e-6 * variance)
            precision = 1 / left - 1 / variance
            if precision <= 1e-9 / variance:
                continue
            moved = mean + holds * moves
            value = (moved / left - mean / variance) / precision
            placed.append(Seen(bound.at, value, 1 / precision))
        works = np.ones(self.forms.shape[1])
        works[list(never)] -= list(never.values())
        return placed, works

    def _condition(self, seen: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        """Log weights of the forms, the mean of each, and the covariance that all share."""
        places, values, variances = seen
        prior = self.departures + self.level_variance
        means = self.forms + self.level
        if not len(places):
            return _normalise(self.weights), means, prior
        at = places.astype(int)
        inner = prior[np.ix_(at, at)] + np.diag(variances)
        rest = values - means[:, at]
        solved = np.linalg.solve(inner, np.concatenate([prior[at], rest.T], axis=1))
        gain, scaled = np.split(solved, [len(prior)], axis=1)
        logs: Array = self.weights - 0.5 * np.sum(rest.T * scaled, axis=0)
        return _normalise(logs), means + rest @ gain, prior - gain.T @ prior[at]


def believe_epochs(sizes: Sequence[int], default: int, max_epochs: float) -> Belief:
    """Epochs to the target: they rise with large batches, and may do so with small ones.

    Large: the hyperbola 1 + B / B_c of McCandlish et al. 2018, B_c anywhere from the smallest
    batch size to three doublings beyond the largest. Small: as likely as not nothing; else a rate
    or a schedule that is not theirs, from anywhere below the default batch size on, which somebody
    chose because it works.
    """
    octaves = np.log2(np.array(sizes, dtype=float))
    upper = np.arange(octaves[0], octaves[-1] + _BEYOND + 0.5, _step(octaves))
    lower = np.arange(octaves[0], max(math.log2(default), octaves[0] + 0.5), _step(octaves))
    large = np.log1p(np.exp2(octaves - upper[:, None]))
    small = np.log1p(np.exp2(2 * (lower[:, None] - octaves)))
    forms = np.concatenate([large, (large[:, None] + small).reshape(-1, len(octaves))])
    each = np.concatenate(
        [np.zeros(len(large)), np.full(len(large) * len(small), -math.log(len(small)))]
    )
    # The default's epochs lie anywhere between one and the limit.
    half = math.log(max(max_epochs, 2.0)) / 2
    forms = forms - forms[:, [list(sizes).index(default)]]
    return Belief(forms, each, half, half * half / 3, _departures(octaves))


def believe_cost(sizes: Sequence[int]) -> Belief:
    """Cost per epoch: it falls with the batch size until the hardware is full (a / B + b)."""
    octaves = np.log2(np.array(sizes, dtype=float))
    knees = np.arange(octaves[0] - 2, octaves[-1] + 2.5, _step(octaves))
    forms = np.log1p(np.exp2(knees[:, None] - octaves))
    each = np.full(len(forms), -math.log(len(forms)))
    return Belief(forms - forms[:, [0]], each, 0.0, 1e4, _departures(octaves))


def _step(octaves: Array) -> float:
    """Places of knees: no more than sixteen."""
    return max(1.0, float(octaves[-1] - octaves[0]) / 16)


def _departures(octaves: Array) -> Array:
    apart = np.abs(octaves[:, None] - octaves)
    return _LEFT**2 * np.exp(-apart / _OCTAVES)


def _combine(seen: Sequence[Seen]) -> tuple[Array, Array, Array]:
    """What was seen of one batch size as one value: places, values, variances."""
    places = np.array(sorted({s.at for s in seen}), dtype=float)
    precision = np.zeros(len(places))
    total = np.zeros(len(places))
    order = {int(place): index for index, place in enumerate(places)}
    for one in seen:
        precision[order[one.at]] += 1 / one.variance
        total[order[one.at]] += one.value / one.variance
    return places, total / np.maximum(precision, 1e-300), 1 / np.maximum(precision, 1e-300)


def _normalise(logs: Array) -> Array:
    """Log probabilities that sum to one."""
    top = float(np.max(logs))
    return logs - (top + math.log(float(np.exp(logs - top).sum(dtype=float))))
