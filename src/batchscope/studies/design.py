"""What a study trains, given what is finished: rounds until nothing is left."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from batchscope.records import Configuration, Run
from batchscope.studies.configuring import RunMaker
from batchscope.studies.detecting import seeds_to_detect, wanted_to_detect
from batchscope.studies.learning_rate import grid_rates
from batchscope.studies.plan import GRID_RATES, Plan
from batchscope.studies.rate_trend import RateTrend
from batchscope.studies.rules import FITTED
from batchscope.studies.too_large import smallest_too_large
from batchscope.studies.ways.fitted import Fitted
from batchscope.studies.ways.grid import Grid
from batchscope.studies.ways.halving import Halving
from batchscope.studies.ways.raced import Raced
from batchscope.studies.ways.searched import Searched
from batchscope.studies.ways.way import Way
from batchscope.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyDesign:
    """A plan on a task: what to train, given what is finished.

    Attributes:
        fingerprint: of the task as it is now.
        earlier: the fingerprint whose runs count as this task's; None for none.
        start: the learning rate in the middle of the search.
        step_cost: of a race, batch size -> what a step costs.
        spent: of a race, examples that were processed before its first run.
    """

    task: Task
    plan: Plan
    fingerprint: str
    earlier: str | None
    start: float
    step_cost: Mapping[int, float] = field(default_factory=dict[int, float])
    spent: float = 0.0
    _maker: RunMaker = field(init=False, repr=False, compare=False)
    _way: Way = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        maker = RunMaker(
            task=self.task, plan=self.plan, fingerprint=self.fingerprint, earlier=self.earlier
        )
        object.__setattr__(self, "_maker", maker)
        object.__setattr__(self, "_way", self._choose_way(maker))

    @property
    def grid(self) -> dict[int, tuple[float, ...]]:
        """The rates that each batch size is trained at with every seed; empty for a search."""
        plan = self.plan
        if plan.own_rates:
            return dict(plan.own_rates)
        rates = plan.learning_rates
        if plan.exhaustive:
            rates = grid_rates(self.start, GRID_RATES)
        elif plan.rule not in (None, FITTED):
            rates = rates or (self.start,)
        return dict.fromkeys(plan.batch_sizes, rates) if rates else {}

    def expected_runs(self, batch_size: int) -> int:
        """About how many runs a batch size takes, stopped ones included."""
        return self._way.expected_runs(batch_size)

    @property
    def budgets_per_run(self) -> float:
        """About what share of a whole budget a run takes."""
        return self._way.budgets_per_run

    def next_configurations(self, runs: Sequence[Run]) -> list[Configuration]:
        """The runs to train next, given the finished ones.

        No batch size at which memory ran out is tried again, nor any larger one.
        """
        done = {run.key for run in runs}
        missing = self._leave_out(self._way.wanted(runs), runs, done)
        if missing or self.plan.detect is None:
            return missing
        return self._leave_out(wanted_to_detect(self._maker, runs), runs, done)

    def seeds_to_detect(self, runs: Sequence[Run]) -> tuple[int | None, float] | None:
        """How many seeds show the difference asked for, and the deviation that says so."""
        return seeds_to_detect(self._maker, runs)

    def best_raced(self, runs: Sequence[Run]) -> int | None:
        """The batch size that a race believes to be the best; None where none got there."""
        return self._way.find_best(runs) if isinstance(self._way, Raced) else None

    def keys_of(self, configuration: Configuration) -> Iterator[str]:
        """The keys under which a run of this study may be stored."""
        return self._maker.keys_of(configuration)

    def _choose_way(self, maker: RunMaker) -> Way:
        spec = self.task.optimizer_spec
        trend = RateTrend(
            optimizer=spec.name,
            is_adaptive="beta2" in spec.hyper_parameters(batch_size=1, lr=1.0),
            noise_scale=self.plan.noise_scale,
        )
        if self.grid:
            return Grid(maker, self.grid)
        if self.plan.race:
            return Raced(maker, self.start, trend, self.step_cost, self.spent)
        if self.plan.rule == FITTED:
            return Fitted(Searched(maker, self.start))
        if self.plan.effort == "frugal":
            return Halving(maker, self.start, trend)
        return Searched(maker, self.start)

    def _leave_out(
        self, wanted: Sequence[Configuration], runs: Sequence[Run], done: set[str]
    ) -> list[Configuration]:
        """What is neither finished nor too large."""
        too_large = smallest_too_large(runs)
        return [c for c in wanted if c.batch_size < too_large and not self._maker.is_known(c, done)]
