"""What every way of finding the next runs can do."""

from collections.abc import Sequence
from typing import Protocol

from batchscope.records import Configuration, Run


class Way(Protocol):
    """Finds what to train next, by the set of finished runs alone."""

    @property
    def expected_runs_per_size(self) -> int:
        """About how many runs a batch size takes, stopped ones included."""
        ...

    @property
    def expected_budgets_per_size(self) -> float:
        """About how many whole budgets a batch size takes."""
        ...

    def wanted(self, runs: Sequence[Run]) -> list[Configuration]:
        """What is to be trained as far as the finished runs tell; some of it may be finished."""
        ...
