import math

import numpy as np
import pytest

from batchscope.decisions.recurring.choice import choose

WORLDS = 256


def worlds(means: list[float], spreads: list[float]) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.log(means) + np.array(spreads) * rng.standard_normal((WORLDS, len(means)))


def ask(epochs: np.ndarray, *, recurrences: float, may_stop: bool = True, max_cost: float = 1e9):
    costs = np.zeros_like(epochs)
    return choose(
        epochs,
        costs,
        noise=0.05,
        max_epochs=100,
        max_cost=max_cost,
        recurrences=recurrences,
        may_stop=may_stop,
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


def test_no_run_passes_the_users_limit() -> None:
    # The second would be cheaper but for one world in three, in which it passes the limit.
    epochs = np.log(np.where(np.arange(WORLDS)[:, None] % 3 == 0, [[10.0, 40.0]], [[10.0, 6.0]]))

    assert ask(epochs, recurrences=0, may_stop=False, max_cost=20).best == 0
