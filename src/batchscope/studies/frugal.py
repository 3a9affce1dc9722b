"""A search that trains few runs to their end: short runs first, more of what looked best."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from batchscope.findings.curves import Curve
from batchscope.findings.tuning import Ranking, Score, score_runs
from batchscope.studies.learning_rate import (
    STEP,
    RateSearch,
    fit_exponent,
    next_rates,
    on_ladder,
)

# Of the budget that the short runs spend: all of them together about a third of one whole budget
# at each batch size, so that most goes into the runs that are read to their end.
SHARES = (1 / 16, 1 / 8)
_RATES = 3
_EXTENSIONS = 4
# Two of a factor of three apart go on: what is best early is at most one step too high.
_SURVIVORS = 2
_CONFIRMED_SIZES = 2
# Until three sizes are known: what a rate gains when the batch doubles, as a power of two.
# SCIENCE knows them as 0.8 below the critical batch size for SGD and 0.35 for Adam.
_EXPONENTS = {"SGD": 0.8}
_USUAL_EXPONENT = 0.35
_ENOUGH_FOR_A_FIT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A run to train next.

    Attributes:
        share: of the budget, in (0, 1].
        extra_seed: 0 for the first seed.
    """

    batch_size: int
    learning_rate: float
    share: float
    extra_seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FrugalSearch:
    """Successive halving at each batch size, begun from what its neighbour found.

    Attributes:
        start: the task's own rate; all rates are half a decade apart from it.
        optimizer: its name, for how rates move with the batch before that is known.
        seeds: at the best batch sizes.
    """

    batch_sizes: tuple[int, ...]
    start: float
    optimizer: str
    seeds: int
    seed: int

    def next_runs(
        self, short: Mapping[float, Sequence[Curve]], full: Sequence[Curve], ranking: Ranking
    ) -> list[Wanted]:
        """What to train next; empty when the search is over.

        It depends on the set of finished runs alone. First short runs find each batch size's
        range, from the middle size outwards, each begun where its neighbour's best rate and the
        exponent so far lead; then the two best rates of each size are told apart by runs twice as
        long, further ones being tried while the best lies on the edge; then one run of each size
        goes to its end; then the best two sizes get further seeds.

        Args:
            short: share of the budget -> the runs that spent it, of the first seed.
            full: the runs that spent the whole budget.
            ranking: of full runs; short ones are ranked by validation loss.
        """
        early = [_score(short.get(share, ())) for share in SHARES]
        for stage in (self._find_ranges, self._tell_apart):
            wanted = stage(early)
            if wanted:
                return wanted
        best = {size: _best(early[1], size) for size in self.batch_sizes}
        rates = {size: rate for size, rate in best.items() if rate is not None}
        done = {(c.batch_size, c.learning_rate, c.seed) for c in full}
        missing = [
            Wanted(batch_size=size, learning_rate=rate, share=1.0)
            for size, rate in rates.items()
            if (size, rate, self.seed) not in done
        ]
        return missing or self._confirm(rates, full, ranking)

    def expected_per_size(self) -> tuple[float, float, float]:
        """About how many runs a batch size takes: of each share, and to the end."""
        confirming = _CONFIRMED_SIZES * (self.seeds - 1) / len(self.batch_sizes)
        return _RATES + 0.5, _SURVIVORS + 0.5, 1 + confirming

    def _find_ranges(self, early: "Sequence[Scores]") -> list[Wanted]:
        wanted: list[Wanted] = []
        settled: dict[int, float] = {}
        middle = len(self.batch_sizes) // 2
        for distance in range(len(self.batch_sizes)):
            for place in dict.fromkeys((middle - distance, middle + distance)):
                if not 0 <= place < len(self.batch_sizes):
                    continue
                size = self.batch_sizes[place]
                centre = self._predict(size, settled)
                tried = {rate: score for (b, rate), score in early[0].items() if b == size}
                rates = next_rates(self._search_from(centre), tried)
                wanted += [
                    Wanted(batch_size=size, learning_rate=rate, share=SHARES[0]) for rate in rates
                ]
            if wanted:
                return wanted
            for place in (middle - distance, middle + distance):
                if 0 <= place < len(self.batch_sizes):
                    best = _best(early[0], self.batch_sizes[place])
                    if best is not None:
                        settled[self.batch_sizes[place]] = best
        return []

    def _tell_apart(self, early: "Sequence[Scores]") -> list[Wanted]:
        wanted: list[Wanted] = []
        for size in self.batch_sizes:
            ranked = _ranked(early[0], size)
            later = {rate for b, rate in early[1] if b == size}
            rates = [rate for rate in ranked[:_SURVIVORS] if rate not in later]
            if not rates and len(later) < _SURVIVORS + _EXTENSIONS:
                rates = self._beyond_edge(early, size)
            wanted += [
                Wanted(batch_size=size, learning_rate=rate, share=SHARES[1]) for rate in rates
            ]
        return wanted

    def _beyond_edge(self, early: "Sequence[Scores]", size: int) -> list[float]:
        """The next rate where the best of the longer runs has no neighbour on one side."""
        best = _best(early[1], size)
        if best is None:
            return []
        later = [rate for b, rate in early[1] if b == size]
        neighbours = [on_ladder(self.start, self._rung(best) + step) for step in (-1, 1)]
        lower, higher = neighbours
        outside = lower if best == min(later) else higher if best == max(later) else None
        if outside is None or outside in later:
            return []
        # What the shorter runs have put behind both survivors needs no second look.
        tried = _ranked(early[0], size)
        return [] if outside in tried and tried.index(outside) >= _SURVIVORS else [outside]

    def _confirm(
        self, rates: Mapping[int, float], full: Sequence[Curve], ranking: Ranking
    ) -> list[Wanted]:
        groups = {
            size: [c for c in full if (c.batch_size, c.learning_rate) == (size, rate)]
            for size, rate in rates.items()
        }
        under_way = [s for s, group in groups.items() if 1 < len(group) < self.seeds]
        confirmed = [s for s, group in groups.items() if len(group) >= max(2, self.seeds)]
        scores = {size: score_runs(group, ranking) for size, group in groups.items()}
        wanted = under_way
        if not wanted and self.seeds > 1 and len(confirmed) < _CONFIRMED_SIZES:
            ranked = sorted(
                (s for s in groups if s not in confirmed and scores[s][0] < 1),
                key=lambda size: (scores[size], size),
            )
            wanted = ranked[: _CONFIRMED_SIZES - len(confirmed)]
        known = {(c.batch_size, c.learning_rate, c.seed) for c in full}
        return [
            Wanted(batch_size=size, learning_rate=rates[size], share=1.0, extra_seed=extra)
            for size in wanted
            for extra in range(1, self.seeds)
            if (size, rates[size], self.seed + extra) not in known
        ]

    def _search_from(self, centre: float) -> RateSearch:
        return RateSearch(
            start=centre, rates=_RATES, extensions=_EXTENSIONS, refinements=0, seed=self.seed
        )

    def _predict(self, size: int, settled: Mapping[int, float]) -> float:
        """The rate on the ladder that the sizes settled so far lead to."""
        if not settled:
            return self.start
        nearest = min(settled, key=lambda other: abs(math.log(other / size)))
        exponent = _EXPONENTS.get(self.optimizer, _USUAL_EXPONENT)
        if len(settled) >= _ENOUGH_FOR_A_FIT:
            exponent, _ = fit_exponent(settled)
        predicted = settled[nearest] * (size / nearest) ** exponent
        return on_ladder(self.start, self._rung(predicted))

    def _rung(self, rate: float) -> int:
        return round(math.log(rate / self.start) / math.log(STEP))


Scores = dict[tuple[int, float], Score]


def _score(curves: Sequence[Curve]) -> Scores:
    by_loss = Ranking(quality="val_loss", higher=False)
    return {(c.batch_size, c.learning_rate): score_runs([c], by_loss) for c in curves}


def _ranked(scores: Scores, size: int) -> list[float]:
    """The rates at which training did not diverge, the best first."""
    mine = {rate: score for (b, rate), score in scores.items() if b == size and score[0] < 1}
    return sorted(mine, key=lambda rate: (mine[rate], rate))


def _best(scores: Scores, size: int) -> float | None:
    return next(iter(_ranked(scores, size)), None)
