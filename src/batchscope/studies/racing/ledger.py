"""What the finished runs of a race took, and what is left to pay for others."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from batchscope.budget import Target
from batchscope.findings.curves import Curve
from batchscope.findings.to_target import is_met_untrained, need_to_target
from batchscope.studies.racing.race import Race, Trial

# Batch size and learning rate.
Setting = tuple[int, float]

# Of the log of a cost: a difference of a tenth is worth knowing.
_WORTH_KNOWING = 0.1
# Times the usual repeats at most, where seeds scatter so much that those do not show it.
_MOST_SEEDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """One seed of a setting.

    Attributes:
        log: of what it took, at least; infinite where it never gets there.
        is_there: whether it reached the target.
        may_go_on: whether it was given up before the end of the budget.
    """

    log: float
    is_there: bool
    may_go_on: bool


@dataclass(slots=True)
class Ledger:
    """The finished runs of a race, and their costs.

    Attributes:
        target: None until it is known.
        curves: of the runs, in the order in which they were asked for.
        spent: examples, those before the first run included.
    """

    race: Race
    target: Target | None = field(init=False)
    curves: dict[Trial, Curve] = field(init=False, default_factory=dict[Trial, Curve])
    spent: float = field(init=False)
    _costs: dict[tuple[Trial, Target], float] = field(
        init=False, default_factory=dict[tuple[Trial, Target], float]
    )

    # What was read of the curves, and by which target.
    _repeats: dict[Setting, dict[int, Repeat]] = field(
        init=False, default_factory=dict[Setting, dict[int, Repeat]]
    )
    _read_by: Target | None = field(init=False)

    def __post_init__(self) -> None:
        self.target, self.spent = self.race.target, self.race.spent
        self._read_by = self.target

    def record(self, trial: Trial, curve: Curve) -> None:
        """Write down a finished run."""
        self.curves[trial] = curve
        if curve.status == "finished":
            self.spent += max(float(curve.columns["examples"][-1]), trial.batch_size)
        else:
            # One that failed may have gone on after its last evaluation.
            self.spent += self.race.price(trial)
        if self._read_by == self.target:
            self._add_repeat(trial)

    @property
    def left(self) -> float:
        """Examples."""
        return self.race.allowance - self.spent

    def cost(self, trial: Trial) -> float:
        """What a run took to the target; infinite where it never got there."""
        if self.target is None:
            return math.inf
        key = trial, self.target
        if key not in self._costs:
            self._costs[key] = self._find_cost(trial, self.target)
        return self._costs[key]

    def _find_cost(self, trial: Trial, target: Target) -> float:
        curve = self.curves[trial]
        if curve.status in ("diverged", "out_of_memory"):
            return math.inf
        return need_to_target(curve, target, "step") * self.race.step_cost[trial.batch_size]

    def promise(self, trial: Trial) -> tuple[float, float, float]:
        """What runs of one length are ranked by, the least first.

        The cost of those that got there; then how near the others came at their best, since a
        target counts where it is first met; of errors that tie, the last loss.
        """
        columns = self.curves[trial].columns
        quality, higher = self.race.ranking.quality, self.race.ranking.higher
        if self.target is not None:
            quality, higher = self.target.metric, self.target.direction == ">="
        towards = -columns[quality] if higher else columns[quality]
        # A metric may be 0/0 at times.
        best = np.where(np.isnan(towards), math.inf, towards).min()
        return self.cost(trial), float(best), float(columns["val_loss"][-1])

    def costs(self) -> dict[Setting, float]:
        """Setting -> what its first seed took."""
        costs: dict[Setting, float] = {}
        for trial in self.curves:
            if trial.extra_seed == 0:
                known = costs.get(trial.setting, math.inf)
                costs[trial.setting] = min(known, self.cost(trial))
        return costs

    def is_there(self, setting: Setting) -> bool:
        """Whether the first seed of a setting reached the target."""
        return math.isfinite(self.costs().get(setting, math.inf))

    def best_setting(self) -> Setting | None:
        """By the mean over seeds; None where none reached the target."""
        means = self._means()
        return min(means, key=lambda setting: (means[setting], setting), default=None)

    def best_cost(self) -> float:
        """By the mean over seeds; infinite where none reached the target."""
        return min(self._means().values(), default=math.inf)

    def _means(self) -> dict[Setting, float]:
        return {setting: math.exp(sum(logs) / len(logs)) for setting, logs in self.logs().items()}

    def best_rates(self) -> dict[int, float]:
        """Batch size -> its best rate that reached the target."""
        best: dict[int, float] = {}
        for (size, rate), cost in sorted(self.costs().items(), key=lambda item: item[1]):
            if math.isfinite(cost):
                best.setdefault(size, rate)
        return best

    def is_tried(self, size: int, rate: float | None = None) -> bool:
        """Whether a size, or one of its rates, was run at all."""
        return any(t.batch_size == size and rate in (None, t.learning_rate) for t in self.curves)

    def is_met_untrained(self) -> bool:
        """Whether the target is there before the first step, so that nothing is to be raced for."""
        target = self.target
        return target is not None and any(
            is_met_untrained(curve, target) for curve in self.curves.values()
        )

    def repeats(self) -> Mapping[Setting, dict[int, Repeat]]:
        """Setting -> seed -> what it took."""
        if self._read_by != self.target:
            self._read_by, self._repeats = self.target, {}
            for trial in self.curves:
                self._add_repeat(trial)
        return self._repeats

    def _add_repeat(self, trial: Trial) -> None:
        seeds = self._repeats.setdefault(trial.setting, {})
        one = self._read_repeat(trial)
        known = seeds.get(trial.extra_seed)
        # Of two runs of a seed the longer one knows more.
        if known is None or (one.is_there, one.log) > (known.is_there, known.log):
            seeds[trial.extra_seed] = one

    def logs(self) -> dict[Setting, list[float]]:
        """Setting -> the log of what each seed took, of the settings that may be the best.

        Where no setting is without a seed that never got there, such seeds count as the larger of
        twice what the whole budget takes and four times the best.
        """
        repeats, best = self.repeats(), min(self.costs().values(), default=math.inf)
        if math.isinf(best):
            return {}
        seen = {
            setting: [self._penalize(one, setting[0], best) for one in seeds.values()]
            for setting, seeds in repeats.items()
            if any(one.is_there for one in seeds.values())
        }
        clean = {
            setting: logs
            for setting, logs in seen.items()
            if all(math.isfinite(one.log) for one in repeats[setting].values())
        }
        return clean or seen

    def _penalize(self, one: Repeat, size: int, best: float) -> float:
        if math.isfinite(one.log):
            return one.log
        whole = self.race.horizon[size] * self.race.step_cost[size]
        return math.log(max(2 * whole, 4 * best))

    def _read_repeat(self, trial: Trial) -> Repeat:
        cost = self.cost(trial)
        is_there = math.isfinite(cost)
        failed = self.curves[trial].status != "finished" or trial.share >= 1
        if not is_there:
            size = trial.batch_size
            cost = self.race.price(trial) / size * self.race.step_cost[size]
        return Repeat(
            log=math.inf if failed and not is_there else math.log(max(cost, 1e-12)),
            is_there=is_there,
            may_go_on=not (is_there or failed),
        )


def is_known(seeds: Mapping[int, Repeat], usual: int) -> bool:
    """Whether every seed of a setting ended, and they are enough to know its mean to a tenth, or at
    most.

    Args:
        usual: repeats at least.
    """
    if any(one.may_go_on for one in seeds.values()):
        return False
    count = len(seeds)
    if not usual <= count < _MOST_SEEDS * usual:
        return count >= usual
    if count < 2:
        return False
    logs = [one.log for one in seeds.values()]
    if not all(map(math.isfinite, logs)):
        return True
    return float(np.std(logs, ddof=1)) / math.sqrt(count) <= _WORTH_KNOWING


def may_repeat(seeds: Mapping[int, Repeat], usual: int) -> bool:
    """Whether a setting had fewer seeds than it may have, or has one that may go on."""
    return len(seeds) < _MOST_SEEDS * usual or any(one.may_go_on for one in seeds.values())
