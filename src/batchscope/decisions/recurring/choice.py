"""Which batch size the next run of a recurring job should have: what it costs and what it tells."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from batchscope.decisions.recurring.giving_up import Ends
from batchscope.findings.scaling_posterior import Array

_OUTCOMES = 12
_LEAST_NOISE, _LEAST_EPOCHS = 1e-6, 1e-3
# A batch size that reaches the target less often than this is no anchor.
_LEAST_REACH = 0.05
_TIE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The next run.

    Attributes:
        at: position of the batch size.
        best: position of the batch size that is best by what is known.
        stop_cost: what the run may cost before it is given up; infinite for no limit.
        saving: what the others could still save per run, as a share of the best's cost.
        reach: the probability that a run of the best reaches the target.
    """

    at: int
    best: int
    stop_cost: float
    saving: float
    reach: float


def choose(
    epochs: Array,
    costs: Array,
    *,
    noise: float,
    max_epochs: float,
    max_cost: float,
    recurrences: float,
    cost_noise: float = 0.0,
    chances: Array | None = None,
    is_open: npt.NDArray[np.bool_] | None = None,
    least_epochs: float = 1.0,
    given: int | None = None,
) -> Choice:
    """The batch size with the lowest cost of this run less what knowing its outcome saves later.

    The outcome of a run at each batch size is put into bins; each bin, if it came, would change
    which batch size is taken afterwards (the knowledge gradient of Frazier et al. 2009), for all
    recurrences left. Of runs that are given up or fail the job is run once more at the best.

    Args:
        epochs: (worlds, batch sizes) log of the epochs needed on average.
        costs: the same of the cost per epoch.
        noise: standard deviation of the log of one run's epochs.
        recurrences: of the job that follow this one.
        cost_noise: standard deviation of the log of one run's cost per epoch.
        chances: per batch size, that a run does not fail for another reason than its epochs; None
            where none does.
        is_open: per batch size, whether a run that reaches the target would settle that none fails
            for another reason; None for nowhere.
        least_epochs: that a run takes.
        given: the batch size to run, where that is decided otherwise.
    """
    count = epochs.shape[1]
    chances = np.ones(count) if chances is None else chances
    is_open = np.zeros(count, dtype=bool) if is_open is None else is_open
    limit = _find_limits(costs, max_epochs, max_cost)
    within = special.ndtr((limit - epochs) / max(noise, _LEAST_NOISE))
    ended = np.maximum(epochs, math.log(least_epochs))
    spent = np.exp(np.where(limit > epochs, np.minimum(ended, limit), limit) + costs)
    longest = np.exp(limit + costs)
    reach = within * chances

    doubted = chances < 1
    is_certain = not doubted.any()

    def mix(works: Array, fails: Array | float) -> Array:
        return works if is_certain else chances * works + (1 - chances) * fails

    # A job whose run fails is run once more at the best that is not in doubt.
    expected = mix(spent, longest)
    again = (expected / np.maximum(reach, _LEAST_REACH)).mean(axis=0)
    in_doubt = is_open & doubted
    anchor = float(again.min() if in_doubt.all() else again[~in_doubt].min())
    whole = expected + (1 - reach) * anchor
    means = whole.mean(axis=0)
    best = int(np.argmin(means))
    least = float(means[best])
    ends = Ends(spent, longest, chances, again=least, noise=math.hypot(noise, cost_noise))
    stops = ends.find_stops(best, is_open)
    first = mix(np.minimum(spent, stops), np.minimum(longest, stops))
    misses = mix(np.where(spent > stops, 1.0, 1 - within), 1.0)
    now = (first + misses * least).mean(axis=0)
    # Given up in time, runs that fail may make another one the best that works.
    cheapest = int(np.argmin(np.where(is_open, math.inf, now)))
    if not is_open.all() and now[cheapest] < now[best]:
        best, stops[cheapest] = cheapest, ends.find_late(cheapest)
    ceilings = np.minimum(limit + costs, np.log(stops))
    # What fails for another reason than its epochs tells nothing of them.
    unsettled = np.flatnonzero(in_doubt)
    settled = (spent + (1 - within) * anchor)[:, unsettled]
    later = _expect_least(epochs + costs, ceilings, whole, noise, unsettled, settled)
    gains = chances * (least - later)
    total = now - recurrences * gains
    # A tie goes to what is best already.
    total[best] -= _TIE * least
    at = int(np.argmin(total)) if given is None else given
    saving = float(np.max(np.delete(gains, best), initial=0.0)) / least
    return Choice(
        at=at,
        best=best,
        stop_cost=float(stops[at]),
        saving=saving,
        reach=float(reach.mean(axis=0)[best]),
    )


def guess(
    epochs: Array, costs: Array, *, noise: float, max_epochs: float, max_cost: float, tried: Array
) -> Choice:
    """While no run has reached the target: the least cost over the chance to get there.

    Of the batch sizes that were tried least, so that each has its turn.

    Args:
        epochs, costs, noise, max_epochs, max_cost: as for `choose`.
        tried: per batch size, runs without the target and runs whose end is not known.
    """
    limit = _find_limits(costs, max_epochs, max_cost)
    reach = special.ndtr((limit - epochs) / max(noise, _LEAST_NOISE)).mean(axis=0)
    spent = np.exp(np.minimum(epochs, limit) + costs).mean(axis=0)
    cost = np.where(tried == tried.min(), spent / np.maximum(reach, _LEAST_NOISE), math.inf)
    at = int(np.argmin(cost))
    return Choice(at=at, best=at, stop_cost=math.inf, saving=0.0, reach=float(reach[at]))


def _find_limits(costs: Array, max_epochs: float, max_cost: float) -> Array:
    """Log of the epochs that a run may take in each world; one for all where cost is no limit."""
    longest = np.array(math.log(max_epochs))
    if math.isinf(max_cost):
        return longest
    return np.minimum(longest, np.maximum(math.log(max_cost) - costs, math.log(_LEAST_EPOCHS)))


def _expect_least(
    logs: Array,
    ceilings: Array,
    whole: Array,
    noise: float,
    unsettled: npt.NDArray[np.intp],
    settled: Array,
) -> Array:
    """The cost per job once the outcome of a run is known, on average; per batch size run.

    Args:
        logs: (worlds, batch sizes) log cost of a run.
        ceilings: the log cost above which it ends without the target.
        whole: (worlds, batch sizes) cost per job.
        unsettled: positions of batch sizes whose cost changes once a run there reached the target.
        settled: (worlds, these) their cost per job from there on.
    """
    wide = max(noise, _LEAST_NOISE)
    worlds, count = logs.shape
    ranks = np.arange(1, _OUTCOMES) * worlds // _OUTCOMES
    logs, ceilings = np.ascontiguousarray(logs.T), ceilings.T
    ends = np.empty((count, _OUTCOMES + 2, worlds))
    ends[:, 0], ends[:, -1] = 0.0, 1.0
    ends[:, 1:-2] = np.sort(logs, axis=1)[:, ranks, None]
    ends[:, -2] = np.inf
    within = ends[:, 1:-1]
    np.minimum(within, ceilings[:, None], out=within)
    within -= logs[:, None]
    within /= wide
    special.ndtr(within, out=within)
    # Summed over bins these are the means over all worlds: knowing never seems to cost.
    after = np.diff(ends @ whole, axis=1)
    for at, own in zip(unsettled, settled.T, strict=True):
        # The last bin is of runs that do not get there.
        after[at, :-1, at] = np.diff(ends[at] @ own)[:-1]
    return after.min(axis=2).sum(axis=1) / worlds
