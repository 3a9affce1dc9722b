"""What few repeats say of a mean, and what another setting may save."""

import csv
import math
from collections import defaultdict

import numpy as np
import pytest
from scipy import stats

from batchscope.findings.beliefs import Belief, believe_means, expect_gain, moderate_spread

from ..shared_data import measured


def predict(logs: list[float], others: list[list[float]]) -> tuple[float, float]:
    """The interval for the log of a fresh training."""
    spread, freedom = moderate_spread(logs, others)
    half = float(stats.t.ppf(0.975, freedom)) * spread * math.sqrt(1 + 1 / len(logs))
    return float(np.mean(logs)) - half, float(np.mean(logs)) + half


@pytest.mark.parametrize("deviation", [0.05, 0.15, 0.3])
@pytest.mark.parametrize("settings", [0, 3])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_intervals_cover_whatever_the_spread_over_seeds(
    deviation: float, settings: int, seeds: int, rng: np.random.Generator
) -> None:
    inside = 0
    for _ in range(1000):
        own, *others = rng.normal(0, deviation, (1 + settings, seeds)).tolist()
        low, high = predict(own, others)
        inside += low <= rng.normal(0, deviation) <= high

    # Twice what is usual, with nothing to say so but two or three seeds, costs up to four points;
    # 1,000 draws err by 0.7.
    assert inside / 1000 >= (0.89 if deviation == 0.3 and settings == 0 else 0.93)


def test_three_alike_seeds_of_a_spread_task_do_not_promise_a_narrow_interval() -> None:
    alike, spread = [5.0, 5.001, 4.999], [[3.0, 4.0, 5.0], [4.0, 5.5, 5.0], [2.0, 3.5, 3.0]]

    (low, high), (alone_low, alone_high) = predict(alike, spread), predict(alike, [])

    # The mean variance elsewhere, and what is usual as one pair of seeds, for two of four freedoms.
    usual = (0.14**2 + 2 * (1.0 + 7 / 12 + 7 / 12)) / 7
    assert moderate_spread(alike, spread)[0] == pytest.approx(math.sqrt(usual / 2), rel=1e-3)
    assert high - low > 3 * (alone_high - alone_low)


def test_settings_of_one_seed_or_that_missed_the_target_say_nothing() -> None:
    own = [1.0, 1.2, 0.9]

    assert moderate_spread(own, [[3.0], [1.0, math.inf]]) == moderate_spread(own, [])


@pytest.mark.parametrize("ahead", [-1.0, 0.0, 0.4])
def test_an_expected_gain_is_the_mean_of_what_is_saved(
    ahead: float, rng: np.random.Generator
) -> None:
    best, other = Belief(mean=ahead, deviation=0.3), Belief(mean=0.0, deviation=0.4)

    saved = np.maximum(0, rng.normal(ahead, 0.3, 100_000) - rng.normal(0, 0.4, 100_000))

    # Four standard errors: a right formula fails for one seed in 16,000.
    error = float(np.std(saved)) / math.sqrt(len(saved))
    assert expect_gain(best, other) == pytest.approx(float(np.mean(saved)), abs=4 * error)


def test_of_settings_that_are_known_exactly_only_a_better_one_gains() -> None:
    known = [Belief(mean=mean, deviation=0.0) for mean in (1.0, 0.75)]

    assert expect_gain(known[0], known[1]) == pytest.approx(0.25)
    assert expect_gain(known[1], known[0]) == 0.0


def test_a_setting_that_was_run_once_has_the_deviation_of_the_others(
    rng: np.random.Generator,
) -> None:
    others = {number: rng.normal(0, 0.8, 40).tolist() for number in range(5)}

    found = believe_means({"once": [0.0], **others})

    # 195 degrees of freedom know a deviation to 5%; twice that is asked.
    assert found["once"].deviation == pytest.approx(0.8, rel=0.1)
    assert found[0].deviation == pytest.approx(0.8 / math.sqrt(40), rel=0.25)
    assert believe_means({}) == {}


def test_recorded_jobs_are_covered_from_two_repetitions() -> None:
    jobs: defaultdict[tuple[str, str], dict[str, list[float]]] = defaultdict(dict)
    with open(measured("zeus/summary_train.csv"), newline="") as file:
        for row in csv.DictReader(file):
            reached = float(row["target_epoch"] or "nan")
            levels = jobs[row["dataset"], row["target_metric"]]
            levels.setdefault(row["batch_size"], []).append(
                math.log(reached) if reached > 0 else math.inf
            )
    inside, ratios = [], []
    for sizes in jobs.values():
        whole = {
            b: logs for b, logs in sizes.items() if len(logs) > 2 and all(map(math.isfinite, logs))
        }
        for size, logs in whole.items():
            others = [other[:2] for b, other in whole.items() if b != size]
            low, high = predict(logs[:2], others)
            inside += [low <= log <= high for log in logs[2:]]
            ratios.append(math.exp(high - low))

    assert np.mean(inside) >= 0.95
    assert np.median(ratios) <= 2
