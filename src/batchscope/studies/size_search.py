"""The search at one batch size: rates, then other constants, then further seeds of the best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from batchscope.findings.curves import Curve, write_constants
from batchscope.findings.tuning import Ranking, Score, Setting, score_runs
from batchscope.studies.constants import draw_settings
from batchscope.studies.learning_rate import RateSearch, next_rates


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A run that the search asks for.

    Attributes:
        tuned: constants that take the place of the task's own.
    """

    learning_rate: float
    seed: int
    tuned: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeSearch:
    """How one batch size is searched.

    Attributes:
        own: the task's constants that are tuned beside the rate, as they are at this size.
        trials: of those constants, with the first seed; the same number at every size.
        seeds: in all at the best setting, from `first_seed` on.
        confirmed: settings at most that get all seeds.
    """

    rates: RateSearch
    own: Mapping[str, float]
    trials: int
    first_seed: int
    seeds: int
    confirmed: int

    def next_runs(
        self,
        curves: Sequence[Curve],
        tuned: Mapping[Setting, Mapping[str, float]],
        ranking: Ranking,
    ) -> list[Wish]:
        """What to train next at this size; empty when its search is over.

        Args:
            curves: of this size's finished runs.
            tuned: the constants of each of their settings.
        """
        groups: dict[Setting, list[Curve]] = {}
        for curve in curves:
            groups.setdefault(curve.setting, []).append(curve)
        scores = {
            setting: score_runs([c for c in group if c.seed == self.first_seed], ranking)
            for setting, group in groups.items()
        }
        own = write_constants(self.own, list(self.own))
        at_own = {rate: score for (rate, constants), score in scores.items() if constants == own}
        rates = next_rates(self.rates, at_own)
        if rates:
            return [self._wish(rate, self.own) for rate in rates]
        missing = [s for s in self._draw(at_own) if self._setting_of(s) not in scores]
        if missing:
            return [self._wish(s["lr"], {name: s[name] for name in self.own}) for s in missing]
        best = self._next_to_confirm(groups, ranking)
        if best is None:
            return []
        return [
            self._wish(best[0], tuned[best], seed=self.first_seed + extra)
            for extra in range(1, self.seeds)
        ]

    def _draw(self, at_own: Mapping[float, Score]) -> list[dict[str, float]]:
        """The trials of further constants, around the best rate at the task's own."""
        if not self.trials or all(score[0] == 1 for score in at_own.values()):
            return []
        best = min(at_own, key=lambda rate: (at_own[rate], rate))
        return draw_settings(self.own, best, count=self.trials, seed=self.rates.seed)

    def _setting_of(self, values: Mapping[str, float]) -> Setting:
        return values["lr"], write_constants(values, list(self.own))

    def _wish(self, rate: float, tuned: Mapping[str, float], *, seed: int | None = None) -> Wish:
        return Wish(
            learning_rate=rate, seed=self.first_seed if seed is None else seed, tuned=dict(tuned)
        )

    def _next_to_confirm(
        self, groups: Mapping[Setting, Sequence[Curve]], ranking: Ranking
    ) -> Setting | None:
        """The best setting by its mean so far, until that one has all its seeds.

        The winner of a search over single runs was also lucky: where its further seeds bring it
        down, the next one gets its chance.
        """
        started = [setting for setting, group in groups.items() if len(group) > 1]
        under_way = [setting for setting in started if len(groups[setting]) < self.seeds]
        if under_way:
            return under_way[0]
        scores = {setting: score_runs(group, ranking) for setting, group in groups.items()}
        best = min(scores, key=lambda setting: (scores[setting], setting))
        if best in started or scores[best][0] == 1:
            return None
        return best if len(started) < self.confirmed else None
