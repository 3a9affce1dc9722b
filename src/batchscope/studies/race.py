"""A search for the setting that reaches a target first, which gives up what cannot win.

A wrong rate costs far more than a wrong batch size: the rate is settled at one size first, then the
size moves, the rate with it, and what looks best is repeated.
"""

import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from batchscope.budget import Target
from batchscope.findings.comparison import compare_settings
from batchscope.findings.curves import Curve
from batchscope.findings.default_target import derive_target
from batchscope.findings.to_target import reach_target
from batchscope.findings.tuning import Ranking, TunedSize
from batchscope.studies.frugal import usual_exponent
from batchscope.studies.learning_rate import STEP, fit_exponent, on_ladder

# Of the budget: the rounds in which rates drop out at one batch size.
_ROUNDS = (1 / 16, 1 / 4)
_EXTENSIONS = 4
# Of the cost of the best so far: where a run is given up, and where a repeat is. A repeat that is
# cut at the first of these would make its setting look better than it is.
_GIVEN_UP, _REPEAT_GIVEN_UP = 1.25, 3.0
# Of the log of a cost: a difference of a tenth is worth knowing.
_WORTH_KNOWING = 0.1
# Times the usual repeats at most, where seeds scatter so much that those do not show it.
_MOST_SEEDS = 3
# Settings and repeats at least that are paid for before the search moves on.
_REPEATED, _REPEATS = 2, 2
# Whole runs from which a target is derived.
DERIVING_RUNS = 1 + _REPEATS
# Jumps between batch sizes that are powers of two: fours first.
_JUMPS = (2, 1)
_ENOUGH_FOR_A_FIT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A run that the search asks for.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceLimits:
    """How much a race may spend.

    Attributes:
        share: of the examples of the exhaustive grid, in (0, 1].
        rates: of the first round, an odd number.
        survivors: of each round.
        confirmed: settings that are repeated.
        seeds: of each of them.
    """

    share: float
    rates: int
    survivors: tuple[int, ...]
    confirmed: int
    seeds: int


