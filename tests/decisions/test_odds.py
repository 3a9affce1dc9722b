import math
from statistics import NormalDist

import numpy as np
import pytest

from batchscope.decisions.odds import draw_log, draw_means, weigh
from batchscope.estimate import Interval


def test_of_two_log_normal_choices_the_odds_are_those_of_the_normal(
    rng: np.random.Generator,
) -> None:
    # The difference of the logs is normal with mean 0.2 and deviation 0.2 sqrt 2.
    logs = 0.2 * rng.standard_normal((200_000, 2)) + [0.0, 0.2]
    first, second = weigh(logs)

    gap = NormalDist(0.2, 0.2 * math.sqrt(2))
    # Three standard errors of 200,000 draws are 0.003.
    assert first.best == pytest.approx(1 - gap.cdf(0), abs=0.004)
    assert second.best == pytest.approx(gap.cdf(0), abs=0.004)
    assert second.near == pytest.approx(gap.cdf(math.log(1.1)), abs=0.004)
    assert first.best + second.best == pytest.approx(1)


def test_the_expected_excess_is_the_mean_over_draws() -> None:
    found = weigh(np.log([[1.0, 1.2], [2.0, 1.0]]))

    assert [one.regret for one in found] == pytest.approx([0.5, 0.1])
    assert [one.best for one in found] == [0.5, 0.5]


def test_what_no_number_holds_counts_as_eleven_times_as_much() -> None:
    # Two seeds at two sizes have one degree of freedom, whose draws know no bounds.
    assert [one.regret for one in weigh(np.array([[0.0, 5000.0]]))] == pytest.approx([0, 10])


def test_choices_that_are_always_the_same_share_being_the_best() -> None:
    assert [one.best for one in weigh(np.zeros((10, 4)))] == [0.25] * 4


def test_means_are_drawn_about_what_was_seen_and_seeds_effects_are_taken_out(
    rng: np.random.Generator,
) -> None:
    effects = 2 * rng.standard_normal(6)
    logs = {
        size: {seed: mean + effects[seed] + 0.1 * rng.standard_normal() for seed in range(6)}
        for size, mean in ((8, 0.0), (16, 1.0), (32, 3.0))
    }

    drawn = draw_means(logs, rng)

    assert drawn is not None
    # 0.1 over the root of 6; with 10 degrees of freedom the t is wider by 12%.
    for size, draws in drawn.items():
        assert float(np.std(draws)) == pytest.approx(0.1 / math.sqrt(6) * 1.12, rel=0.5)
        assert float(np.mean(draws)) == pytest.approx(np.mean(list(logs[size].values())), abs=0.01)


def test_seeds_that_ran_at_one_size_only_move_no_comparison(rng: np.random.Generator) -> None:
    # Seeds 3 and 4 are slow wherever they run, and ran at 16 only.
    slow = {0: 0.0, 1: 0.1, 2: 0.05, 3: 0.5, 4: 0.6}
    logs = {
        8: {seed: slow[seed] + 0.02 * rng.standard_normal() for seed in (0, 1, 2)},
        16: {seed: slow[seed] + 0.02 * rng.standard_normal() for seed in slow},
    }

    drawn = draw_means(logs, rng)

    assert drawn is not None
    odds = weigh(np.stack([drawn[8], drawn[16]], axis=1))
    assert 0.05 < odds[0].best < 0.95


def test_with_two_seeds_a_difference_is_a_t_with_one_degree_of_freedom(
    rng: np.random.Generator,
) -> None:
    logs = {8: {0: 0.0, 1: 0.2}, 16: {0: 0.3, 1: 0.1}}

    drawn = draw_means(logs, rng)

    assert drawn is not None
    # Of a Cauchy distribution half lies within its scale: a deviation of 0.2, over the root of two
    # seeds, of a difference of two.
    difference = drawn[16] - drawn[8]
    inside = np.abs(difference - np.median(difference)) < 0.2
    assert float(np.mean(inside)) == pytest.approx(0.5, abs=0.03)


def test_one_seed_has_no_spread_to_draw_from(rng: np.random.Generator) -> None:
    assert draw_means({8: {0: 1.0}, 16: {0: 2.0}}, rng) is None


def test_an_interval_is_drawn_so_that_it_covers_its_share(rng: np.random.Generator) -> None:
    draws = np.exp(draw_log(Interval(value=2.0, low=1.0, high=4.0, unit="s"), rng))

    assert float(np.mean((draws > 1) & (draws < 4))) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_best_is_named_as_surely_as_it_is(seeds: int) -> None:
    # Of studies whose probabilities are about p the best is the true one in about that share.
    rng, said, true = np.random.default_rng(1), 0.0, 0
    for _ in range(400):
        means = 0.1 * rng.standard_normal(4)
        logs = {
            size: {seed: means[size] + 0.1 * rng.standard_normal() for seed in range(seeds)}
            for size in range(4)
        }
        drawn = draw_means(logs, rng)
        assert drawn is not None
        odds = weigh(np.stack([drawn[size] for size in range(4)], axis=1))
        favourite = max(range(4), key=lambda size: odds[size].best)
        said += odds[favourite].best
        true += int(np.argmin(means) == favourite)
    # A flat prior names it a little too surely where the means lie as close as their errors; 400
    # studies have a standard error of 0.024.
    assert said / 400 == pytest.approx(true / 400, abs=0.1)
