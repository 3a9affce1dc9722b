import math

import numpy as np
import pytest

import batchscope as bs
from batchscope.errors import CannotTell, InvalidInput
from batchscope.estimate import Interval, NotIdentified
from batchscope.instruments.branching import (
    bracket,
    branch_from,
    find_margin,
    judge_branches,
)
from batchscope.instruments.checkpoint import reach_checkpoint

from ..conftest import make_task
from .problems import CPU, SETTINGS, gaussian_regression


def losses(rng: np.random.Generator, means: list[float], seeds: int = 6) -> list[np.ndarray]:
    """Losses whose seeds move together, as those of one order do."""
    common = 0.1 * rng.standard_normal(seeds)
    return [mean + common + 0.02 * rng.standard_normal(seeds) for mean in means]


def test_a_batch_size_that_is_clearly_worse_ends_the_range(rng: np.random.Generator) -> None:
    verdicts = judge_branches(losses(rng, [1.0, 1.0, 1.0, 2.0]), margin=0.2)

    assert verdicts == ["as good", "as good", "as good", "worse"]
    found = bracket([32, 64, 128, 256], verdicts, unit="images")
    assert isinstance(found, Interval)
    assert (found.low, found.high) == (128, 256)
    assert found.value == pytest.approx(math.sqrt(128 * 256))


def test_what_cannot_be_told_widens_the_range(rng: np.random.Generator) -> None:
    noisy = 0.4 * rng.standard_normal(6)
    first = np.ones(6) + 0.1 * rng.standard_normal(6)
    verdicts = judge_branches([first, first + 0.2 + noisy, first + 3.0], margin=0.2)

    assert verdicts == ["as good", "cannot tell", "worse"]
    found = bracket([8, 16, 32], verdicts, unit="images")
    assert isinstance(found, Interval)
    assert (found.low, found.high) == (8, 32)


def test_where_nothing_is_worse_only_the_bound_is_given(rng: np.random.Generator) -> None:
    found = bracket([8, 16], judge_branches(losses(rng, [1.0, 1.0]), margin=0.2), unit="images")

    assert isinstance(found, NotIdentified)
    assert found.low == 16


def test_a_size_is_called_as_good_wrongly_no_more_often_than_stated(
    rng: np.random.Generator,
) -> None:
    # Exactly at the margin the one-sided test errs 5% of the time.
    wrong = 0
    for _ in range(600):
        first = rng.standard_normal(6)
        wrong += judge_branches([first, first + 0.5 + rng.standard_normal(6)], margin=0.5)[1] == (
            "as good"
        )

    # 5% and three standard errors over 600.
    assert wrong / 600 <= 0.08


def test_a_diverged_branch_is_worse() -> None:
    verdicts = judge_branches([np.array([1.0, 1.1, 0.9]), np.array([1.0, np.inf, 1.0])], margin=0.5)

    assert verdicts == ["as good", "worse"]


def test_a_margin_comes_from_the_seeds_and_needs_finite_losses() -> None:
    assert find_margin([1.0, 2.0, 3.0]) == 2.0
    with pytest.raises(CannotTell, match="diverged"):
        find_margin([1.0, math.inf])


def test_branches_leave_the_checkpoint_as_it_was_and_end_with_a_range() -> None:
    task = gaussian_regression(SETTINGS["even"][0], size=2_048)
    place = reach_checkpoint(
        task, after=bs.steps(20), device=CPU, precision="float32", learning_rate=1.0
    )
    before = [p.clone() for p in place.model.parameters()]

    found = branch_from(
        task,
        place,
        length=bs.epochs(1),
        precision="float32",
        device=CPU,
        multipliers=(1, 4, 16),
        seeds=3,
    )

    assert [b.batch_size for b in found.branches] == [32, 128, 512]
    assert found.branches[0].verdict == "as good"
    assert found.margin > 0
    assert all((a == b).all() for a, b in zip(before, place.model.parameters(), strict=True))
    # A rate that moves with the batch is far beyond the stability limit of 2 at 512.
    assert isinstance(found.critical_batch_size, Interval)
    assert found.critical_batch_size.high <= 512


@pytest.mark.parametrize(
    "wrong",
    [{"length": bs.steps(5)}, {"seeds": 2}, {"multipliers": (1,)}, {"length": bs.examples(9)}],
)
def test_branches_that_could_not_be_compared_are_refused(wrong: dict[str, object]) -> None:
    task = make_task()
    place = reach_checkpoint(task, after=None, device=CPU, precision="float32", batch_size=4)
    given: dict[str, object] = {
        "length": bs.epochs(1),
        "precision": "float32",
        "device": CPU,
        "multipliers": (1, 2),
        "seeds": 3,
    }

    with pytest.raises(InvalidInput):
        branch_from(task, place, **(given | wrong))  # type: ignore[arg-type]
