import math

import numpy as np
import pytest

from batchscope.decisions.recurring.choice import Choice, choose, guess

WORLDS = 256


def worlds(means: list[float], spreads: list[float]) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.log(means) + np.array(spreads) * rng.standard_normal((WORLDS, len(means)))


def ask(
    epochs: np.ndarray,
    *,
    recurrences: float,
    max_cost: float = 1e9,
    chances: list[float] | None = None,
    is_open: list[bool] | None = None,
) -> Choice:
    costs = np.zeros_like(epochs)
    return choose(
        epochs,
        costs,
        noise=0.05,
        max_epochs=100,
        max_cost=max_cost,
        recurrences=recurrences,
        chances=None if chances is None else np.array(chances),
        is_open=None if is_open is None else np.array(is_open),
    )


def test_what_is_known_is_taken_and_what_may_win_is_tried_while_it_pays() -> None:
    epochs = worlds([10, 14], [0.01, 0.5])

    assert ask(epochs, recurrences=0).at == 0
    assert ask(epochs, recurrences=50).at == 1
    assert ask(epochs, recurrences=50).best == 0


def test_what_cannot_win_is_never_tried() -> None:
    chosen = ask(worlds([10, 20], [0.01, 0.05]), recurrences=10_000)

    assert chosen.at == 0
    assert chosen.saving == pytest.approx(0, abs=1e-6)
    assert math.isinf(chosen.stop_cost)


def test_a_try_is_given_up_where_that_is_cheapest() -> None:
    epochs = worlds([10, 12], [0.01, 0.8])
    chosen = ask(epochs, recurrences=50)
    spent = np.minimum(np.exp(epochs[:, 1]), 100)
    spent = np.maximum(spent, 1)

    def mean_cost(stop: float) -> float:
        return float((np.minimum(spent, stop) + 10 * (spent > stop)).mean())

    by_hand = min(mean_cost(stop) for stop in np.linspace(10, 100, 2000))
    assert chosen.at == 1
    assert mean_cost(chosen.stop_cost) <= by_hand * 1.001


def test_a_run_of_the_best_is_given_up_where_it_has_more_likely_failed() -> None:
    epochs = worlds([10, 20], [0.02, 0.02])
    rng = np.random.default_rng(1)
    drawn = np.exp(rng.choice(epochs[:, 0], 20_000) + 0.05 * rng.standard_t(4, 20_000))
    is_failing = rng.random(20_000) > 0.9
    runs = np.where(is_failing, 100, drawn)
    # A job costs so much whose runs are never given up.
    again = (0.9 * 10 + 0.1 * 100) / 0.9

    def mean_cost(stop: float) -> float:
        is_begun_anew = is_failing | (runs > stop)
        return float((np.minimum(runs, stop) + again * is_begun_anew).mean())

    chosen = ask(epochs, recurrences=50, chances=[0.9, 0.9])
    by_hand = min(mean_cost(stop) for stop in np.linspace(9, 100, 1000))

    assert chosen.at == 0
    assert chosen.stop_cost < 15
    # 20,000 runs: one deviation of their mean is a tenth of a percent.
    assert mean_cost(chosen.stop_cost) <= by_hand * 1.01
    assert math.isinf(ask(epochs, recurrences=50).stop_cost)


def test_what_fails_often_is_the_best_where_giving_up_in_time_makes_it_cheapest() -> None:
    # Fifteen in a hundred runs of 10 epochs fail, which take 100 unless they are given up.
    epochs = worlds([10, 20], [0.02, 0.02])
    chosen = ask(epochs, recurrences=0, chances=[0.85, 0.999], is_open=[False, False])

    assert (chosen.at, chosen.best) == (0, 0)
    assert 10 < chosen.stop_cost < 20


def test_a_try_that_cannot_get_there_before_it_is_given_up_settles_nothing() -> None:
    # Half of the runs at 10 epochs fail at 100, and 30 without failures would be less; but what is
    # open is given up at 20.
    epochs = worlds([10, 30], [0.01, 0.02])
    chosen = ask(epochs, recurrences=10_000, chances=[0.5, 0.5], is_open=[False, True])

    assert chosen.at == 0
    assert chosen.saving == pytest.approx(0, abs=1e-9)


def test_what_may_never_work_is_given_up_at_twice_what_does() -> None:
    epochs = worlds([10, 7], [0.01, 0.4])
    known = ask(epochs, recurrences=50, is_open=[False, False])
    tried = ask(epochs, recurrences=50, is_open=[False, True])

    assert known.at == tried.at == 1
    assert math.isinf(known.stop_cost)
    assert tried.stop_cost == pytest.approx(20, rel=0.01)


def test_a_doubtful_try_counts_its_failures_and_what_success_would_settle() -> None:
    epochs = worlds([10, 7], [0.01, 0.02])

    # Works half of the time: a failure is given up at a little above 7, and the other run at 10.
    def gamble(recurrences: float, *, is_open: bool) -> int:
        chosen = ask(epochs, recurrences=recurrences, chances=[1.0, 0.5], is_open=[False, is_open])
        return chosen.at

    # If one success settles it, 3 are saved in half of the cases each time from there on.
    assert gamble(1, is_open=True) == 0
    assert gamble(40, is_open=True) == 1
    # If half of its runs fail for ever, nothing is.
    assert gamble(40, is_open=False) == 0


def test_while_nothing_works_each_has_its_turn_the_likeliest_for_its_cost_first() -> None:
    # Means of 20, 40 and 90 epochs, of which 100 are allowed, at equal cost but for the first.
    epochs = np.log(np.tile([20.0, 40.0, 90.0], (64, 1)))
    costs = np.log(np.tile([9.0, 1.0, 1.0], (64, 1)))

    def turn(*tried: int) -> int:
        return guess(
            epochs,
            costs,
            noise=0.1,
            max_epochs=100,
            max_cost=math.inf,
            tried=np.array(tried),
        ).at

    assert [turn(0, 0, 0), turn(0, 1, 0), turn(0, 1, 1), turn(1, 1, 1)] == [1, 2, 0, 1]


def test_no_run_passes_the_users_limit() -> None:
    # The second would be cheaper but for one world in three, in which it passes the limit.
    epochs = np.log(np.where(np.arange(WORLDS)[:, None] % 3 == 0, [[10.0, 40.0]], [[10.0, 6.0]]))

    assert ask(epochs, recurrences=0, max_cost=20).best == 0
