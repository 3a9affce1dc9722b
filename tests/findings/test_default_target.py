import pytest

from batchscope.budget import Target
from batchscope.findings.default_target import derive_target
from batchscope.findings.tuning import Ranking, tune_sizes

from .curves import make_curve

ERROR = Ranking(quality="error", higher=False)


def test_a_quarter_is_given_where_seeds_agree() -> None:
    sizes = tune_sizes(
        [make_curve(seed=s, error=[1, 0.5, 0.04 + 0.0001 * s]) for s in range(3)], ERROR
    )

    target = derive_target(sizes, ERROR)

    assert target is not None
    assert target.value == pytest.approx(0.0501, abs=2e-4)


def test_three_deviations_are_given_where_seeds_differ() -> None:
    sizes = tune_sizes(
        [make_curve(seed=s, error=[1, 0.5, 0.04 + 0.01 * s]) for s in range(3)], ERROR
    )

    target = derive_target(sizes, ERROR)

    # mean 0.05, deviation 0.01
    assert target is not None
    assert target.value == pytest.approx(0.08)


def test_what_an_untrained_model_has_is_no_target_however_seeds_differ() -> None:
    sizes = tune_sizes([make_curve(seed=s, error=[1, 0.9, 0.2 + 0.4 * s]) for s in range(3)], ERROR)

    target = derive_target(sizes, ERROR)

    # The mean is 0.6 and three deviations 1.2: half-way from there to 1.
    assert target is not None
    assert target.value == pytest.approx(0.8)


def test_validation_loss_stands_in_for_a_perfect_metric() -> None:
    sizes = tune_sizes(
        [make_curve(seed=s, error=[1, 0, 0], loss=[2, 1, 0.4]) for s in range(3)], ERROR
    )

    assert derive_target(sizes, ERROR) == Target("val_loss", 0.5, "<=")


def test_validation_loss_stands_in_where_an_untrained_network_is_as_good_by_luck() -> None:
    sizes = tune_sizes(
        [make_curve(seed=s, error=[0.4 + 0.2 * s, 0.6, 0.5], loss=[2, 1, 0.4]) for s in range(3)],
        ERROR,
    )

    assert derive_target(sizes, ERROR) == Target("val_loss", 0.5, "<=")


def test_where_nothing_was_learned_there_is_no_target() -> None:
    sizes = tune_sizes(
        [make_curve(seed=s, error=[0.4, 0.5, 0.5], loss=[1, 2, 2]) for s in range(3)], ERROR
    )

    assert derive_target(sizes, ERROR) is None


def test_a_share_that_is_better_when_higher_loses_a_quarter_of_what_is_missing() -> None:
    ranking = Ranking(quality="accuracy", higher=True)
    sizes = tune_sizes([make_curve(seed=s, accuracy=[0, 0.5, 0.96]) for s in range(2)], ranking)

    assert derive_target(sizes, ranking) == Target("accuracy", 0.95, ">=")


def test_single_runs_give_no_target() -> None:
    sizes = tune_sizes([make_curve(error=[1, 0.5, 0.04])], ERROR)

    assert derive_target(sizes, ERROR) is None
