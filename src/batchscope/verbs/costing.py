"""What each batch size of a study costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from batchscope.decisions.cost import Cost, Prices, Use, cost_of, explain_change
from batchscope.decisions.frontier import pareto
from batchscope.errors import CannotTell, InvalidInput
from batchscope.estimate import Interval
from batchscope.findings.sizes import SizeFindings
from batchscope.verbs.analyzing import analyze
from batchscope.verbs.studying import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What each batch size costs to the target.

    Attributes:
        costs: one per batch size that reached the target, ascending.
        frontier: batch sizes that no other beats in both time and total cost.
        cheapest, fastest: batch sizes.
        sentences: what going from each batch size to the next costs and saves.
    """

    study: str
    task: str
    target: str
    prices: Prices
    costs: tuple[Cost, ...]
    frontier: tuple[int, ...]
    cheapest: int
    fastest: int
    sentences: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """The costs as JSON."""
        return {
            "study": self.study,
            "task": self.task,
            "target": self.target,
            "costs": [cost.to_dict() for cost in self.costs],
            "frontier": list(self.frontier),
            "cheapest": self.cheapest,
            "fastest": self.fastest,
            "sentences": list(self.sentences),
        }


def cost(
    study: Study | str,
    *,
    which: str | None = None,
    prices: Prices | None = None,
    watts: float | None = None,
    devices: int = 1,
    present: int | None = None,
) -> Costs:
    """What each batch size of a study costs to the target.

    Args:
        study: what `study` returned, or what `analyze` reads.
        which: a study's id or its task's name; None for the latest.
        prices: None for time alone.
        watts: of each device while it trains.
        devices: that each run had.
        present: the largest batch size that the hardware at hand fits; larger ones need what
            `prices` has as hardware and engineering. None for all.

    Raises:
        InvalidInput: a number makes no sense.
        CannotTell: no batch size reached the target.
    """
    if watts is not None and watts <= 0:
        raise InvalidInput(
            f"{watts} watts", where="watts", expected="a number above 0", do="mend the number"
        )
    analysis = analyze(study, which=which)
    prices = prices or Prices()
    uses = [
        Use(
            batch_size=size.batch_size,
            devices=devices,
            steps=size.steps,
            step_seconds=step,
            watts=watts,
            is_present=present is None or size.batch_size <= present,
        )
        for size in analysis.sizes
        if (step := _step_seconds(size)) is not None
    ]
    if not uses:
        raise CannotTell(
            f"no batch size of study {analysis.study} has both steps and seconds to a target",
            where="cost",
            expected="runs that reach a target, with times",
            do="name an easier target, or give the runs a larger budget",
        )
    costs = [cost_of(use, prices) for use in uses]
    return Costs(
        study=analysis.study,
        task=analysis.task,
        target=str(analysis.target),
        prices=prices,
        costs=tuple(costs),
        frontier=tuple(_frontier(costs)),
        cheapest=min(costs, key=_total).use.batch_size,
        fastest=min(costs, key=_seconds).use.batch_size,
        sentences=tuple(_explain(costs, prices)),
    )


def _explain(costs: Sequence[Cost], prices: Prices) -> list[str]:
    """From each batch size to the next; to those that need an upgrade from the cheapest at hand."""
    at_hand = [cost for cost in costs if cost.use.is_present]
    return [
        explain_change(
            small if large.use.is_present or not at_hand else min(at_hand, key=_total),
            large,
            prices,
        )
        for small, large in pairwise(costs)
    ]


def _step_seconds(size: SizeFindings) -> Interval | None:
    """Seconds per step; their width is in the seconds of the runs, and is not counted twice."""
    if not isinstance(size.steps, Interval) or not isinstance(size.seconds, Interval):
        return None
    step = size.seconds.value / size.steps.value
    return Interval(value=step, low=step, high=step, unit="s/step")


def _frontier(costs: Sequence[Cost]) -> list[int]:
    kept = pareto([(_seconds(cost), _total(cost)) for cost in costs])
    return [costs[at].use.batch_size for at in kept]


def _seconds(cost: Cost) -> float:
    return cost.seconds.value if isinstance(cost.seconds, Interval) else float("inf")


def _total(cost: Cost) -> float:
    """Money, or device-hours where nothing has a price."""
    if isinstance(cost.total, Interval) and cost.total.value > 0:
        return cost.total.value
    return cost.device_hours.value if isinstance(cost.device_hours, Interval) else float("inf")
