"""The moves of a race: what to train next, given what is finished.

A wrong rate costs far more than a wrong batch size: the rate is settled at one size first, then the
size moves, the rate with it, and what looks best is repeated.
"""

import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from batchscope.findings.beliefs import Belief, believe_means, expect_gain
from batchscope.findings.curves import Curve
from batchscope.studies.learning_rate import STEP, on_ladder
from batchscope.studies.racing.ledger import Ledger, Setting, is_known, may_repeat
from batchscope.studies.racing.race import DERIVING_RUNS, REPEATS, Race, Trial, derive_race_target

# Of the budget: the rounds in which rates drop out at one batch size.
_ROUNDS = (1 / 16, 1 / 4)
_EXTENSIONS = 4
# Of the cost of the best so far: where a run is given up, and where a repeat is. A repeat that is
# cut at the first of these would make its setting look better than it is.
_GIVEN_UP, _REPEAT_GIVEN_UP = 1.25, 3.0
# Of the log of a cost: what another setting is expected to save, from which on it is repeated.
_WORTH_REPEATING = 0.05
# Settings that are repeated at least, and paid for before the search moves on.
_REPEATED = 2
# Jumps between batch sizes that are powers of two: fours first.
_JUMPS = (2, 1)
# What theory allows; few noisy sizes may say more.
_EXPONENTS = (0.0, 1.0)

_Asking = Generator[list[Trial], None, None]


def next_trials(race: Race, answer: Callable[[Trial], Curve | None]) -> list[Trial]:
    """What to train next; empty when the search is over.

    It depends on the set of finished runs alone: the whole search is gone through anew, and what it
    asks first that has no answer is what to train.

    Args:
        answer: the curve of a finished run; None for one that is not finished.
    """
    return _go_through(race, answer)[1]


def find_best(race: Race, answer: Callable[[Trial], Curve | None]) -> Setting | None:
    """The setting that a race believes to be the best; None where none got to the target."""
    beliefs = believe_means(_go_through(race, answer)[0].logs())
    return min(beliefs, key=lambda setting: (beliefs[setting].mean, setting), default=None)


def _go_through(race: Race, answer: Callable[[Trial], Curve | None]) -> tuple[Ledger, list[Trial]]:
    """What is known, and what is asked for first that has no answer."""
    ledger = Ledger(race)
    for asked in _Search(race, ledger).moves():
        answers = [(trial, answer(trial)) for trial in asked]
        missing = [trial for trial, curve in answers if curve is None]
        if missing:
            return ledger, missing
        for trial, curve in answers:
            if curve is not None:
                ledger.record(trial, curve)
    return ledger, []


