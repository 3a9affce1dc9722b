"""What runs take, foreseen from step times, and what they took."""

from collections.abc import Mapping

from batchscope.budget import Budget
from batchscope.instruments.speed.steps import FEWEST_STEPS
from batchscope.records import Configuration, Run
from batchscope.studies.plan import GRID_RATES, GRID_SEEDS, Plan
from batchscope.studies.racing.race import DERIVING_RUNS, RACES
from batchscope.training.evaluation import horizon_examples

# What evaluation adds to a run at the gallery's budgets; the progress bar corrects itself.
_EVALUATION_SHARE = 0.25
# Of the examples of a race, and of one run of each batch size with every seed: what timing their
# steps may take; of a race what timing those of its choice once more may.
_RACE_TIMING_SHARE, _TIMING_SHARE, _RACE_TIMING_AGAIN_SHARE = 0.15, 0.05, 0.03


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
        if self._plan.budget.kind == "seconds":
            return None
        return count_grid(self._plan, self._train_size, seeds=self._plan.seeds)

    def _seconds_of(self, budget: Budget, batch_size: int) -> float:
        steps = budget.steps(self._train_size, batch_size)
        training = budget.amount if steps is None else steps * self._seconds[batch_size]
        return training * (1 + _EVALUATION_SHARE)


def count_grid(plan: Plan, train_size: int, *, seeds: int = GRID_SEEDS) -> int:
    """Examples of the exhaustive grid of a plan that is not in seconds."""
    each = [horizon_examples(plan.budget, train_size, size) for size in plan.batch_sizes]
    return round(sum(each) * GRID_RATES * seeds)


def race_allowance(plan: Plan, train_size: int) -> float:
    """Examples that a race may process.

    Of a grid of few sizes the share would not do to compare any. Whole runs from which a target is
    derived come on top.
    """
    limits, grid = RACES[plan.effort], count_grid(plan, train_size)
    deriving = 0 if plan.target is not None else DERIVING_RUNS
    whole = grid / (len(plan.batch_sizes) * GRID_RATES * GRID_SEEDS)
    return max(limits.share * grid, limits.least_runs * whole) + deriving * whole


def timing_allowance(plan: Plan, train_size: int) -> float | None:
    """Examples that timing the steps of a study may process; None for as many as it takes.

    Where runs are judged by their end alone, step times hardly say more than when it will be done.
    """
    if plan.race:
        return _RACE_TIMING_SHARE * race_allowance(plan, train_size)
    if plan.objective != "quality" or plan.budget.kind == "seconds":
        return None
    each = [horizon_examples(plan.budget, train_size, size) for size in plan.batch_sizes]
    return _TIMING_SHARE * sum(each) * plan.seeds


def charge_timing(examples: int, plan: Plan, train_size: int) -> float:
    """Of the examples that a timing processed those that a study pays for.

    No more than its own would have taken, which is the same whether it was made before, now, or
    before the study was interrupted.
    """
    allowance = timing_allowance(plan, train_size)
    if allowance is None:
        return examples
    share = allowance / len(plan.batch_sizes)
    return min(examples, sum(max(share, FEWEST_STEPS * size) for size in plan.batch_sizes))


def timing_again_allowance(plan: Plan, train_size: int) -> float | None:
    """Examples that timing the steps of the choice once more may process; None as above."""
    return _RACE_TIMING_AGAIN_SHARE * race_allowance(plan, train_size) if plan.race else None


def count_examples(run: Run) -> int:
    """What a run processed, the steps after its last evaluation included."""
    if not run.trajectory.columns:
        return run.steps * run.configuration.batch_size
    seen, at = (run.trajectory.last(name) for name in ("examples", "step"))
    return round(seen + (run.steps - at) * run.configuration.batch_size)
