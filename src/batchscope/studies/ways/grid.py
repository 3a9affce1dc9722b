"""Every batch size at the same rates with every seed."""

from collections.abc import Sequence
from dataclasses import dataclass

from batchscope.records import Configuration, Run
from batchscope.studies.configuring import RunMaker


@dataclass(frozen=True, slots=True)
class Grid:
    """The rates that every batch size is trained at with every seed."""

    maker: RunMaker
    rates: tuple[float, ...]

    @property
    def expected_runs_per_size(self) -> int:
        return len(self.rates) * self.maker.plan.seeds

    @property
    def expected_budgets_per_size(self) -> float:
        return float(self.expected_runs_per_size)

    def wanted(self, runs: Sequence[Run]) -> list[Configuration]:
        del runs
        return [
            self.maker.configure(batch_size, rate, seed)
            for batch_size in self.maker.plan.batch_sizes
            for seed in self.maker.seeds
            for rate in self.rates
        ]
