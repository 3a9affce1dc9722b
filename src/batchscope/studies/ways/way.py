"""What every way of finding the next runs can do."""

from collections.abc import Sequence
from typing import Protocol

from batchscope.records import Configuration, Run


class Way(Protocol):
    """Finds what to train next, by the set of finished runs alone."""

    def expected_runs(self, batch_size: int) -> int:
        """About how many runs a batch size takes, stopped ones included."""
        ...

    @property
    def budgets_per_run(self) -> float:
        """About what share of a whole budget a run takes."""
        ...

    def wanted(self, runs: Sequence[Run]) -> list[Configuration]:
        """What is to be trained as far as the finished runs tell; some of it may be finished."""
        ...
