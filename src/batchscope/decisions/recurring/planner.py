"""The next run of a recurring job, from its history and from what is still running."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from batchscope.decisions.recurring.choice import Choice, choose, guess
from batchscope.decisions.recurring.failing import see_chances
from batchscope.decisions.recurring.history import History
from batchscope.decisions.recurring.worlds import WORLDS, Seen, believe_cost, believe_epochs
from batchscope.findings.scaling_posterior import Array

# Where nothing was timed, of the cost per epoch at one batch size.
_TIMED_VARIANCE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """What the next run should be.

    Attributes:
        batch_size: examples per step.
        power_limit: watts; None where none was timed.
        stop_cost: infinite for never.
        stops_late: whether a run that is given up there has more likely failed than it is only
            late.
        is_best: whether it is the best by what is known, and has reached the target before.
        is_expected: whether it is expected to be the best.
        saving: what the others could still save per run, as a share of the best's cost.
        reach: the probability that a run of the best reaches the target; 1 while nothing is known.
    """

    batch_size: int
    power_limit: float | None
    stop_cost: float
    stops_late: bool
    is_best: bool
    is_expected: bool
    saving: float
    reach: float


class Planner:
    """One model of all batch sizes of a job: epochs to the target times cost per epoch.

    Args:
        sizes: on offer, ascending.
        default: one of them.
        max_epochs: after which a run has failed.
        max_cost: of one run; infinite for no limit.
        seed: of the worlds drawn, the same for each call.
    """

    def __init__(
        self, sizes: Sequence[int], default: int, *, max_epochs: float, max_cost: float, seed: int
    ) -> None:
        self._sizes = tuple(sizes)
        self._max_epochs = max_epochs
        self._max_cost = max_cost
        self._epochs = believe_epochs(sizes, default, max_epochs)
        self._cost = believe_cost(sizes)
        rng = np.random.default_rng(seed)
        self._normals: Array = rng.standard_normal((2, WORLDS, len(sizes)))
        # Forms are drawn evenly: the departures must not follow their order.
        self._order = rng.permutation(WORLDS)

    def begin(self, default: int, history: History) -> Next:
        """The first run, of which nothing is known but perhaps what an epoch costs."""
        known = history.costs.see(self._sizes)
        return Next(
            batch_size=default,
            power_limit=known.get(self._sizes.index(default), (0.0, None))[1],
            stop_cost=self._max_cost,
            stops_late=False,
            is_best=False,
            is_expected=False,
            saving=0.0,
            reach=1.0,
        )

    def plan(self, history: History, *, running: Sequence[int], recurrences: float) -> Next:
        """The next run.

        Args:
            running: batch sizes of runs whose end is not known.
            recurrences: of the job that follow this one.
        """
        noise = history.spread()
        seen = history.see_epochs(self._sizes)
        known = history.costs.see(self._sizes)
        costs = self._draw_costs({at: cost for at, (cost, _) in known.items()})
        epochs, works = self._draw_epochs(seen, noise)
        reached, failed, given_up = history.count(self._sizes)
        fruitless = np.array(failed) + given_up
        if not history.is_anything_known_to_work and fruitless.any():
            tried = fruitless + [running.count(size) for size in self._sizes]
            guessed = guess(
                epochs,
                costs,
                noise=noise,
                max_epochs=self._max_epochs,
                max_cost=self._max_cost,
                tried=tried,
            )
            return self._name(guessed, known, reached)
        ask = functools.partial(
            choose,
            costs=costs,
            noise=noise,
            cost_noise=history.costs.spread(),
            max_epochs=self._max_epochs,
            max_cost=self._max_cost,
            recurrences=recurrences,
            chances=see_chances(reached, failed, given_up, works),
            is_open=np.array(reached) == 0,
            least_epochs=history.least_epochs,
        )
        chosen = ask(epochs)
        if running and (chosen.at != chosen.best or not any(reached)):
            # As if each had ended as expected: another run there would tell less.
            places = [self._sizes.index(size) for size in running]
            expected = epochs.mean(axis=0)
            believed = [Seen(at, float(expected[at]), noise**2) for at in places]
            chosen = ask(self._draw_epochs([*seen, *believed], noise)[0])
            if chosen.at in places:
                # What is best in one of the worlds: runs spread as far as beliefs do.
                world = self._order[len(places) % WORLDS]
                chosen = ask(epochs, given=int(np.argmin(epochs[world] + costs[world])))
        return self._name(chosen, known, reached)

    def _name(
        self, chosen: Choice, known: dict[int, tuple[float, float | None]], reached: Sequence[int]
    ) -> Next:
        is_best = chosen.at == chosen.best and reached[chosen.at] > 0
        # Where no cost is known, those that runs were compared by have no unit.
        stop_cost = min(chosen.stop_cost if known else math.inf, self._max_cost)
        return Next(
            batch_size=self._sizes[chosen.at],
            power_limit=known[chosen.at][1] if chosen.at in known else self._usual_limit(known),
            stop_cost=stop_cost,
            stops_late=is_best and stop_cost < self._max_cost,
            is_best=is_best,
            is_expected=chosen.at == chosen.best,
            saving=chosen.saving,
            reach=chosen.reach,
        )

    def _draw_epochs(self, seen: Sequence[Seen], noise: float) -> tuple[Array, Array]:
        return self._epochs.draw(seen, noise**2, self._normals[0])

    def _draw_costs(self, known: dict[int, float]) -> Array:
        if len(known) == len(self._sizes):
            logs = np.log([known[at] for at in range(len(self._sizes))])
            return np.broadcast_to(logs, (WORLDS, len(logs)))
        # Only ratios count while nothing was timed.
        known = known or {0: 1.0}
        seen = [Seen(at, math.log(cost), _TIMED_VARIANCE) for at, cost in known.items()]
        return self._cost.draw(seen, 0.0, self._normals[1])[0][self._order]

    @staticmethod
    def _usual_limit(known: dict[int, tuple[float, float | None]]) -> float | None:
        limits = [limit for _, limit in known.values() if limit is not None]
        return max(set(limits), key=limits.count) if limits else None
