"""At which cost a run is given up."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from batchscope.decisions.recurring.drift import PRIOR_RUNS
from batchscope.findings.scaling_posterior import Array

# Of what the best that works costs, for a batch size that may never get there.
_TWICE = 2.0
# Deviations of one run about its mean.
_LONG = 2.0
# Of runs about their mean, evenly likely, in units of a spread that few have told.
_DEVIATIONS: Array = stats.t.ppf((np.arange(32) + 0.5) / 32, PRIOR_RUNS)


@dataclass(frozen=True, slots=True)
class Ends:
    """What runs cost to their end, and where they are to be given up.

    Attributes:
        spent: (worlds, batch sizes) cost of a run that does not fail, on average.
        longest: the same of one that fails.
        chances: per batch size, that a run does not fail for another reason than its epochs.
        again: cost of the job begun anew.
        noise: standard deviation of the log of one run's cost.
    """

    spent: Array
    longest: Array
    chances: Array
    again: float
    noise: float

    def find_stops(self, best: int, is_open: npt.NDArray[np.bool_]) -> Array:
        """Per batch size the cost at which a run is given up; infinite for never."""
        if is_open.all():
            return np.full(len(is_open), math.inf)
        stops = _find_stops(self.spent, self.again)
        doubted = self.chances < 1
        if doubted.any():
            # What takes longer than in any world has failed.
            hopeless = self.spent.max(axis=0) * math.exp(_LONG * self.noise)
            hopeless[~doubted | (hopeless >= self.longest.max(axis=0))] = math.inf
            stops = np.minimum(stops, hopeless)
        stops[best] = self.find_late(best)
        # As who rents what he might buy: at most twice what is known to work.
        twice = _TWICE * float(self.spent.mean(axis=0)[~is_open].min())
        stops[is_open] = np.minimum(stops[is_open], twice)
        return stops

    def find_late(self, at: int) -> float:
        """The cost from which on a run of a size that works has more likely failed."""
        if self.chances[at] >= 1:
            return math.inf
        return _find_late(
            self.spent[:, at] * np.exp(self.noise * _DEVIATIONS)[:, None],
            chance=float(self.chances[at]),
            longest=float(self.longest[:, at].mean()),
            again=self.again,
        )


def _find_stops(spent: Array, again: float) -> Array:
    """Per batch size the cost at which giving up is cheapest on average; infinite for never.

    Of worlds that cost more than the stop, the stop is spent and `again` for the job begun anew.

    Args:
        spent: (worlds, batch sizes) cost of a run to its end.
    """
    ordered = np.sort(spent, axis=0)
    count = len(ordered)
    below = np.cumsum(ordered, axis=0) - ordered
    above = count - np.arange(count)[:, None]
    # A run below what the best costs may still win: given up there it would tell nothing.
    total = np.where(ordered < again, math.inf, below + above * (ordered + again))
    at = np.argmin(total, axis=0)
    least = np.take_along_axis(total, at[None], axis=0)[0]
    stops = np.take_along_axis(ordered, at[None], axis=0)[0]
    return np.where(least < ordered.sum(axis=0), stops, math.inf)


def _find_late(ends: Array, *, chance: float, longest: float, again: float) -> float:
    """The cost from which on a run has failed more likely than it is only late; infinite for never.

    There giving up and beginning anew is cheapest on average.

    Args:
        ends: costs of runs that do not fail.
        chance: that a run does not.
        longest: cost of one that fails and is not given up.
        again: the job begun anew.
    """
    ends = np.minimum(np.sort(ends, axis=None), longest)
    later = np.arange(len(ends))[::-1] / len(ends)
    totals = chance * (np.cumsum(ends) / len(ends) + later * (ends + again))
    totals += (1 - chance) * (ends + again)
    stop = float(ends[np.argmin(totals)])
    return stop if stop < longest else math.inf
