import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import batchscope as bs
from batchscope.replications.rates import find_best, find_lowest, search_ladders, tune_to_target
from batchscope.studies.store import Store

from ..conftest import make_task
from .labs import make_lab

RATES = [0.01, 0.03, 0.1]


def test_the_lowest_point_of_a_parabola_in_the_log_is_found() -> None:
    losses = [(np.log(rate) - np.log(0.04)) ** 2 + 1 for rate in RATES]

    assert find_lowest(RATES, losses) == pytest.approx(0.04)


def test_it_lies_inside_the_rates_that_were_tried() -> None:
    assert find_lowest(RATES, [3.0, 1.9, 1.0]) == RATES[-1]


@pytest.mark.parametrize("losses", [[1.0, 1.0, 1.0], [1.0, 2.0, 1.0]])
def test_without_a_bend_upwards_there_is_none(losses: list[float]) -> None:
    assert find_lowest(RATES, losses) is None


WIDE = [0.01, 0.1, 1.0, 10.0]
RUNGS = [0.032, 0.1, 0.32]


def test_the_best_is_that_of_a_parabola_or_known_to_one_side_at_the_edge() -> None:
    # In logs of base 10 a parabola about 0.1 x sqrt(10).
    losses = [math.exp((math.log10(rate) + 0.5) ** 2) for rate in WIDE]

    inner, edge = (find_best(WIDE, one, dead=1e9) for one in (losses, [4.0, 3.0, 2.0, 1.0]))

    assert inner.low == inner.high == pytest.approx(math.log(10**-0.5))
    assert (edge.low, edge.high) == (math.log(1.0), math.inf)


def test_beside_a_rate_at_which_nothing_is_learned_the_best_lies_between_its_neighbours() -> None:
    found = find_best(WIDE, [0.4, 0.2, 0.1, 2.3], dead=1.15)

    assert (found.low, found.high) == (math.log(0.1), math.log(10.0))


@pytest.mark.parametrize(
    ("losses", "low", "high"),
    [
        # As of adapters that count for nothing.
        ([2.0, 2.0, 2.0000001, 2.0, 2.0], 0.0, math.inf),
        ([2.0, 2.0, 3.0, 3.0, 3.0], 0.0, 1.0),
        ([3.0, 3.0, 3.0, 2.0, 2.0], 1.0, math.inf),
        ([3.0, 2.0, 2.0, 2.0, 3.0], 0.01, 100.0),
        ([2.0, 3.0, 2.0, 3.0, 3.0], 0.0, 10.0),
    ],
)
def test_of_several_that_are_equally_good_the_best_lies_between_the_neighbours_of_all(
    losses: list[float], low: float, high: float
) -> None:
    found = find_best([*WIDE, 100.0], losses, dead=1e9)

    assert (found.low, found.high) == (math.log(low) if low else -math.inf, math.log(high))


@pytest.mark.parametrize(("best", "tried"), [(0.01, 5), (0.1, 3), (3.2, 6), (100.0, 6)])
def test_further_rates_are_tried_while_the_best_lies_at_the_edge(best: float, tried: int) -> None:
    asked: list[dict[int, list[float]]] = []

    def choose(ladders: Mapping[int, Sequence[float]]) -> dict[int, float]:
        asked.append({size: list(rates) for size, rates in ladders.items()})
        wanted = {8: best, 16: 0.1}
        return {
            size: min(rates, key=lambda rate: abs(math.log(rate / wanted[size])))
            for size, rates in ladders.items()
        }

    found = search_ladders({16: RUNGS, 8: RUNGS}, choose, most=6)

    # Half a decade a rung; what lies beyond six rates is not reached.
    assert list(found) == [16, 8]
    assert found == pytest.approx({8: min(best, 10.0), 16: 0.1})
    assert len(asked[-1][8]) == tried
    assert asked[-1][8] == sorted(asked[-1][8])
    # A batch size that is settled is not asked of again.
    assert [16 in ladders for ladders in asked] == [True] + [False] * (tried - 3)


def test_a_rate_is_tuned_in_as_many_epochs_as_the_middle_one_takes(tmp_path: Path) -> None:
    """Of plain descent on an easy task, where a higher rate is faster."""
    lab, task = make_lab(tmp_path), make_task(optimizer=bs.SGD(lr=0.1))
    target = bs.reach("val_loss", 0.5, "<=")

    rates = {8: [0.032, 0.1, 0.32]}
    found = tune_to_target(lab, task, rates, epochs=40, target=target, most=3)[8]

    with closing(Store(lab.store, create=False)) as store:
        runs = [run for row in store.list_studies() for run in store.read_study(row["id"])]
    epochs = {
        rate: {
            run.configuration.budget.amount
            for run in runs
            if rate == run.configuration.learning_rate
        }
        for rate in (0.032, 0.1, 0.32)
    }
    assert found.rate == 0.32
    assert {run.configuration.seed for run in runs} == {10_000, 10_001}
    assert epochs[0.1] == {40.0}
    (at_most,) = epochs[0.032]
    assert epochs[0.32] == {at_most}
    assert 1 <= at_most < 40
    whole = lab.train(
        task, [8], rates=[0.32], budget=f"40ep until {target}", seeds=range(10_000, 10_002)
    )
    assert found.steps == {
        seed: whole.reach((8, 0.32, seed), target, "step") for seed in (10_000, 10_001)
    }