@dataclass(slots=True)
class _Search:
    """One way through the search; what it has asked for is in the ledger when it goes on."""

    race: Race
    ledger: Ledger
    is_confirming: bool = False

    def moves(self) -> _Asking:
        anchor = self.race.anchor
        rates = yield from self._race_rates(anchor)
        if not rates:
            return
        if self.ledger.target is None:
            yield from self._derive_target(anchor, rates)
            if self.ledger.target is None:
                return
        if self.ledger.is_met_untrained():
            return
        yield from self._run(anchor, rates)
        searched: set[Setting | None] = set()
        # Repeats may show another setting to be the best: what lies beside it is not known then.
        while (best := self.ledger.best_setting()) not in searched:
            # Where no rate gets there, smaller sizes have more steps.
            yield from self._climb(anchor)
            yield from self._refine()
            searched |= {best, self.ledger.best_setting()}
            yield from self._confirm()

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
                    Trial(
                        batch_size=size, learning_rate=rate, share=share, target=self.ledger.target
                    )
                    for rate in wanted
                    if not self.ledger.is_there((size, rate))
                )
                ranked = self._rank_at(size, share)
                wanted = self._beyond_edge(size, share, ranked)
                if not wanted:
                    break
            rungs = [self._rung(rate) for rate in ranked[:survivors]]
        return ranked[: self.race.limits.survivors[-1]]

    def _rank_at(self, size: int, share: float) -> list[float]:
        """The rates of a round that did not diverge: first there, else the nearest to it."""
        scores: dict[float, tuple[float, float, float]] = {}
        for trial, curve in self.ledger.curves.items():
            if (trial.batch_size, trial.extra_seed) != (size, 0) or curve.status != "finished":
                continue
            score, rate = self.ledger.promise(trial), trial.learning_rate
            # What was there in a shorter round is not run again.
            if trial.share == share or (trial.share < share and math.isfinite(score[0])):
                scores[rate] = min(score, scores.get(rate, score))
        return sorted(scores, key=lambda rate: (scores[rate], rate))

    def _beyond_edge(self, size: int, share: float, ranked: Sequence[float]) -> list[float]:
        """The next rate where the best is the highest or the lowest; the lowest where all fail."""
        trials = self.ledger.curves
        tried = {t.learning_rate for t in trials if (t.batch_size, t.share) == (size, share)} | set(
            ranked
        )
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
        return [] if self.ledger.is_tried(size, outside) else [outside]

    def _derive_target(self, size: int, rates: Sequence[float]) -> _Asking:
        """From whole runs at the best rate: what nearly every seed of it reaches."""
        yield from self._ask(
            Trial(batch_size=size, learning_rate=rates[0], share=1.0, extra_seed=extra)
            for extra in range(min(self.race.limits.seeds, DERIVING_RUNS))
        )
        whole = [curve for trial, curve in self.ledger.curves.items() if trial.share == 1]
        self.ledger.target = derive_race_target(whole, self.race.ranking)

    def _climb(self, anchor: int) -> _Asking:
        """Move the batch size while that gains, by fours and then by twos; the rate with it."""
        sizes, ledger = self.race.batch_sizes, self.ledger
        for jump in _JUMPS:
            is_moving = True
            while is_moving:
                here = ledger.best_setting()
                smallest = min((t.batch_size for t in ledger.curves), default=anchor)
                at = sizes.index(smallest if here is None else here[0])
                places = (at - jump, at + jump) if here else (at - jump,)
                around = [sizes[place] for place in places if 0 <= place < len(sizes)]
                new = [size for size in around if not ledger.is_tried(size)]
                count = len(ledger.curves)
                yield from self._visit(new)
                yield from self._check_rates()
                now = ledger.best_setting()
                # What cannot be paid for is not tried.
                is_moving = len(ledger.curves) > count and (now != here or now is None)

    def _visit(self, sizes: Sequence[int]) -> _Asking:
        """Look at batch sizes, each at the rate foreseen, and where that fails beside it."""
        foreseen = {size: self._foresee(size) for size in sizes}
        yield from self._race_on(list(foreseen.items()))
        second: list[Setting] = []
        for setting in foreseen.items():
            trials = [trial for trial in self.ledger.curves if trial.setting == setting]
            if not trials or any(math.isfinite(self.ledger.cost(trial)) for trial in trials):
                continue
            size, rate = setting
            # Where the rate moves less with the batch than foreseen, the best lies nearer to the
            # rate that is known.
            failed = any(self.ledger.curves[t].status == "diverged" for t in trials)
            towards = -1 if failed or size > self._nearest(size) else 1
            second.append((size, on_ladder(self.race.start, self._rung(rate) + towards)))
        yield from self._race_on(second)

    def _check_rates(self) -> _Asking:
        """Both neighbours of the best rate, until the best lies between worse ones.

        First that towards the rate known at another size: there may be no more to pay for.
        """
        for _ in range(_EXTENSIONS):
            best = self.ledger.best_setting()
            if best is None:
                return
            rung = self._rung(best[1])
            towards = self._towards_known(*best)
            rates = [on_ladder(self.race.start, rung + step) for step in (towards, -towards)]
            yield from self._race_on(self._untried(best[0], rates))
            if self.ledger.best_setting() == best:
                return

    def _towards_known(self, size: int, rate: float) -> int:
        """On which side of a rate that of the nearest other size lies; else up, where a rate that
        is too high soon shows.
        """
        known = self._best_rates().get(self._nearest(size), rate)
        return -1 if self._rung(known) < self._rung(rate) else 1

    def _refine(self) -> _Asking:
        """Rates half a step beside the best."""
        best = self.ledger.best_setting()
        if best is None:
            return
        size, rate = best
        beside = [float(f"{rate * STEP ** (0.5 * step):.1e}") for step in (-1, 1)]
        yield from self._race_on(self._untried(size, beside))

    def _untried(self, size: int, rates: Iterable[float]) -> list[Setting]:
        return [(size, rate) for rate in rates if not self.ledger.is_tried(size, rate)]

    def _confirm(self) -> _Asking:
        """Repeat what looks best: the best of many single runs was also lucky.

        A repeat that was given up counts by what it had taken until then, and goes on where its
        setting may be the best all the same. It ends where the best is known and no other setting
        is expected to save enough, or where nothing more can be paid for.
        """
        self.is_confirming = True
        count = -1
        while count < len(self.ledger.curves):
            count = len(self.ledger.curves)
            beliefs = believe_means(self.ledger.logs())
            wanted = [self._repeat(setting, beliefs) for setting in self._find_doubtful(beliefs)]
            yield from self._ask(self._afford_one(wanted, beliefs))
        self.is_confirming = False

    def _find_doubtful(self, beliefs: Mapping[Setting, Belief]) -> list[Setting]:
        """The setting believed to be best, while it is not known, and those that may save most for
        what a repeat of them takes.
        """
        if not beliefs:
            return []
        usual, repeats = self.race.limits.seeds, self.ledger.repeats()
        best = min(beliefs, key=lambda setting: (beliefs[setting].mean, setting))
        worth: dict[Setting, float] = {}
        for setting, belief in beliefs.items():
            gain = expect_gain(beliefs[best], belief)
            if setting != best and gain > _WORTH_REPEATING and may_repeat(repeats[setting], usual):
                price = self.race.price(self._to_target(setting, math.exp(belief.mean)))
                worth[setting] = gain / price
        rivals = sorted(worth, key=lambda setting: (-worth[setting], setting))
        rivals = rivals[: self.race.limits.confirmed - 1]
        is_vaguest = any(beliefs[best].deviation > beliefs[rival].deviation for rival in rivals)
        if is_known(repeats[best], usual) and not (is_vaguest and may_repeat(repeats[best], usual)):
            return rivals
        return [best, *rivals]

    def _repeat(self, setting: Setting, beliefs: Mapping[Setting, Belief]) -> Trial:
        """The next seed of a setting, or one that was given up once more, for longer."""
        seeds = self.ledger.repeats()[setting]
        cut = [seed for seed, one in seeds.items() if one.may_go_on]
        if cut:
            most = _REPEAT_GIVEN_UP * math.exp(seeds[cut[0]].log)
            return self._to_target(setting, most, cut[0])
        most = _REPEAT_GIVEN_UP * math.exp(beliefs[setting].mean)
        if len(seeds) >= self.race.limits.seeds:
            # One that was cut for want of examples would spoil what is known.
            most = math.inf
        return self._to_target(setting, most, len(seeds))

    def _afford_one(self, wanted: list[Trial], beliefs: Mapping[Setting, Belief]) -> list[Trial]:
        """The first cut to what is left, where that may still see it there; all where they fit."""
        if not wanted:
            return []
        first, left = wanted[0], self.ledger.left
        if first.extra_seed >= self.race.limits.seeds:
            return wanted
        whole = self.race.horizon[first.batch_size] * first.batch_size
        if first.share * whole <= left:
            return wanted
        steps = math.floor(left / first.batch_size)
        most = steps * self.race.step_cost[first.batch_size]
        known = self.ledger.repeats()[first.setting].get(first.extra_seed)
        least = beliefs[first.setting].mean
        if known is not None:
            least = max(least, known.log)
        if most <= math.exp(least):
            return wanted[1:]
        return [replace(first, share=steps / self.race.horizon[first.batch_size])]

    def _run(self, size: int, rates: Iterable[float]) -> _Asking:
        """Go on to the target, unless a shorter run was there or a longer one was made."""
        whole = {trial.setting for trial in self.ledger.curves if trial.share == 1.0}
        settings = [(size, rate) for rate in rates if (size, rate) not in whole]
        yield from self._ask(
            self._to_target(setting, math.inf)
            for setting in settings
            if not self.ledger.is_there(setting)
        )

    def _race_on(self, settings: Sequence[Setting]) -> _Asking:
        most = _GIVEN_UP * self.ledger.best_cost()
        yield from self._ask(self._to_target(setting, most) for setting in settings)

    def _to_target(self, setting: Setting, most: float, extra_seed: int = 0) -> Trial:
        return self.race.to_target(setting, self.ledger.target, most=most, extra_seed=extra_seed)

    def _ask(self, trials: Iterable[Trial]) -> _Asking:
        """Those that can be paid for to their end, whatever they turn out to need."""
        wanted: list[Trial] = []
        left = self.ledger.left - self._reserve()
        for trial in trials:
            price = self.race.price(trial)
            if trial not in self.ledger.curves and price <= left:
                wanted.append(trial)
                left -= price
        if wanted:
            yield wanted

    def _reserve(self) -> float:
        """Examples that repeating the best and one more twice will take."""
        best = self.ledger.best_setting()
        if best is None or self.is_confirming:
            return 0.0
        repeats = min(REPEATS, self.race.limits.seeds - 1)
        whole = self._to_target(best, self.ledger.best_cost())
        return repeats * _REPEATED * self.race.price(whole)

    def _share(self, size: int, share: float) -> float:
        """A share of the budget, of one step at least."""
        return max(share, 1 / self.race.horizon[size])

    def _best_rates(self) -> dict[int, float]:
        """Batch size -> its best rate that got there; else the most promising at the anchor."""
        best = self.ledger.best_rates()
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
        moved = self.race.trend.foresee(
            self._best_rates(), size, nearest=self._nearest(size), exponents=_EXPONENTS
        )
        return on_ladder(self.race.start, self._rung(moved))

    def _rung(self, rate: float) -> int:
        return round(math.log(rate / self.race.start) / math.log(STEP))
