"""The race to a target, on surfaces whose best setting is known."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from batchscope.budget import Target
from batchscope.decisions.choosing import repeated_enough
from batchscope.findings.analysis import find_fastest
from batchscope.findings.beliefs import believe_means, expect_gain
from batchscope.findings.curves import Curve
from batchscope.findings.tuning import Ranking, keep_repeated, tune_sizes
from batchscope.studies.racing.ledger import Ledger
from batchscope.studies.racing.race import RACES, Race, Trial, derive_race_target
from batchscope.studies.racing.search import find_best, next_trials
from batchscope.studies.rate_trend import RateTrend

SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)
TRAIN = 4096
EPOCHS = 24
TARGET = Target("val_loss", 0.1, "<=")
START = 0.01
STEP = math.sqrt(10)


@dataclass(frozen=True)
class Surface:
    """Steps to the target, in batch size and rate.

    Attributes:
        critical: batch size at which steps are twice the least.
        best_rate: at batch size 1.
        exponent: with which the best rate rises.
        noise: deviation of the log of steps over seeds.
        step_cost: of the smallest size, beside that of one example.
    """

    critical: float
    best_rate: float
    exponent: float
    noise: float
    fixed: float
    least: float

    def step_cost(self, size: int) -> float:
        return self.fixed + 1e-4 * size

    def steps(self, size: int, rate: float, *, seed: int | None = None) -> float:
        off = math.log(rate / (self.best_rate * size**self.exponent))
        # Too high a rate fails sooner than too low a one.
        if off > math.log(4):
            return math.inf
        rng = np.random.default_rng([0 if seed is None else seed + 1, size])
        luck = 0.0 if seed is None else self.noise * rng.standard_normal()
        return self.least * (1 + self.critical / size) * math.exp(0.25 * off**2 + luck)

    def cost(self, size: int, rate: float) -> float:
        return self.steps(size, rate) * self.step_cost(size)

    def best(self) -> float:
        """Of the settings of the exhaustive grid: rates half a decade apart."""
        rates = [START * STEP**rung for rung in range(-6, 7)]
        return min(self.cost(size, rate) for size in SIZES for rate in rates)

    def train(self, trial: Trial) -> Curve:
        whole = EPOCHS * math.ceil(TRAIN / trial.batch_size)
        last = max(1, round(trial.share * whole))
        needed = self.steps(trial.batch_size, trial.learning_rate, seed=trial.extra_seed)
        every = max(1, TRAIN // trial.batch_size // 4)
        places = np.unique([*range(0, last, every), last])
        losses = np.full(len(places), 1.0) if math.isinf(needed) else 0.1 ** (places / needed)
        if trial.target is not None and (losses <= trial.target.value).any():
            end = int((losses <= trial.target.value).argmax()) + 1
            places, losses = places[:end], losses[:end]
        return Curve(
            run=str(trial),
            batch_size=trial.batch_size,
            learning_rate=trial.learning_rate,
            seed=trial.extra_seed,
            status="finished",
            columns={
                "step": places.astype(float),
                "examples": places.astype(float) * trial.batch_size,
                "seconds": places * self.step_cost(trial.batch_size),
                "train_loss": losses,
                "val_loss": losses,
            },
        )


def draw_surface(seed: int, *, noise: float = 0.1) -> Surface:
    rng = np.random.default_rng(seed)
    return Surface(
        critical=2 ** rng.uniform(4, 9),
        best_rate=START * 10 ** rng.uniform(-1.5, 0.5) / 64**0.5,
        exponent=rng.uniform(0.2, 1.0),
        noise=noise,
        fixed=10 ** rng.uniform(-3, -1),
        least=2 ** rng.uniform(4, 7),
    )


def race_on(
    surface: Surface,
    effort: str = "standard",
    target: Target | None = TARGET,
    sizes: tuple[int, ...] = SIZES,
    epochs: float = EPOCHS,
) -> Race:
    horizon = {size: max(1, math.ceil(epochs * TRAIN / size)) for size in sizes}
    limits = RACES[effort]
    return Race(
        batch_sizes=sizes,
        step_cost={size: surface.step_cost(size) for size in sizes},
        horizon=horizon,
        start=START,
        trend=RateTrend(optimizer="SGD"),
        target=target,
        ranking=Ranking(quality="val_loss", higher=False, target=target),
        limits=limits,
        allowance=limits.share * 15 * sum(size * steps for size, steps in horizon.items()),
    )


def run(race: Race, train: Callable[[Trial], Curve]) -> dict[Trial, Curve]:
    done: dict[Trial, Curve] = {}
    while wanted := next_trials(race, done.get):
        done |= {trial: train(trial) for trial in wanted}
    return done


def examples_of(done: dict[Trial, Curve]) -> float:
    return sum(float(curve.columns["examples"][-1]) for curve in done.values())


def pick(race: Race, done: dict[Trial, Curve]) -> tuple[int, float]:
    """What the ordinary analysis chooses."""
    longest: dict[tuple[int, float, int], Curve] = {}
    for _, curve in sorted(done.items(), key=lambda item: item[0].share):
        there = curve.columns["val_loss"][-1] <= TARGET.value
        here = (curve.batch_size, curve.setting)
        seeds = {c.seed for c in done.values() if (c.batch_size, c.setting) == here}
        status = "finished" if there or len(seeds) > 1 else "stopped"
        place = (curve.batch_size, curve.learning_rate, curve.seed)
        longest[place] = replace(curve, status=status)
    tuned = tune_sizes(keep_repeated(list(longest.values()), TARGET), race.ranking)
    fastest = find_fastest(repeated_enough(tuned, TARGET, "time", lambda _: 1.0), TARGET, "seconds")
    assert fastest is not None
    return fastest.best, next(s.learning_rate for s in tuned if s.batch_size == fastest.best)


def test_a_metric_that_is_nan_at_times_does_not_lose_the_best_rate() -> None:
    surface = draw_surface(0, noise=0.0)
    target = replace(TARGET, metric="error")

    def train(trial: Trial) -> Curve:
        curve = surface.train(trial)
        error = curve.columns["val_loss"].copy()
        # As a share of nothing, before anything is predicted to be so.
        error[0] = np.nan
        return replace(curve, columns=dict(curve.columns) | {"error": error})

    ranking = Ranking(quality="error", higher=False, target=target)
    done = run(replace(race_on(surface), target=target, ranking=ranking), train)

    best = min(
        surface.cost(*trial.setting)
        for trial, curve in done.items()
        if curve.columns["error"][-1] <= target.value
    )
    assert best <= 1.1 * surface.best()


@pytest.mark.parametrize("effort", ["quick", "standard"])
def test_rates_are_ranked_by_what_the_target_is_of(effort: str) -> None:
    """Where the loss grows as the error falls, as that of a net that is too sure."""
    surface = draw_surface(0, noise=0.0)
    target = replace(TARGET, metric="error")

    def train(trial: Trial) -> Curve:
        curve = surface.train(trial)
        error = curve.columns["val_loss"]
        return replace(curve, columns=dict(curve.columns) | {"error": error, "val_loss": 2 - error})

    race = race_on(surface, effort)
    ranking = Ranking(quality="error", higher=False, target=target)
    done = run(replace(race, target=target, ranking=ranking), train)

    reached = {
        trial.setting: surface.cost(*trial.setting)
        for trial, curve in done.items()
        if curve.columns["error"][-1] <= target.value
    }
    assert min(reached.values()) <= 1.1 * surface.best()


@pytest.mark.parametrize(("effort", "most"), [("quick", 0.20), ("standard", 0.10)])
def test_on_known_surfaces_the_choice_costs_little_more_than_the_best(
    effort: str, most: float
) -> None:
    # Reaching the target needs at least one setting that can; seeds scatter by a tenth.
    surfaces = [draw_surface(seed) for seed in range(60)]
    regrets = []
    for surface in surfaces:
        race = race_on(surface, effort)
        chosen = pick(race, run(race, surface.train))
        regrets.append(surface.cost(*chosen) / surface.best() - 1)

    assert np.mean(regrets) <= most


@pytest.mark.parametrize("noise", [0.1, 0.3, 0.6])
def test_what_a_race_ends_on_is_what_is_chosen(noise: float) -> None:
    for seed in range(12):
        surface = draw_surface(seed, noise=noise)
        race = race_on(surface)
        done = run(race, surface.train)

        best = find_best(race, done.get)

        repeats = {trial.extra_seed for trial in done if trial.setting == best}
        # Where the examples ran out before it was repeated, others were repeated more often.
        assert pick(race, done) == best or len(repeats) < 3


def test_repeats_end_where_no_other_setting_is_expected_to_save_a_twentieth() -> None:
    surface = draw_surface(4, noise=0.0)
    race = race_on(surface)
    done = run(race, surface.train)
    ledger = Ledger(race)
    for trial, curve in done.items():
        ledger.record(trial, curve)

    beliefs = believe_means(ledger.logs())

    best = find_best(race, done.get)
    assert best is not None
    gains = [expect_gain(beliefs[best], other) for s, other in beliefs.items() if s != best]
    assert ledger.left > race.price(race.to_target(best, TARGET))
    assert max(gains) <= 0.05
    # Of the best, as many as the effort asks for, since seeds do not scatter.
    assert len(ledger.repeats()[best]) == race.limits.seeds


def test_it_goes_on_beside_what_repeats_show_to_be_the_best() -> None:
    between: list[bool] = []
    for seed in range(24):
        surface = draw_surface(seed)
        race = race_on(surface)
        first = find_best(race, run(race, surface.train).get)
        assert first is not None

        def train(trial: Trial, surface: Surface = surface, unlucky: int = first[0]) -> Curve:
            curve = surface.train(trial)
            if trial.batch_size != unlucky or trial.extra_seed == 0:
                return curve
            # What looked best was lucky: no repeat of that size gets there.
            never = np.full(len(curve.columns["step"]), 1.0)
            return replace(curve, columns={**curve.columns, "val_loss": never})

        done = run(race, train)
        best = find_best(race, done.get)
        assert best is not None
        if best[0] == first[0]:
            # The examples ran out before all of its rates were repeated.
            continue
        off = [trial.learning_rate / best[1] for trial in done if trial.batch_size == best[0]]
        is_below, is_above = (any(1 < by**side <= 1.1 * STEP for by in off) for side in (-1, 1))
        between.append(is_below and is_above)
    assert sum(between) >= 0.8 * len(between) > 0


@pytest.mark.parametrize("effort", list(RACES))
def test_it_never_processes_more_examples_than_it_may(effort: str) -> None:
    for seed in range(20):
        surface = draw_surface(seed, noise=0.5)
        race = race_on(surface, effort)

        assert examples_of(run(race, surface.train)) <= race.allowance


def test_what_comes_next_depends_on_what_is_finished_not_on_the_order() -> None:
    surface = draw_surface(3)
    race = race_on(surface)
    whole = run(race, surface.train)
    rng = np.random.default_rng(0)
    one_by_one: dict[Trial, Curve] = {}
    while wanted := next_trials(race, one_by_one.get):
        trial = wanted[rng.integers(len(wanted))]
        one_by_one[trial] = surface.train(trial)

    assert set(one_by_one) == set(whole)


def test_without_a_target_one_is_derived_from_whole_runs() -> None:
    surface = draw_surface(1)
    race = race_on(surface, target=None)
    done = run(race, surface.train)

    whole = [trial for trial in done if trial.share == 1 and trial.target is None]
    assert len(whole) >= 2
    target = derive_race_target([done[trial] for trial in whole], race.ranking)
    assert target is not None
    assert {trial.target for trial in done} == {None, target}


@pytest.mark.parametrize(("noise_scale", "ratio"), [(1.0, 1.0), (1e6, 128.0)])
def test_a_known_noise_scale_says_where_the_next_size_is_looked_at(
    noise_scale: float, ratio: float
) -> None:
    surface = replace(draw_surface(0), exponent=math.log(ratio) / math.log(128), noise=0.0)
    trend = RateTrend(optimizer="SGD", noise_scale=noise_scale)
    race = replace(race_on(surface, sizes=(8, 1024)), trend=trend)
    trials = list(run(race, surface.train))

    other = 8 if race.anchor == 1024 else 1024
    first = next(trial for trial in trials if trial.batch_size == other)
    tried = {t.learning_rate for t in trials if t.batch_size == race.anchor}
    best = min(tried, key=lambda rate: surface.steps(race.anchor, rate))
    expected = best * (ratio if other == 1024 else 1 / ratio)
    # Rates are half a decade apart.
    assert abs(math.log10(first.learning_rate / expected)) <= 0.26


def test_a_setting_that_was_only_lucky_is_not_taken() -> None:
    surface = replace(draw_surface(2), noise=0.05)
    best = surface.best()
    lucky = min(
        ((size, START * STEP**rung) for size in SIZES for rung in range(-4, 3)),
        key=lambda s: abs(surface.cost(*s) / best - 2),
    )

    def train(trial: Trial) -> Curve:
        curve = surface.train(trial)
        is_lucky = (trial.batch_size, trial.extra_seed) == (lucky[0], 0)
        if is_lucky and trial.share > 0.5:
            curve = replace(curve, columns={k: v[:2] for k, v in curve.columns.items()})
            curve.columns["val_loss"][-1] = 0.05
        return curve

    race = race_on(surface)
    chosen = pick(race, run(race, train))

    assert surface.cost(*chosen) <= 1.3 * best


@pytest.mark.parametrize("effort", list(RACES))
@pytest.mark.parametrize("sizes", [SIZES, SIZES[:5], SIZES[:2], SIZES[:1]])
@pytest.mark.parametrize("spent", [0.0, 0.15, 0.9])
def test_an_unreachable_target_ends_the_race_without_a_choice(
    effort: str, sizes: tuple[int, ...], spent: float
) -> None:
    surface = replace(draw_surface(0), least=1e9)
    race = race_on(surface, effort, sizes=sizes)
    race = replace(race, spent=spent * race.allowance)
    done = run(race, surface.train)

    assert all(float(curve.columns["val_loss"][-1]) > TARGET.value for curve in done.values())
    assert examples_of(done) <= race.allowance - race.spent


def test_runs_of_one_step_are_paid_for_as_well() -> None:
    surface = draw_surface(0)
    for effort in RACES:
        race = race_on(surface, effort, sizes=SIZES[-3:], epochs=1 / TRAIN)
        done = run(race, surface.train)

        assert sum(trial.batch_size for trial in done) <= race.allowance


@pytest.mark.parametrize("target", [TARGET, None])
def test_a_target_that_an_untrained_network_has_is_not_raced_for(target: Target | None) -> None:
    surface = draw_surface(0)

    def train(trial: Trial) -> Curve:
        curve = surface.train(trial)
        columns = dict(curve.columns) | {"val_loss": np.full(len(curve.columns["step"]), 0.05)}
        if trial.target is not None:
            columns = {name: values[:1] for name, values in columns.items()}
        return replace(curve, columns=columns)

    race = race_on(surface, target=target)
    done = run(race, train)

    assert len(done) < 30
