"""Rates searched at each batch size on its own, then further seeds at the best."""

from collections.abc import Sequence
from dataclasses import dataclass

from batchscope.findings.curves import read_curves, tabulate_runs
from batchscope.records import Configuration, Run
from batchscope.studies.configuring import RunMaker
from batchscope.studies.constants import TRIALS
from batchscope.studies.learning_rate import RateSearch, expected_rates
from batchscope.studies.size_search import SizeSearch


@dataclass(frozen=True, slots=True)
class Searched:
    """A search at each batch size, begun at the same rate.

    Attributes:
        start: the learning rate in its middle.
    """

    maker: RunMaker
    start: float

    def expected_runs(self, batch_size: int) -> int:
        del batch_size
        return expected_rates(self._rates) + self._trials + self.maker.plan.seeds - 1

    @property
    def budgets_per_run(self) -> float:
        return 1.0

    def wanted(self, runs: Sequence[Run]) -> list[Configuration]:
        return self.wanted_at(self.maker.plan.batch_sizes, runs)

    def wanted_at(self, sizes: Sequence[int], runs: Sequence[Run]) -> list[Configuration]:
        """What is to be trained at some batch sizes."""
        plan = self.maker.plan
        curves = read_curves(tabulate_runs(runs, {}, tuned=plan.tune))
        ranking = plan.ranking(self.maker.task)
        constants = {run.key: run.configuration.hyper_parameters for run in runs}
        wanted: list[Configuration] = []
        for size in sizes:
            here = [curve for curve in curves if curve.batch_size == size]
            tuned = {
                c.setting: {name: float(constants[c.run][name]) for name in plan.tune} for c in here
            }
            wanted += [
                self.maker.configure(size, wish.learning_rate, wish.seed, tuned=wish.tuned)
                for wish in self._search_at(size).next_runs(here, tuned, ranking)
            ]
        return wanted

    @property
    def _rates(self) -> RateSearch:
        limits = self.maker.plan.limits
        return RateSearch(
            start=self.start,
            rates=limits.rates,
            extensions=limits.extensions,
            refinements=limits.refinements,
            seed=self.maker.plan.seed,
        )

    def _search_at(self, batch_size: int) -> SizeSearch:
        plan, spec = self.maker.plan, self.maker.task.optimizer_spec
        constants = spec.hyper_parameters(batch_size=batch_size, lr=self.start)
        return SizeSearch(
            rates=self._rates,
            own={name: float(constants[name]) for name in plan.tune},
            trials=self._trials,
            first_seed=plan.seed,
            seeds=plan.seeds,
            confirmed=plan.limits.confirmed,
        )

    @property
    def _trials(self) -> int:
        """Of the constants that are tuned beside the rate, at each batch size."""
        plan = self.maker.plan
        return TRIALS.get(plan.effort, 0) * len(plan.tune)
