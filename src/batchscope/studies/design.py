"""What a study trains, given what is finished: rounds at each batch size until nothing is left."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from batchscope.budget import Budget
from batchscope.findings.curves import Curve, read_curves, tabulate_runs
from batchscope.findings.plateau import pooled_deviation
from batchscope.findings.power import count_seeds
from batchscope.findings.tuning import Ranking, TunedSize, tune_sizes
from batchscope.records import Configuration, Run
from batchscope.studies.constants import TRIALS
from batchscope.studies.cost import count_examples, race_allowance
from batchscope.studies.frugal import SHARES, FrugalSearch
from batchscope.studies.learning_rate import (
    RateSearch,
    expected_rates,
    fit_exponent,
    grid_rates,
    round_rate,
)
from batchscope.studies.plan import GRID_RATES, GRID_SEEDS, Plan, configure
from batchscope.studies.racing.race import RACES, Race, Trial
from batchscope.studies.racing.search import find_best, next_trials
from batchscope.studies.rate_trend import RateTrend
from batchscope.studies.rules import FITTED
from batchscope.studies.size_search import SizeSearch
from batchscope.task import Task

# About so many runs a race takes, most of them short.
_RACED_RUNS = 25


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
    # Of a study of thousands of runs each is asked for again and again, and has its key to find.
    _made: dict[tuple[object, ...], Configuration] = field(
        default_factory=dict[tuple[object, ...], Configuration],
        init=False,
        repr=False,
        compare=False,
    )
    # Of a race, which looks at all of them before each run: by the key of the run.
    _seen: dict[str, Curve] = field(
        default_factory=dict[str, Curve], init=False, repr=False, compare=False
    )

    @property
    def search(self) -> RateSearch:
        """The learning-rate search at each batch size."""
        limits = self.plan.limits
        return RateSearch(
            start=self.start,
            rates=limits.rates,
            extensions=limits.extensions,
            refinements=limits.refinements,
            seed=self.plan.seed,
        )

    @property
    def grid(self) -> tuple[float, ...]:
        """The rates that every batch size is trained at with every seed; empty for a search."""
        if self.plan.exhaustive:
            return grid_rates(self.start, GRID_RATES)
        if self.plan.rule not in (None, FITTED):
            return self.plan.learning_rates or (self.start,)
        return self.plan.learning_rates

    @property
    def is_frugal(self) -> bool:
        """Whether most runs are stopped before their end."""
        return self.plan.effort == "frugal" and not self.grid

    @property
    def expected_runs_per_size(self) -> int:
        """About how many runs a batch size takes, stopped ones included."""
        if self.grid:
            return len(self.grid) * self.plan.seeds
        if self.is_frugal:
            return round(sum(self._frugal.expected_per_size()))
        if self.plan.race:
            return 1 + _RACED_RUNS // len(self.plan.batch_sizes)
        searched = expected_rates(self.search) + self._trials + self.plan.seeds - 1
        if self.plan.rule != FITTED:
            return searched
        sizes, anchors = len(self.plan.batch_sizes), len(self._anchors)
        return round((anchors * searched + (sizes - anchors) * self.plan.seeds) / sizes)

    @property
    def expected_budgets_per_size(self) -> float:
        """About how many whole budgets a batch size takes."""
        if self.plan.race:
            return RACES[self.plan.effort].share * GRID_RATES * GRID_SEEDS
        if not self.is_frugal:
            return float(self.expected_runs_per_size)
        shares = (*SHARES, 1.0)
        return float(np.dot(shares, self._frugal.expected_per_size()))

    def configure(
        self,
        batch_size: int,
        lr: float,
        seed: int,
        *,
        share: float = 1.0,
        tuned: Mapping[str, float] | None = None,
    ) -> Configuration:
        """One run of this study, of a share of its budget; `tuned` constants replace the task's."""
        asked = (batch_size, lr, seed, share, *sorted((tuned or {}).items()))
        if asked not in self._made:
            self._made[asked] = self._make(batch_size, lr, seed, share=share, tuned=tuned)
        return self._made[asked]

    def _make(
        self,
        batch_size: int,
        lr: float,
        seed: int,
        *,
        share: float,
        tuned: Mapping[str, float] | None,
    ) -> Configuration:
        whole = configure(
            self.task,
            self.plan,
            self.fingerprint,
            batch_size=batch_size,
            lr=lr,
            seed=seed,
            tuned=tuned,
        )
        return replace(whole, budget=self._budget_of(share))

    def next_configurations(self, runs: Sequence[Run]) -> list[Configuration]:
        """The runs to train next, given the finished ones.

        Each batch size goes its own way: its search first, then further seeds at its best rate. No
        batch size at which memory ran out is tried again, nor any larger one.
        """
        done = {run.key for run in runs}
        missing = self._leave_out(self._wanted(runs), runs, done)
        if missing or self.plan.detect is None:
            return missing
        return self._leave_out(self._more_seeds(runs), runs, done)

    def _wanted(self, runs: Sequence[Run]) -> list[Configuration]:
        if self.grid:
            return self._whole_grid()
        ranking = self.plan.ranking(self.task)
        if self.plan.race:
            return self._next_raced(runs)
        if self.is_frugal:
            return self._next_frugal(runs, ranking)
        if self.plan.rule == FITTED:
            return self._next_fitted(runs, ranking)
        return self._next_searched(self.plan.batch_sizes, runs, ranking)

    def _next_searched(
        self, sizes: Sequence[int], runs: Sequence[Run], ranking: Ranking
    ) -> list[Configuration]:
        curves = self._read(runs)
        constants = {run.key: run.configuration.hyper_parameters for run in runs}
        wanted: list[Configuration] = []
        for size in sizes:
            here = [curve for curve in curves if curve.batch_size == size]
            tuned = {
                c.setting: {name: float(constants[c.run][name]) for name in self.plan.tune}
                for c in here
            }
            wishes = self._search_at(size).next_runs(here, tuned, ranking)
            wanted += [self.configure(size, w.learning_rate, w.seed, tuned=w.tuned) for w in wishes]
        return wanted

    def _read(self, runs: Sequence[Run]) -> list[Curve]:
        return read_curves(tabulate_runs(runs, {}, tuned=self.plan.tune))

    @property
    def _anchors(self) -> tuple[int, ...]:
        """The batch sizes at which the power law of the rates is found."""
        sizes = self.plan.batch_sizes
        return tuple(dict.fromkeys((sizes[0], sizes[len(sizes) // 2], sizes[-1])))

    def _next_fitted(self, runs: Sequence[Run], ranking: Ranking) -> list[Configuration]:
        """A search at the anchors first; the other sizes take what a power law gives them."""
        searched = self._next_searched(self._anchors, runs, ranking)
        at_anchors = [curve for curve in self._read(runs) if curve.batch_size in self._anchors]
        best = {s.batch_size: s.learning_rate for s in tune_sizes(at_anchors, ranking)}
        if searched or len(best) < 2:
            return searched
        exponent, at_one = fit_exponent(best)
        first = self.plan.seed
        return [
            self.configure(size, round_rate(at_one * size**exponent), seed)
            for size in self.plan.batch_sizes
            if size not in self._anchors
            for seed in range(first, first + self.plan.seeds)
        ]

    def _leave_out(
        self, wanted: Sequence[Configuration], runs: Sequence[Run], done: set[str]
    ) -> list[Configuration]:
        """What is neither finished nor too large."""
        too_large = smallest_too_large(runs)
        return [c for c in wanted if c.batch_size < too_large and not self.is_known(c, done)]

    def seeds_to_detect(self, runs: Sequence[Run]) -> tuple[int | None, float] | None:
        """How many seeds show the difference asked for, and the deviation that says so.

        No number where it takes more than are ever trained.
        The deviation is of the first seeds alone, so that further ones do not change the answer.
        None where no difference was asked for, or fewer than two sizes have two seeds.
        """
        return self._count_seeds(self._tune_first_seeds(runs))

    def _tune_first_seeds(self, runs: Sequence[Run]) -> list[TunedSize]:
        """The batch sizes at their best rates, by the seeds that are trained in any case."""
        last = self.plan.seed + self.plan.seeds
        first = [run for run in runs if run.configuration.seed < last]
        curves = read_curves(
            tabulate_runs(first, {}, budget=self.plan.budget, tuned=self.plan.tune)
        )
        return [
            size
            for size in tune_sizes(curves, self.plan.ranking(self.task))
            if len(size.curves) > 1
        ]

    def _count_seeds(self, tuned: Sequence[TunedSize]) -> tuple[int | None, float] | None:
        if self.plan.detect is None:
            return None
        metric = self.plan.ranking(self.task).quality
        finals = {
            size.batch_size: {c.seed: float(c.columns[metric][-1]) for c in size.curves}
            for size in tuned
            if all(c.finished for c in size.curves)
        }
        if len(finals) < 2:
            return None
        deviation, _ = pooled_deviation(finals)
        return count_seeds(self.plan.detect, deviation), deviation

    def _more_seeds(self, runs: Sequence[Run]) -> list[Configuration]:
        tuned = self._tune_first_seeds(runs)
        found = self._count_seeds(tuned)
        if found is None or found[0] is None:
            return []
        first = self.plan.seed
        of_run = {run.key: run.configuration for run in runs}
        return [
            replace(of_run[size.curves[0].run], seed=first + extra, fingerprint=self.fingerprint)
            for size in tuned
            for extra in range(self.plan.seeds, found[0])
        ]

    def is_known(self, configuration: Configuration, done: set[str]) -> bool:
        """Whether a run is finished, by this task or by the earlier one that counts as it."""
        return any(key in done for key in self.keys_of(configuration))

    def keys_of(self, configuration: Configuration) -> Iterator[str]:
        """The keys under which a run of this study may be stored."""
        yield configuration.key
        if self.earlier is not None:
            yield replace(configuration, fingerprint=self.earlier).key

    @property
    def _frugal(self) -> FrugalSearch:
        return FrugalSearch(
            batch_sizes=self.plan.batch_sizes,
            start=self.start,
            trend=self._trend,
            rates=self.plan.limits.rates,
            extensions=self.plan.limits.extensions,
            seeds=self.plan.seeds,
            confirmed=self.plan.limits.confirmed,
            seed=self.plan.seed,
            same_examples=self.plan.objective == "quality",
        )

    @property
    def _trend(self) -> RateTrend:
        spec = self.task.optimizer_spec
        return RateTrend(
            optimizer=spec.name,
            is_adaptive="beta2" in spec.hyper_parameters(batch_size=1, lr=1.0),
            noise_scale=self.plan.noise_scale,
        )

    def _race(self, runs: Sequence[Run] = ()) -> Race:
        """Among the sizes that fit; what was spent on others is spent."""
        plan, task = self.plan, self.task
        too_large = smallest_too_large(runs)
        sizes = tuple(size for size in plan.batch_sizes if size < too_large)
        lost = sum(count_examples(run) for run in runs if run.configuration.batch_size >= too_large)
        horizon = {size: plan.budget.steps(task.train_size, size) or 1 for size in sizes}
        return Race(
            batch_sizes=sizes,
            step_cost=self.step_cost or {size: float(size) for size in sizes},
            horizon=horizon,
            start=self.start,
            trend=self._trend,
            target=plan.target,
            ranking=plan.ranking(task),
            limits=replace(RACES[plan.effort], seeds=plan.seeds),
            allowance=race_allowance(plan, task.train_size),
            spent=self.spent + lost,
        )

    def _next_raced(self, runs: Sequence[Run]) -> list[Configuration]:
        race = self._race(runs)
        if not race.batch_sizes:
            return []
        return [self._of_trial(trial) for trial in next_trials(race, self._answer(runs))]

    def best_raced(self, runs: Sequence[Run]) -> int | None:
        """The batch size that a race believes to be the best; None where none got there."""
        found = find_best(self._race(runs), self._answer(runs))
        return None if found is None else found[0]

    def _of_trial(self, trial: Trial) -> Configuration:
        seed = self.plan.seed + trial.extra_seed
        whole = self.configure(trial.batch_size, trial.learning_rate, seed, share=trial.share)
        return replace(whole, budget=replace(whole.budget, until=trial.target))

    def _answer(self, runs: Sequence[Run]) -> Callable[[Trial], Curve | None]:
        unseen = [run for run in runs if run.key not in self._seen]
        if unseen:
            self._seen.update((c.run, c) for c in read_curves(tabulate_runs(unseen, {})))
        curves = {run.key: self._seen[run.key] for run in runs if run.key in self._seen}

        def answer(trial: Trial) -> Curve | None:
            keys = self.keys_of(self._of_trial(trial))
            return next((curves[key] for key in keys if key in curves), None)

        return answer

    def _budget_of(self, share: float) -> Budget:
        whole = self.plan.budget
        return whole if share == 1 else replace(whole, amount=whole.amount * share)

    def _next_frugal(self, runs: Sequence[Run], ranking: Ranking) -> list[Configuration]:
        def curves_of(share: float) -> list[Curve]:
            budget = self._budget_of(share)
            return read_curves(
                tabulate_runs([r for r in runs if r.configuration.budget == budget], {})
            )

        wanted = self._frugal.next_runs(
            {share: curves_of(share) for share in SHARES}, curves_of(1.0), ranking
        )
        first = self.plan.seed
        return [
            self.configure(w.batch_size, w.learning_rate, first + w.extra_seed, share=w.share)
            for w in wanted
        ]

    def _whole_grid(self) -> list[Configuration]:
        first = self.plan.seed
        return [
            self.configure(batch_size, rate, seed)
            for batch_size in self.plan.batch_sizes
            for seed in range(first, first + self.plan.seeds)
            for rate in self.grid
        ]

    def _search_at(self, batch_size: int) -> SizeSearch:
        constants = self.task.optimizer_spec.hyper_parameters(batch_size=batch_size, lr=self.start)
        return SizeSearch(
            rates=self.search,
            own={name: float(constants[name]) for name in self.plan.tune},
            trials=self._trials,
            first_seed=self.plan.seed,
            seeds=self.plan.seeds,
            confirmed=self.plan.limits.confirmed,
        )

    @property
    def _trials(self) -> int:
        """Of the constants that are tuned beside the rate, at each batch size."""
        return TRIALS.get(self.plan.effort, 0) * len(self.plan.tune)


def smallest_too_large(runs: Sequence[Run]) -> float:
    """The smallest batch size at which memory ran out; infinite where it never did."""
    sizes = [run.configuration.batch_size for run in runs if run.status == "out_of_memory"]
    return min(sizes, default=math.inf)
