import itertools
import random

import pytest

from batchscope.budget import Target
from batchscope.findings.tuning import Ranking, keep_repeated, tune_sizes

from .curves import make_curve

RANKING = Ranking(quality="error", higher=False)


def test_the_rate_with_the_best_final_quality_wins() -> None:
    curves = [
        make_curve(lr=lr, error=[1, error, error])
        for lr, error in ((0.01, 0.3), (0.1, 0.1), (1.0, 0.9))
    ]

    (size,) = tune_sizes(curves, RANKING)

    assert size.learning_rate == 0.1
    assert not size.at_edge


def test_with_a_target_the_rate_that_gets_there_first_wins() -> None:
    fast = make_curve(lr=0.1, error=[1.0, 0.1, 0.3])
    good = make_curve(lr=0.01, error=[1.0, 0.5, 0.1])
    ranking = Ranking(quality="error", higher=False, target=Target("error", 0.2, "<="))

    (size,) = tune_sizes([fast, good], ranking)

    assert size.learning_rate == 0.1
    assert size.at_edge


def test_a_diverged_rate_never_wins_but_is_not_dropped() -> None:
    curves = [
        make_curve(lr=0.1, error=[1, 0.5, 0.4]),
        make_curve(lr=1.0, error=[1, 0.0], loss=[1, 0], status="diverged"),
    ]

    (size,) = tune_sizes(curves, RANKING)

    assert size.learning_rate == 0.1


def test_a_rate_that_always_diverged_does_not_bar_one_with_fewer_seeds() -> None:
    curves = [make_curve(lr=0.1, seed=s, error=[1, 0.5, 0.4]) for s in range(2)]
    curves += [make_curve(lr=1.0, seed=s, error=[1, 9], status="diverged") for s in range(3)]

    (size,) = tune_sizes(curves, RANKING)

    assert (size.learning_rate, len(size.curves)) == (0.1, 2)


@pytest.mark.parametrize(
    ("reached", "chosen"), [((True, True, False), 0.3), ((True, True, True, True, False), 0.1)]
)
def test_where_a_repeat_missed_the_target_the_setting_that_gets_there_most_often_stands(
    reached: tuple[bool, ...], chosen: float
) -> None:
    # By Laplace's rule 2 of 3 are 0.6, 1 of 1 is 0.67 and 4 of 5 are 0.71.
    target = Target("val_loss", 0.2, "<=")
    curves = [
        make_curve(lr=0.1, seed=s, loss=[1.0, 0.1 if is_there else 0.5])
        for s, is_there in enumerate(reached)
    ]
    curves.append(make_curve(lr=0.3, loss=[1.0, 0.4, 0.1]))

    kept = [curve for curve in keep_repeated(curves, target) if curve.status == "finished"]

    assert {curve.learning_rate for curve in kept} == {chosen}


def test_a_lucky_single_run_does_not_beat_a_mean() -> None:
    curves = [make_curve(lr=0.1, seed=s, error=[1, 0.2, 0.2]) for s in range(3)]
    curves.append(make_curve(lr=0.3, seed=0, error=[1, 0.1, 0.1]))

    (size,) = tune_sizes(curves, RANKING)

    assert size.learning_rate == 0.1


def test_what_an_untrained_model_scored_does_not_count_where_a_run_was_seldom_evaluated() -> None:
    better = make_curve(lr=0.1, error=[0.9, 0.2, 0.2])
    lucky_start = make_curve(lr=0.3, error=[0.3, 0.25, 0.25])

    (size,) = tune_sizes([better, lucky_start], RANKING)

    assert size.learning_rate == 0.1


def test_the_order_of_runs_does_not_matter() -> None:
    curves = [
        make_curve(size, lr=lr, seed=seed, error=[1, 0.5, abs(lr - 0.1)])
        for size, lr, seed in itertools.product((8, 16), (0.03, 0.1, 0.3), (0, 1))
    ]
    shuffled = random.Random(0).sample(curves, len(curves))

    first, second = tune_sizes(curves, RANKING), tune_sizes(shuffled, RANKING)

    assert [(s.batch_size, s.learning_rate) for s in first] == [
        (s.batch_size, s.learning_rate) for s in second
    ]


def test_a_size_at_which_every_rate_diverged_is_left_out() -> None:
    curves = [make_curve(8, error=[1, 1, 1]), make_curve(16, error=[1, 1, 1], status="diverged")]

    assert [size.batch_size for size in tune_sizes(curves, RANKING)] == [8]
