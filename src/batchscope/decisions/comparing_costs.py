"""Which batch size is the cheapest, on how many devices, and how surely."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from batchscope.decisions.cost import (
    Cost,
    Prices,
    Use,
    cost_of,
    explain_change,
    price_per_second,
    rank_seconds,
    rank_total,
)
from batchscope.decisions.frontier import pareto
from batchscope.decisions.levels import Level
from batchscope.decisions.odds import (
    NEAR,
    TOLERANCE,
    Odds,
    draw_log,
    draw_means,
    read_logs,
    weigh,
)
from batchscope.estimate import Interval
from batchscope.findings.analysis import Analysis


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What each batch size costs to the target.

    Attributes:
        costs: one per number of devices and batch size that reached the target, ascending.
        odds: of each cost in time, and in total cost; None where hardly any seed ran at every size.
        on_frontier: positions of the costs that no other beats in both time and total cost.
        levels: the frontier of time, cost and quality, from easy levels to hard ones.
        sentences: what is left out, how surely each is the best, and what going from each batch
            size to the next costs and saves.
    """

    study: str
    task: str
    target: str
    prices: Prices
    costs: tuple[Cost, ...]
    odds: tuple[tuple[Odds, Odds], ...] | None
    on_frontier: tuple[int, ...]
    levels: tuple[Level, ...]
    cheapest: Use
    fastest: Use
    sentences: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """The costs as JSON."""
        return {
            "study": self.study,
            "task": self.task,
            "target": self.target,
            "costs": [
                cost.to_dict()
                | {"on_frontier": at in self.on_frontier, "odds": self._odds_to_dict(at)}
                for at, cost in enumerate(self.costs)
            ],
            "frontier": list(
                dict.fromkeys(self.costs[at].use.batch_size for at in self.on_frontier)
            ),
            "levels": [level.to_dict() for level in self.levels],
            "cheapest": self.cheapest.batch_size,
            "cheapest_devices": self.cheapest.devices,
            "fastest": self.fastest.batch_size,
            "fastest_devices": self.fastest.devices,
            "sentences": list(self.sentences),
        }

    def _odds_to_dict(self, at: int) -> dict[str, object] | None:
        if self.odds is None:
            return None
        time, total = self.odds[at]
        return {"time": time.to_dict(), "cost": total.to_dict()}


def compare_costs(
    analysis: Analysis, uses: Sequence[Use], prices: Prices, levels: Sequence[Level]
) -> Costs:
    """The cost of each use, its odds, and what going from one to the next does.

    Args:
        analysis: with a target; of the batch sizes of the uses.
        uses: at least one, ascending in devices and batch size.
        levels: what more quality takes, and less.
    """
    costs = [cost_of(use, prices) for use in uses]
    odds = _weigh(analysis, costs, prices)
    return Costs(
        study=analysis.study,
        task=analysis.task,
        target=str(analysis.target),
        prices=prices,
        costs=tuple(costs),
        odds=odds,
        on_frontier=tuple(pareto([(rank_seconds(cost), rank_total(cost)) for cost in costs])),
        levels=tuple(levels),
        cheapest=min(costs, key=rank_total).use,
        fastest=min(costs, key=rank_seconds).use,
        sentences=(
            *_name_left_out(analysis, {use.batch_size for use in uses}),
            *_explain_odds(costs, odds, prices),
            *_explain(costs, prices),
        ),
    )


def _name_left_out(analysis: Analysis, costed: Collection[int]) -> Iterator[str]:
    for size in analysis.sizes:
        if size.batch_size in costed:
            continue
        missed = size.seeds - size.reached
        why = "its steps were not timed"
        if missed:
            why = f"{missed} of its {size.seeds} seeds did not get to {analysis.target}"
        elif not isinstance(size.steps, Interval):
            why = size.steps.reason
        yield f"Batch size {size.batch_size:,} is left out: {why}."


