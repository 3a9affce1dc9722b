"""Most runs stopped before their end: successive halving over the whole study."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from batchscope.findings.curves import Curve, read_curves, tabulate_runs
from batchscope.records import Configuration, Run
from batchscope.studies.configuring import RunMaker
from batchscope.studies.frugal import SHARES, FrugalSearch
from batchscope.studies.rate_trend import RateTrend


@dataclass(frozen=True, slots=True)
class Halving:
    """A frugal search over all batch sizes.

    Attributes:
        start: the learning rate in the middle of the search.
        trend: how rates move with the batch before three sizes are known.
    """

    maker: RunMaker
    start: float
    trend: RateTrend

    def expected_runs(self, batch_size: int) -> int:
        del batch_size
        return round(sum(self._search.expected_per_size()))

    @property
    def budgets_per_run(self) -> float:
        return float(np.average((*SHARES, 1.0), weights=self._search.expected_per_size()))

    def wanted(self, runs: Sequence[Run]) -> list[Configuration]:
        maker = self.maker

        def curves_of(share: float) -> list[Curve]:
            budget = maker.budget_of(share)
            return read_curves(
                tabulate_runs([r for r in runs if r.configuration.budget == budget], {})
            )

        wanted = self._search.next_runs(
            {share: curves_of(share) for share in SHARES},
            curves_of(1.0),
            maker.plan.ranking(maker.task),
        )
        first = maker.plan.seed
        return [
            maker.configure(w.batch_size, w.learning_rate, first + w.extra_seed, share=w.share)
            for w in wanted
        ]

    @property
    def _search(self) -> FrugalSearch:
        plan = self.maker.plan
        return FrugalSearch(
            batch_sizes=plan.batch_sizes,
            start=self.start,
            trend=self.trend,
            rates=plan.limits.rates,
            extensions=plan.limits.extensions,
            seeds=plan.seeds,
            confirmed=plan.limits.confirmed,
            seed=plan.seed,
            same_examples=plan.objective == "quality",
        )
