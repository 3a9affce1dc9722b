"""What runs take, foreseen from step times, and what they took."""

from collections.abc import Mapping

from batchscope.budget import Budget
from batchscope.records import Configuration, Run
from batchscope.studies.plan import GRID_RATES, Plan
from batchscope.training.evaluation import horizon_examples

# What evaluation adds to a run at the gallery's budgets; the progress bar corrects itself.
_EVALUATION_SHARE = 0.25


class CostModel:
    """Seconds of the runs of a plan on a machine that they have to themselves.

    Args:
        seconds: batch size -> seconds per step.
    """

    def __init__(self, plan: Plan, seconds: Mapping[int, float], *, train_size: int) -> None:
        self._plan = plan
        self._train_size = train_size
        self._seconds = seconds

    def predict(self, configuration: Configuration) -> float:
        """Of one run to the end of its own budget."""
        return self._seconds_of(configuration.budget, configuration.batch_size)

    def at_size(self, batch_size: int) -> float:
        """Of a run of the whole budget."""
        return self._seconds_of(self._plan.budget, batch_size)

    def spared(self, run: Run) -> float:
        """That a finished run did not take of the whole budget."""
        batch_size = run.configuration.batch_size
        steps = self._plan.budget.steps(self._train_size, batch_size)
        if steps is None or run.status != "finished":
            return 0.0
        return self.at_size(batch_size) * max(0.0, 1 - run.steps / steps)

    @property
    def grid_examples(self) -> int | None:
        """Of the exhaustive grid: each size at five rates with all seeds; None for seconds."""
        budget = self._plan.budget
        if budget.kind == "seconds":
            return None
        sizes = self._plan.batch_sizes
        each = [horizon_examples(budget, self._train_size, size) for size in sizes]
        return round(sum(each) * GRID_RATES * self._plan.seeds)

    def _seconds_of(self, budget: Budget, batch_size: int) -> float:
        steps = budget.steps(self._train_size, batch_size)
        training = budget.amount if steps is None else steps * self._seconds[batch_size]
        return training * (1 + _EVALUATION_SHARE)


def count_examples(run: Run) -> int:
    """What a run processed, the steps after its last evaluation included."""
    if not run.trajectory.columns:
        return run.steps * run.configuration.batch_size
    seen, at = (run.trajectory.last(name) for name in ("examples", "step"))
    return round(seen + (run.steps - at) * run.configuration.batch_size)
