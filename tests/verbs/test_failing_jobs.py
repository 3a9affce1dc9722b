"""Recurring jobs whose runs fail: for good at some batch sizes, or now and then at all of them."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from batchscope import Advisor

SIZES = [32, 64, 128, 256, 512, 1024]
MAX_EPOCHS = 100


def epochs_of(size: int) -> float:
    return 12 * (1 + size / 400)


def cost_of(size: int) -> float:
    """Of an epoch: 50,000 examples in steps of 30 and 0.1 for each example."""
    return 50 * (30 + 0.1 * size) / size


def play(
    default: int, times: int, *, fails: Sequence[int] = (), by_chance: float = 0.0, seed: int = 0
) -> tuple[Counter[int], float]:
    """Do the job so many times; the batch sizes of its runs, and what they cost in all."""
    advisor = Advisor(
        SIZES, default=default, max_epochs=MAX_EPOCHS, recurrences=times, state=None, seed=seed
    )
    for size in SIZES:
        advisor.timed(size, cost_of(size))
    rng = np.random.default_rng(seed)
    done, spent, chosen = 0, 0.0, Counter[int]()
    while done < times:
        trial = advisor.ask()
        size, each = trial.batch_size, cost_of(trial.batch_size)
        needed = math.ceil(epochs_of(size) * math.exp(0.1 * rng.standard_normal()))
        if size in fails or rng.random() < by_chance:
            needed = MAX_EPOCHS + 1
        most = math.floor((trial.stop_cost or math.inf) / each + 1e-9) if trial.stop_cost else 1000
        epochs = min(needed, MAX_EPOCHS, most)
        reached = epochs == needed
        advisor.tell(trial, cost=epochs * each, reached=reached, epochs=epochs)
        done += reached
        spent += epochs * each
        chosen[size] += 1
    return chosen, spent


def test_the_neighbour_of_a_batch_size_that_never_gets_there_is_found() -> None:
    # At 256 a run costs a fifth less than at 128, and 512 and 1,024 are what would tell more.
    best = epochs_of(256) * cost_of(256)
    found = [play(128, 24, fails=(32, 64, 512, 1024), seed=seed) for seed in range(5)]

    assert all(chosen.most_common(1)[0][0] == 256 for chosen, _ in found)
    # One failure costs as much as four runs of the best.
    assert np.mean([spent / (24 * best) for _, spent in found]) < 1.35


def test_beyond_one_that_fails_others_are_found() -> None:
    # The best but for 256 is 512, with 256 between it and the default.
    best = epochs_of(512) * cost_of(512)
    costs = [play(32, 24, fails=(256,), seed=seed)[1] / (24 * best) for seed in range(8)]

    # The default itself, at 3.1 times the best, is the first; a failure costs four times.
    assert np.mean(costs) < 1.5


def test_failures_now_and_then_are_no_drift_and_lead_nowhere_else() -> None:
    # Where three in ten fail, a job costs what a run does, and the failures before it in full;
    # those of batch sizes that are tried are given up sooner.
    run, failures = epochs_of(256) * cost_of(256), 0.3 / 0.7 * MAX_EPOCHS * cost_of(256)
    costs = [
        play(512, 40, by_chance=0.3, seed=seed)[1] / (40 * (run + failures)) for seed in range(8)
    ]

    assert np.mean(costs) < 0.95


def test_where_the_default_is_the_best_and_others_fail_little_is_lost() -> None:
    # In whole epochs half of one more.
    best = (epochs_of(256) + 0.5) * cost_of(256)
    lost = [
        play(256, len(SIZES), fails=fails, seed=seed)[1] / best - len(SIZES)
        for fails in ((512, 1024), (32, 64, 128, 512, 1024))
        for seed in range(6)
    ]

    # A try is given up at twice what the best costs; each side of the best may have one.
    assert np.mean(lost) < 2.5


@pytest.mark.parametrize("works", SIZES)
def test_the_only_batch_size_that_works_is_found_in_one_turn(works: int) -> None:
    fails = [size for size in SIZES if size != works]
    default = 1024 if works != 1024 else 32

    chosen, _ = play(default, 1, fails=fails)

    assert max(chosen.values()) == 1
    assert chosen[works] == 1