def _weigh(
    analysis: Analysis, costs: Sequence[Cost], prices: Prices
) -> tuple[tuple[Odds, Odds], ...] | None:
    """The odds of each choice in time and in total cost; None without a spread to draw from."""
    target = analysis.target
    assert target is not None
    wanted = {cost.use.batch_size for cost in costs}
    logs = read_logs([size for size in analysis.tuned if size.batch_size in wanted], target)
    rng = np.random.default_rng(0)
    steps = draw_means(logs, rng) if set(logs) == wanted else None
    if steps is None:
        return None
    seconds = [steps[cost.use.batch_size] + _draw_step(cost, rng) for cost in costs]
    totals = [_add_costs(log, cost, prices) for log, cost in zip(seconds, costs, strict=True)]
    in_time, in_total = (weigh(np.stack(logs, axis=1)) for logs in (seconds, totals))
    return tuple(zip(in_time, in_total, strict=True))


def _draw_step(cost: Cost, rng: np.random.Generator) -> np.ndarray:
    step = cost.use.step_seconds
    assert isinstance(step, Interval)
    return draw_log(step, rng)


def _add_costs(log_seconds: np.ndarray, cost: Cost, prices: Prices) -> np.ndarray:
    """The log of what seconds cost and of what was paid once; of device-seconds without prices.

    Logs are added as logs: with few seeds a draw may exceed any number.
    """
    use = cost.use
    price = price_per_second(prices, devices=use.devices, watts=use.watts)
    if not price:
        return log_seconds + math.log(use.devices)
    once = math.log(cost.upfront) if cost.upfront > 0 else -math.inf
    return np.logaddexp(log_seconds + math.log(price), once)


def _explain_odds(
    costs: Sequence[Cost], odds: tuple[tuple[Odds, Odds], ...] | None, prices: Prices
) -> Iterator[str]:
    if odds is None or len(costs) < 2:
        return
    several = len({cost.use.devices for cost in costs}) > 1
    for place, word in enumerate(("fastest", "cheapest")):
        each = [one[place] for one in odds]
        best = max(range(len(each)), key=lambda at: each[at].best)
        yield (
            f"{_name(costs[best].use, several).capitalize()} is the {word} with a probability of "
            f"{each[best].best:.0%}, and within {NEAR:.0%} of it with {each[best].near:.0%}."
        )
        good = [cost.use for cost, one in zip(costs, each, strict=True) if one.regret <= TOLERANCE]
        if good:
            least = min(good, key=lambda use: (use.batch_size, use.devices))
            yield (
                f"The smallest that is expected to be within {TOLERANCE:.0%} of the {word} is "
                f"{_name(least, several)}."
            )
        # With one price, one power and one number of devices the cheapest is the fastest.
        rates = {
            price_per_second(prices, devices=cost.use.devices, watts=cost.use.watts)
            for cost in costs
        }
        is_alike = len(rates) == 1
        if not several and is_alike and not any(cost.upfront for cost in costs):
            return


def _name(use: Use, several: bool) -> str:
    on = f" on {use.devices} device{'s' if use.devices > 1 else ''}" if several else ""
    return f"batch size {use.batch_size:,}{on}"


def _explain(costs: Sequence[Cost], prices: Prices) -> list[str]:
    """From each batch size to the next, on the fewest devices, to those that need an upgrade from
    the cheapest at hand; then from each number of devices to the next, at the fastest of each.
    """
    at_hand = [cost for cost in costs if cost.use.is_present]
    if not at_hand:
        return ["Every batch size needs the upgrade: nothing at hand to compare it with."]
    on: dict[int, list[Cost]] = {}
    for cost in costs:
        on.setdefault(cost.use.devices, []).append(cost)
    fewest = on[min(on)]
    here = [cost for cost in at_hand if cost.use.devices == min(on)]
    changes = [
        (small if large.use.is_present or not here else min(here, key=rank_total), large)
        for small, large in pairwise(fewest)
    ]
    fastest = [min(on[count], key=rank_seconds) for count in sorted(on)]
    changes += [(few, many) for few, many in pairwise(fastest) if many.use.is_present]
    return [explain_change(small, large, prices) for small, large in changes]
