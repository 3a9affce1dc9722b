"""Only the setting that gets to the target first is looked for: what cannot win is given up."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from batchscope.findings.curves import Curve, read_curves, tabulate_runs
from batchscope.records import Configuration, Run
from batchscope.studies.configuring import RunMaker
from batchscope.studies.cost import count_examples, race_allowance
from batchscope.studies.plan import GRID_RATES, GRID_SEEDS
from batchscope.studies.racing.race import RACES, Race, Trial
from batchscope.studies.racing.search import find_best, next_trials
from batchscope.studies.rate_trend import RateTrend
from batchscope.studies.too_large import smallest_too_large

# About so many runs a race takes, most of them short.
_RUNS = 25


@dataclass(frozen=True, slots=True)
class Raced:
    """A race over all batch sizes.

    Attributes:
        start: the learning rate in the middle of the search.
        trend: how rates move with the batch before three sizes are known.
        step_cost: batch size -> what a step costs; empty for its examples.
        spent: examples that were processed before the first run.
    """

    maker: RunMaker
    start: float
    trend: RateTrend
    step_cost: Mapping[int, float]
    spent: float
    # Runs are looked at before each next one: by the key of the run.
    _seen: dict[str, Curve] = field(
        default_factory=dict[str, Curve], init=False, repr=False, compare=False
    )

    def expected_runs(self, batch_size: int) -> int:
        del batch_size
        return 1 + _RUNS // len(self.maker.plan.batch_sizes)

    @property
    def budgets_per_run(self) -> float:
        plan = self.maker.plan
        each = RACES[plan.effort].share * GRID_RATES * GRID_SEEDS
        return each / self.expected_runs(plan.batch_sizes[0])

    def wanted(self, runs: Sequence[Run]) -> list[Configuration]:
        race = self._race(runs)
        if not race.batch_sizes:
            return []
        return [self._configure(trial) for trial in next_trials(race, self._answer(runs))]

    def find_best(self, runs: Sequence[Run]) -> int | None:
        """The batch size that is believed to be the best; None where none got there."""
        found = find_best(self._race(runs), self._answer(runs))
        return None if found is None else found[0]

    def _race(self, runs: Sequence[Run]) -> Race:
        """Among the sizes that fit; what was spent on others is spent."""
        plan, task = self.maker.plan, self.maker.task
        too_large = smallest_too_large(runs)
        sizes = tuple(size for size in plan.batch_sizes if size < too_large)
        lost = sum(count_examples(run) for run in runs if run.configuration.batch_size >= too_large)
        return Race(
            batch_sizes=sizes,
            step_cost=self.step_cost or {size: float(size) for size in sizes},
            horizon={size: plan.budget.steps(task.train_size, size) or 1 for size in sizes},
            start=self.start,
            trend=self.trend,
            target=plan.target,
            ranking=plan.ranking(task),
            limits=replace(RACES[plan.effort], seeds=plan.seeds),
            allowance=race_allowance(plan, task.train_size),
            spent=self.spent + lost,
        )

    def _configure(self, trial: Trial) -> Configuration:
        seed = self.maker.plan.seed + trial.extra_seed
        whole = self.maker.configure(trial.batch_size, trial.learning_rate, seed, share=trial.share)
        return replace(whole, budget=replace(whole.budget, until=trial.target))

    def _answer(self, runs: Sequence[Run]) -> Callable[[Trial], Curve | None]:
        unseen = [run for run in runs if run.key not in self._seen]
        if unseen:
            self._seen.update((c.run, c) for c in read_curves(tabulate_runs(unseen, {})))
        curves = {run.key: self._seen[run.key] for run in runs if run.key in self._seen}

        def answer(trial: Trial) -> Curve | None:
            keys = self.maker.keys_of(self._configure(trial))
            return next((curves[key] for key in keys if key in curves), None)

        return answer