RACES: Mapping[str, RaceLimits] = {
    "quick": RaceLimits(share=0.04, rates=3, survivors=(2, 1), confirmed=2, seeds=3),
    "standard": RaceLimits(share=0.10, rates=5, survivors=(3, 2), confirmed=3, seeds=5),
    "thorough": RaceLimits(share=0.25, rates=7, survivors=(4, 3), confirmed=5, seeds=7),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """What is raced.

    Attributes:
        batch_sizes: in increasing order.
        step_cost: batch size -> what a step costs, in the unit of the objective.
        horizon: batch size -> steps of the whole budget.
        start: the task's own rate; all rates are half a decade apart from it, or half of that.
        optimizer: its name, for how rates move with the batch before that is known.
        target: None to derive one from runs of the whole budget.
        ranking: of full runs, where the target is derived.
        seeds: of a setting that is repeated.
        allowance: examples to process in all.
        spent: examples that were processed before the first run.
    """

    batch_sizes: tuple[int, ...]
    step_cost: Mapping[int, float]
    horizon: Mapping[int, int]
    start: float
    optimizer: str
    target: Target | None
    ranking: Ranking
    limits: RaceLimits
    seeds: int
    allowance: float
    spent: float = 0.0

    def next_trials(self, answer: Callable[[Trial], Curve | None]) -> list[Trial]:
        """What to train next; empty when the search is over.

        It depends on the set of finished runs alone: the whole search is gone through anew, and
        what it asks first that has no answer is what to train.

        Args:
            answer: the curve of a finished run; None for one that is not finished.
        """
        return _Search(self).go_on(answer)[0]

    def find_target(self, answer: Callable[[Trial], Curve | None]) -> Target | None:
        """The target that was given, or that the finished runs lead to."""
        return _Search(self).go_on(answer)[1]

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


_Asking = Generator[list[Trial], None, None]


@dataclass(slots=True)
class _Search:
    """One way through the search, as far as its answers reach."""

    race: Race
    curves: dict[Trial, Curve] = field(default_factory=dict[Trial, Curve])
    spent: float = 0.0
    target: Target | None = None
    is_confirming: bool = False

    def go_on(self, answer: Callable[[Trial], Curve | None]) -> tuple[list[Trial], Target | None]:
        self.spent, self.target = self.race.spent, self.race.target
        for asked in self._search():
            answers = {trial: answer(trial) for trial in asked}
            missing = [trial for trial, curve in answers.items() if curve is None]
            if missing:
                return missing, self.target
            for trial, curve in answers.items():
                if curve is not None:
                    self.curves[trial] = curve
                    self.spent += self._examples(trial, curve)
        return [], self.target

    def _search(self) -> _Asking:
        anchor = self.race.anchor
        rates = yield from self._race_rates(anchor)
        if not rates:
            return
        if self.target is None:
            yield from self._derive_target(anchor, rates)
            if self.target is None:
                return
        if self._is_met_untrained():
            return
        yield from self._run(anchor, rates)
        # Where no rate gets there, smaller sizes have more steps.
        yield from self._climb(anchor)
        yield from self._refine()
        yield from self._confirm()

    def _is_met_untrained(self) -> bool:
        """Whether the target is there before the first step, so that nothing is to be raced for."""
        target = self.target
        firsts = [c.columns[target.metric][:1] for c in self.curves.values()] if target else []
        return target is not None and any(target.is_met(first) for first in firsts)

    def _race_rates(self, size: int) -> Generator[list[Trial], None, list[float]]:
        """The rates at one size that stay ahead as runs grow longer, the best first."""
        half = self.race.limits.rates // 2
        rungs = list(range(-half, half + 1))
        ranked: list[float] = []
        for part, survivors in zip(_ROUNDS, self.race.limits.survivors, strict=True):
            share = self._share(size, part)
            wanted = [on_ladder(self.race.start, rung) for rung in rungs]
            for _ in range(_EXTENSIONS + 1):
                yield from self._ask(
                    Trial(batch_size=size, learning_rate=rate, share=share, target=self.target)
                    for rate in wanted
                    if not math.isfinite(self._costs().get((size, rate), math.inf))
                )
                ranked = self._rank_at(size, share)
                wanted = self._beyond_edge(size, share, ranked)
                if not wanted:
                    break
            rungs = [self._rung(rate) for rate in ranked[:survivors]]
        return ranked[: self.race.limits.survivors[-1]]

    def _rank_at(self, size: int, share: float) -> list[float]:
        """The rates of a round that did not diverge: first there, else the lowest loss."""
        scores: dict[float, tuple[float, float]] = {}
        for trial, curve in self.curves.items():
            if (trial.batch_size, trial.extra_seed) != (size, 0) or curve.status != "finished":
                continue
            cost = self._cost(trial)
            # What was there in a shorter round is not run again.
            if trial.share == share or (trial.share < share and math.isfinite(cost)):
                score = (cost, float(curve.columns["val_loss"][-1]))
                rate = trial.learning_rate
                scores[rate] = min(score, scores.get(rate, score))
        return sorted(scores, key=lambda rate: (scores[rate], rate))

    def _beyond_edge(self, size: int, share: float, ranked: Sequence[float]) -> list[float]:
        """The next rate where the best is the highest or the lowest; the lowest where all fail."""
        tried = {
            t.learning_rate for t in self.curves if (t.batch_size, t.share) == (size, share)
        } | set(ranked)
        if not tried:
            return []
        best = ranked[0] if ranked else min(tried)
        rung = self._rung(best)
        if best == max(tried) and ranked:
            outside = on_ladder(self.race.start, rung + 1)
        elif best == min(tried):
            outside = on_ladder(self.race.start, rung - 1)
        else:
            return []
        # What a shorter round has put behind needs no second look.
        seen = {t.learning_rate for t in self.curves if t.batch_size == size}
        return [] if outside in seen else [outside]

    def _derive_target(self, size: int, rates: Sequence[float]) -> _Asking:
        """From whole runs at the best rate: what nearly every seed of it reaches."""
        wanted = [
            Trial(batch_size=size, learning_rate=rates[0], share=1.0, extra_seed=extra)
            for extra in range(min(self.race.seeds, DERIVING_RUNS))
        ]
        yield from self._ask(wanted)
        curves = [self.curves[trial] for trial in wanted if trial in self.curves]
        tuned = TunedSize(
            batch_size=size, learning_rate=rates[0], curves=tuple(curves), at_edge=False
        )
        self.target = derive_target([tuned], self.race.ranking, least_seeds=1)

    def _climb(self, anchor: int) -> _Asking:
        """Move the batch size while that gains, by fours and then by twos; the rate with it."""
        sizes = self.race.batch_sizes
        for jump in _JUMPS:
            is_moving = True
            while is_moving:
                here = self._best_setting()
                smallest = min((t.batch_size for t in self.curves), default=anchor)
                at = sizes.index(smallest if here is None else here[0])
                places = (at - jump, at + jump) if here else (at - jump,)
                around = [sizes[place] for place in places if 0 <= place < len(sizes)]
                new = [size for size in around if not self._is_tried(size)]
                count = len(self.curves)
                yield from self._visit(new)
                yield from self._check_rates()
                now = self._best_setting()
                # What cannot be paid for is not tried.
                is_moving = len(self.curves) > count and (now != here or now is None)

    def _visit(self, sizes: Sequence[int]) -> _Asking:
        """Look at batch sizes, each at the rate foreseen, and where that fails beside it."""
        foreseen = {size: self._foresee(size) for size in sizes}
        yield from self._race_on(list(foreseen.items()))
        second: list[tuple[int, float]] = []
        for size, rate in foreseen.items():
            trials = [t for t in self.curves if (t.batch_size, t.learning_rate) == (size, rate)]
            if not trials or math.isfinite(self._least(trials)):
                continue
            # Where the rate moves less with the batch than foreseen, the best lies nearer to the
            # rate that is known.
            failed = any(self.curves[t].status == "diverged" for t in trials)
            towards = -1 if failed or size > self._nearest(size) else 1
            second.append((size, on_ladder(self.race.start, self._rung(rate) + towards)))
        yield from self._race_on(second)

    def _check_rates(self) -> _Asking:
        """Both neighbours of the best rate, until the best lies between worse ones."""
        for _ in range(_EXTENSIONS):
            best = self._best_setting()
            if best is None:
                return
            rung = self._rung(best[1])
            rates = [on_ladder(self.race.start, rung + step) for step in (-1, 1)]
            new = [(best[0], rate) for rate in rates if not self._is_tried(best[0], rate)]
            yield from self._race_on(new)
            if self._best_setting() == best:
                return

    def _refine(self) -> _Asking:
        """Rates half a step beside the best."""
        best = self._best_setting()
        if best is None:
            return
        size, rate = best
        beside = [float(f"{rate * STEP ** (0.5 * step):.1e}") for step in (-1, 1)]
        yield from self._race_on([(size, r) for r in beside if not self._is_tried(size, r)])

    def _confirm(self) -> _Asking:
        """Repeat what looks best: the best of many single runs was also lucky.

        A repeat that was given up counts by what it had taken until then, and goes on where its
        setting is among the best all the same; what is shown to be worse is repeated no more.
        """
        self.is_confirming = True
        count = -1
        while count < len(self.curves):
            count = len(self.curves)
            repeats = self._repeats()
            means = {
                setting: float(np.mean([one.log for one in seeds.values()]))
                for setting, seeds in repeats.items()
                if any(one.is_there for one in seeds.values())
            }
            chosen = sorted(means, key=lambda s: (means[s], s))[: self.race.limits.confirmed]
            chosen = [s for s in chosen if not _is_worse(repeats[s], repeats[chosen[0]])]
            wanted: list[Trial] = []
            for setting in chosen:
                seeds = repeats[setting]
                cut = [seed for seed, one in seeds.items() if one.may_go_on]
                if not cut and self._is_known(seeds):
                    continue
                limit = _REPEAT_GIVEN_UP * math.exp(max(means[setting], means[chosen[0]]))
                if cut:
                    limit = _REPEAT_GIVEN_UP * math.exp(seeds[cut[0]].log)
                elif len(seeds) >= self.race.seeds:
                    # One that was cut for want of examples would spoil what is known.
                    limit = math.inf
                wanted.append(self._to_target(*setting, limit, cut[0] if cut else len(seeds)))
            yield from self._ask(self._afford_one(wanted, means))

    def _is_known(self, seeds: "Mapping[int, _Repeat]") -> bool:
        """Whether a setting was repeated often enough to know its mean to a tenth, or at most."""
        count = len(seeds)
        if not self.race.seeds <= count < _MOST_SEEDS * self.race.seeds:
            return count >= self.race.seeds
        logs = [one.log for one in seeds.values()]
        if not all(map(math.isfinite, logs)):
            return True
        return float(np.std(logs, ddof=1)) / math.sqrt(count) <= _WORTH_KNOWING

    def _afford_one(
        self, wanted: list[Trial], means: Mapping[tuple[int, float], float]
    ) -> list[Trial]:
        """The first cut to what is left, where that may still see it there; all where they fit."""
        if not wanted:
            return []
        first, left = wanted[0], self.race.allowance - self.spent
        if first.extra_seed >= self.race.seeds:
            return wanted
        whole = self.race.horizon[first.batch_size] * first.batch_size
        if first.share * whole <= left:
            return wanted
        steps = math.floor(left / first.batch_size)
        limit = steps * self.race.step_cost[first.batch_size]
        setting = (first.batch_size, first.learning_rate)
        known = self._repeats()[setting].get(first.extra_seed)
        least = means[setting] if known is None else max(means[setting], known.log)
        if limit <= math.exp(least):
            return wanted[1:]
        return [replace(first, share=steps / self.race.horizon[first.batch_size])]

    def _repeats(self) -> "dict[tuple[int, float], dict[int, _Repeat]]":
        """Setting -> seed -> what it took."""
        found: dict[tuple[int, float], dict[int, _Repeat]] = {}
        for trial, curve in self.curves.items():
            seeds = found.setdefault((trial.batch_size, trial.learning_rate), {})
            cost = self._cost(trial)
            is_there = math.isfinite(cost)
            if not is_there:
                cost = self._price_of(trial) / trial.batch_size
                cost *= self.race.step_cost[trial.batch_size]
            failed = curve.status != "finished" or trial.share >= 1
            one = _Repeat(
                log=math.inf if failed and not is_there else math.log(max(cost, 1e-12)),
                is_there=is_there,
                may_go_on=not (is_there or failed),
            )
            known = seeds.get(trial.extra_seed)
            # Of two runs of a seed the longer one knows more.
            if known is None or (one.is_there, one.log) > (known.is_there, known.log):
                seeds[trial.extra_seed] = one
        return found

    def _price(self, settings: Iterable[tuple[int, float]], times: float) -> float:
        """Examples that settings take to so many times the cost of the best."""
        limit = times * self._best_cost()
        return sum(
            min(self.race.horizon[b], math.ceil(limit / self.race.step_cost[b])) * b
            for b, _ in settings
        )

    def _run(self, size: int, rates: Iterable[float]) -> _Asking:
        """Go on to the target, unless a shorter run was there or a longer one was made."""
        new = [
            Trial(batch_size=size, learning_rate=rate, share=1.0, target=self.target)
            for rate in rates
            if not math.isfinite(self._costs().get((size, rate), math.inf))
            and not any(
                t.share == 1.0 and (t.batch_size, t.learning_rate) == (size, rate)
                for t in self.curves
            )
        ]
        yield from self._ask(new)

    def _race_on(self, settings: Sequence[tuple[int, float]]) -> _Asking:
        limit = _GIVEN_UP * self._best_cost()
        yield from self._ask(self._to_target(size, rate, limit) for size, rate in settings)

    def _to_target(self, size: int, rate: float, limit: float, extra: int = 0) -> Trial:
        steps = self.race.horizon[size]
        if math.isfinite(limit):
            steps = max(1, min(steps, math.ceil(limit / self.race.step_cost[size])))
        return Trial(
            batch_size=size,
            learning_rate=rate,
            share=steps / self.race.horizon[size],
            target=self.target,
            extra_seed=extra,
        )

    def _ask(self, trials: Iterable[Trial]) -> _Asking:
        """Those that can be paid for to their end, whatever they turn out to need."""
        wanted: list[Trial] = []
        left = self.race.allowance - self.spent - self._reserve()
        for trial in trials:
            price = self._price_of(trial)
            if trial not in self.curves and price <= left:
                wanted.append(trial)
                left -= price
        if wanted:
            yield wanted

    def _price_of(self, trial: Trial) -> float:
        """Examples of a run that goes on to its end."""
        steps = math.ceil(trial.share * self.race.horizon[trial.batch_size] - 1e-9)
        return max(1, steps) * trial.batch_size

    def _examples(self, trial: Trial, curve: Curve) -> float:
        """What a run took; one that failed may have gone on after its last evaluation."""
        if curve.status != "finished":
            return self._price_of(trial)
        return max(float(curve.columns["examples"][-1]), trial.batch_size)

    def _share(self, size: int, share: float) -> float:
        """A share of the budget, of one step at least."""
        return max(share, 1 / self.race.horizon[size])

    def _reserve(self) -> float:
        """What repeating the best and one more twice will take."""
        best = self._best_setting()
        if best is None or self.is_confirming:
            return 0.0
        repeats = min(_REPEATS, self.race.seeds - 1)
        return repeats * self._price(_REPEATED * [best], 1.0)

    def _cost(self, trial: Trial) -> float:
        """What a run took to the target; infinite where it never got there."""
        curve = self.curves[trial]
        if self.target is None or curve.status in ("diverged", "out_of_memory"):
            return math.inf
        steps = reach_target(curve, self.target, "step")
        return steps * self.race.step_cost[trial.batch_size]

    def _least(self, trials: Iterable[Trial]) -> float:
        return min(map(self._cost, trials), default=math.inf)

    def _costs(self) -> dict[tuple[int, float], float]:
        """Setting -> what its first seed took."""
        costs: dict[tuple[int, float], float] = {}
        for trial in self.curves:
            if trial.extra_seed == 0:
                setting = (trial.batch_size, trial.learning_rate)
                costs[setting] = min(costs.get(setting, math.inf), self._cost(trial))
        return costs

    def _best_setting(self) -> tuple[int, float] | None:
        costs = self._costs()
        best = min(costs, key=lambda setting: (costs[setting], setting), default=None)
        return None if best is None or math.isinf(costs[best]) else best

    def _best_cost(self) -> float:
        return min(self._costs().values(), default=math.inf)

    def _is_tried(self, size: int, rate: float | None = None) -> bool:
        """Whether a size, or one of its rates, was run at all."""
        return any(t.batch_size == size and rate in (None, t.learning_rate) for t in self.curves)

    def _best_rates(self) -> dict[int, float]:
        """Batch size -> its best rate that got there; else the most promising at the anchor."""
        best: dict[int, float] = {}
        for (size, rate), cost in sorted(self._costs().items(), key=lambda item: item[1]):
            if math.isfinite(cost):
                best.setdefault(size, rate)
        if best:
            return best
        anchor = self.race.anchor
        last = self._share(anchor, _ROUNDS[-1])
        ranked = self._rank_at(anchor, 1.0) or self._rank_at(anchor, last)
        return {anchor: ranked[0] if ranked else self.race.start}

    def _nearest(self, size: int) -> int:
        """Of the sizes whose best rate is known."""
        known = [other for other in self._best_rates() if other != size]
        return min(known, key=lambda other: abs(math.log(other / size)), default=size)

    def _foresee(self, size: int) -> float:
        """The best rate of the nearest size, moved by the exponent so far."""
        best = self._best_rates()
        exponent = usual_exponent(self.race.optimizer)
        if len(best) >= _ENOUGH_FOR_A_FIT:
            # What few noisy sizes say is not let out of what theory allows.
            exponent = float(np.clip(fit_exponent(best)[0], 0.0, 1.0))
        nearest = self._nearest(size)
        moved = best[nearest] * (size / nearest) ** exponent
        return on_ladder(self.race.start, self._rung(moved))

    def _rung(self, rate: float) -> int:
        return round(math.log(rate / self.race.start) / math.log(STEP))


def _is_worse(seeds: "Mapping[int, _Repeat]", best: "Mapping[int, _Repeat]") -> bool:
    """Whether the seeds that both have show it."""
    first, second = ({seed: one.log for seed, one in s.items()} for s in (best, seeds))
    return compare_settings(first, second, margin=_WORTH_KNOWING).is_worse


@dataclass(frozen=True, slots=True, kw_only=True)
class _Repeat:
    """One seed of a setting.

    Attributes:
        log: of what it took, at least; infinite where it never gets there.
        is_there: whether it reached the target.
        may_go_on: whether it was given up before the end of the budget.
    """

    log: float
    is_there: bool
    may_go_on: bool
