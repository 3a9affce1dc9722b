"""Every batch size at rates that are named with every seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from batchscope.records import Configuration, Run
from batchscope.studies.configuring import RunMaker


@dataclass(frozen=True, slots=True)
class Grid:
    """The rates that each batch size is trained at with every seed."""

    maker: RunMaker
    rates: Mapping[int, Sequence[float]]

    def expected_runs(self, batch_size: int) -> int:
        return len(self.rates[batch_size]) * self.maker.plan.seeds

    @property
    def budgets_per_run(self) -> float:
        return 1.0

    def wanted(self, runs: Sequence[Run]) -> list[Configuration]:
        del runs
        return [
            self.maker.configure(batch_size, rate, seed)
            for batch_size in self.maker.plan.batch_sizes
            for seed in self.maker.seeds
            for rate in self.rates[batch_size]
        ]
