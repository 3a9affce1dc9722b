"""What is raced: the settings, what a step of each costs, and how much may be spent."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from batchscope.budget import Target
from batchscope.findings.curves import Curve
from batchscope.findings.default_target import derive_target
from batchscope.findings.tuning import Ranking, tune_sizes
from batchscope.studies.rate_trend import RateTrend

# Of a setting, before a search moves on.
REPEATS = 2
# Whole runs from which a target is derived.
DERIVING_RUNS = 1 + REPEATS


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A run that a search asks for.

    Attributes:
        share: of the budget at most, in (0, 1].
        target: at which it ends; None to spend its share.
        extra_seed: 0 for the first seed.
    """

    batch_size: int
    learning_rate: float
    share: float
    target: Target | None = None
    extra_seed: int = 0

    @property
    def setting(self) -> tuple[int, float]:
        """Batch size and learning rate."""
        return self.batch_size, self.learning_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceLimits:
    """How much a race may spend.

    Attributes:
        share: of the examples of the exhaustive grid, in (0, 1].
        least_runs: of the whole budget, that it may spend however few the batch sizes are.
        rates: of the first round, an odd number.
        survivors: of each round.
        confirmed: settings that are repeated at a time.
        seeds: of the best at least.
    """

    share: float
    least_runs: float
    rates: int
    survivors: tuple[int, ...]
    confirmed: int
    seeds: int


RACES: Mapping[str, RaceLimits] = {
    "quick": RaceLimits(
        share=0.04, least_runs=3.0, rates=3, survivors=(2, 1), confirmed=2, seeds=3
    ),
    "standard": RaceLimits(
        share=0.10, least_runs=4.5, rates=5, survivors=(3, 2), confirmed=3, seeds=5
    ),
    "thorough": RaceLimits(
        share=0.25, least_runs=7.5, rates=7, survivors=(4, 3), confirmed=5, seeds=7
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """What is raced.

    Attributes:
        batch_sizes: in increasing order.
        step_cost: batch size -> what a step costs, in the unit of the objective.
        horizon: batch size -> steps of the whole budget.
        start: the task's own rate; all rates are half a decade apart from it, or half of that.
        trend: how rates move with the batch before three sizes are known.
        target: None to derive one from runs of the whole budget.
        ranking: of full runs, where the target is derived.
        allowance: examples to process in all.
        spent: examples that were processed before the first run.
    """

    batch_sizes: tuple[int, ...]
    step_cost: Mapping[int, float]
    horizon: Mapping[int, int]
    start: float
    trend: RateTrend
    target: Target | None
    ranking: Ranking
    limits: RaceLimits
    allowance: float
    spent: float = 0.0

    @property
    def anchor(self) -> int:
        """Where the rate is settled: the size whose step takes about twice the smallest one's time.

        Inside the middle half of the sizes, so that there is something to move to on both sides.
        """
        sizes = self.batch_sizes
        quarter = len(sizes) // 4
        inside = sizes[quarter : len(sizes) - quarter]
        base = self.step_cost[sizes[0]]
        return min(inside, key=lambda b: abs(math.log(self.step_cost[b] / base / 2)))

    def to_target(
        self,
        setting: tuple[int, float],
        target: Target | None,
        *,
        most: float = math.inf,
        extra_seed: int = 0,
    ) -> Trial:
        """A run to the target.

        Args:
            most: what it may cost until it is given up, in the unit of the objective.
        """
        size, rate = setting
        steps = self.horizon[size]
        if math.isfinite(most):
            steps = max(1, min(steps, math.ceil(most / self.step_cost[size])))
        return Trial(
            batch_size=size,
            learning_rate=rate,
            share=steps / self.horizon[size],
            target=target,
            extra_seed=extra_seed,
        )

    def price(self, trial: Trial) -> float:
        """Examples of a run that goes on to its end."""
        steps = math.ceil(trial.share * self.horizon[trial.batch_size] - 1e-9)
        return max(1, steps) * trial.batch_size


def derive_race_target(whole: Sequence[Curve], ranking: Ranking) -> Target | None:
    """The target that runs of the whole budget lead to, be they few and of one seed."""
    return derive_target(tune_sizes(whole, ranking), ranking, least_seeds=1)
