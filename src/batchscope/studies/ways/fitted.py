"""Rates searched at three batch sizes, the others' by a power law between them."""

from collections.abc import Sequence
from dataclasses import dataclass

from batchscope.findings.curves import read_curves, tabulate_runs
from batchscope.findings.tuning import tune_sizes
from batchscope.records import Configuration, Run
from batchscope.studies.learning_rate import fit_exponent, round_rate
from batchscope.studies.ways.searched import Searched


@dataclass(frozen=True, slots=True)
class Fitted:
    """A search at the anchors, and what their power law gives the other batch sizes."""

    search: Searched

    def expected_runs(self, batch_size: int) -> int:
        if batch_size in self._anchors:
            return self.search.expected_runs(batch_size)
        return self.search.maker.plan.seeds

    @property
    def budgets_per_run(self) -> float:
        return 1.0

    def wanted(self, runs: Sequence[Run]) -> list[Configuration]:
        maker = self.search.maker
        searched = self.search.wanted_at(self._anchors, runs)
        curves = read_curves(tabulate_runs(runs, {}, tuned=maker.plan.tune))
        at_anchors = [curve for curve in curves if curve.batch_size in self._anchors]
        tuned = tune_sizes(at_anchors, maker.plan.ranking(maker.task))
        best = {size.batch_size: size.learning_rate for size in tuned}
        if searched or len(best) < 2:
            return searched
        exponent, at_one = fit_exponent(best)
        return [
            maker.configure(size, round_rate(at_one * size**exponent), seed)
            for size in maker.plan.batch_sizes
            if size not in self._anchors
            for seed in maker.seeds
        ]

    @property
    def _anchors(self) -> tuple[int, ...]:
        """The batch sizes at which the power law is found."""
        sizes = self.search.maker.plan.batch_sizes
        return tuple(dict.fromkeys((sizes[0], sizes[len(sizes) // 2], sizes[-1])))
