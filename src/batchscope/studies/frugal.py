"""A search that trains few runs to their end: short runs first, more of what looked best."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from batchscope.findings.curves import Curve
from batchscope.findings.tuning import Ranking, Score, score_runs
from batchscope.studies.learning_rate import (
    STEP,
    RateSearch,
    next_rates,
    on_ladder,
)
from batchscope.studies.rate_trend import RateTrend

# Of the budget that the short runs spend: all of them together about a third of one whole budget
# at each batch size, so that most goes into the runs that are read to their end.
SHARES = (1 / 16, 1 / 8)
# Two of a factor of three apart go on: what is best early is at most one step too high.
_SURVIVORS = 2
# However far behind, so many sizes are trained to their end.
_KEPT_SIZES = 3


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
        trend: how rates move with the batch before three sizes are known.
        rates, extensions: of the first short runs, and beyond their edge.
        seeds, confirmed: of the best settings, and how many of these.
        same_examples: whether sizes are judged after the same examples, so that one which is far
            behind others on them need not be trained to its end.
    """

    batch_sizes: tuple[int, ...]
    start: float
    trend: RateTrend
    rates: int
    extensions: int
    seeds: int
    confirmed: int
    seed: int
    same_examples: bool

    def next_runs(
        self, short: Mapping[float, Sequence[Curve]], full: Sequence[Curve], ranking: Ranking
    ) -> list[Wanted]:
        """What to train next; empty when the search is over.

        It depends on the set of finished runs alone. First short runs find each batch size's
        range, from the middle size outwards, each begun where its neighbour's best rate and the
        exponent so far lead; then the two best rates of each size are told apart by runs twice as
        long, further ones being tried while the best lies on the edge; then one run of each size
        goes to its end, and where it ends worse than it was early, the next lower rate does:
        what is best early may be too high in the end; then the best settings get further seeds.

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
        settings = [
            (size, rate)
            for size in self._keep_sizes(early)
            if (rate := _best(early[1], size)) is not None
        ]
        first = {(c.batch_size, c.learning_rate): c for c in full if c.seed == self.seed}
        settings += self._lower(first, short.get(SHARES[-1], ()))
        missing = [
            Wanted(batch_size=size, learning_rate=rate, share=1.0)
            for size, rate in settings
            if (size, rate) not in first
        ]
        return missing or self._confirm(full, ranking)

    def expected_per_size(self) -> tuple[float, float, float]:
        """About how many runs a batch size takes: of each share, and to the end."""
        confirming = self.confirmed * (self.seeds - 1) / len(self.batch_sizes)
        ended = 0.6 if self.same_examples else 1.2
        return self.rates + 0.5, _SURVIVORS + 0.5, ended + confirming

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
            if not rates and len(later) < _SURVIVORS + self.extensions:
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

    def _keep_sizes(self, early: "Sequence[Scores]") -> list[int]:
        """The sizes that are trained to their end.

        All of them, or those that are not behind by more than a factor of two in examples: worse
        after the longer runs than the best size was after the shorter ones.
        """
        best = {size: _best_score(early[1], size) for size in self.batch_sizes}
        ranked = sorted(self.batch_sizes, key=lambda size: (best[size], size))
        if not self.same_examples:
            return list(self.batch_sizes)
        level = min(_best_score(early[0], size) for size in self.batch_sizes)
        return sorted({*ranked[:_KEPT_SIZES], *(b for b in ranked if best[b] <= level)})

    def _lower(
        self, full: Mapping[tuple[int, float], Curve], shorter: Sequence[Curve]
    ) -> list[tuple[int, float]]:
        """One step below each rate that ended worse than the longer of its short runs was."""
        scores = _score(shorter)
        by_loss = Ranking(quality="val_loss", higher=False)
        lower: list[tuple[int, float]] = []
        for (size, rate), curve in full.items():
            before = scores.get((size, rate))
            if before is not None and score_runs([curve], by_loss) > before:
                lower.append((size, on_ladder(self.start, self._rung(rate) - 1)))
        return lower

    def _confirm(self, full: Sequence[Curve], ranking: Ranking) -> list[Wanted]:
        """Further seeds of the best settings by their first, and of those that overtake them."""
        groups: dict[tuple[int, float], list[Curve]] = {}
        for curve in full:
            groups.setdefault((curve.batch_size, curve.learning_rate), []).append(curve)
        scores = {
            setting: score_runs([c for c in group if c.seed == self.seed], ranking)
            for setting, group in groups.items()
        }
        ranked = sorted(groups, key=lambda setting: (scores[setting], setting))
        chosen = [setting for setting in ranked[: self.confirmed] if scores[setting][0] < 1]
        known = {(c.batch_size, c.learning_rate, c.seed) for c in full}
        return [
            Wanted(batch_size=size, learning_rate=rate, share=1.0, extra_seed=extra)
            for size, rate in chosen
            for extra in range(1, self.seeds)
            if (size, rate, self.seed + extra) not in known
        ]

    def _search_from(self, centre: float) -> RateSearch:
        return RateSearch(
            start=centre,
            rates=self.rates,
            extensions=self.extensions,
            refinements=0,
            seed=self.seed,
        )

    def _predict(self, size: int, settled: Mapping[int, float]) -> float:
        """The rate on the ladder that the sizes settled so far lead to."""
        if not settled:
            return self.start
        nearest = min(settled, key=lambda other: abs(math.log(other / size)))
        predicted = self.trend.foresee(settled, size, nearest=nearest)
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


def _best_score(scores: Scores, size: int) -> Score:
    mine = [score for (b, _), score in scores.items() if b == size]
    return min(mine, default=(1.0, 1.0, math.inf, math.inf))
