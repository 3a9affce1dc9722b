import pytest

import batchscope as bs
from batchscope.findings.read_at import read_curves_at

from .curves import make_curve

# Evaluated after 0, 10, 20, 30 and 40 steps of 10 examples; four epochs of 100.
FALLING = (4.0, 3.0, 2.0, 1.0, 0.5)


def test_a_run_is_cut_where_the_smaller_budget_ends() -> None:
    curve = make_curve(10, loss=FALLING)

    for budget in (bs.epochs(2), bs.steps(20), bs.examples(200)):
        (read,) = read_curves_at([curve], budget, train_size=100)
        assert read.columns["step"].tolist() == [0, 10, 20]
        assert read.status == "finished"


def test_a_run_that_diverged_later_finished_the_smaller_budget() -> None:
    curve = make_curve(10, loss=FALLING, status="diverged")

    (within,) = read_curves_at([curve], bs.steps(30), train_size=100)
    (beyond,) = read_curves_at([curve], bs.steps(45), train_size=100)

    assert (within.status, beyond.status) == ("finished", "diverged")


def test_a_target_ends_the_run_at_the_evaluation_that_reaches_it() -> None:
    curve = make_curve(10, loss=FALLING)

    (read,) = read_curves_at(
        [curve], bs.until_target(bs.steps(40), bs.reach("val_loss", 2.5, "<=")), train_size=100
    )

    assert read.columns["step"].tolist() == [0, 10, 20]


def test_a_plateau_ends_the_run_when_half_of_it_brought_nothing() -> None:
    losses = (4.0, 3.0, 2.0, 2.1, 2.2, 2.3, 1.0)
    curve = make_curve(10, loss=losses)

    (read,) = read_curves_at([curve], bs.until_plateau(bs.steps(60)), train_size=100)

    # Lowest after 200 examples; 200 more came by step 40.
    assert read.columns["step"].tolist() == [0, 10, 20, 30, 40]


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        (bs.steps(25), "steps 20 and 30"),
        (bs.steps(41), "ends after 40 steps"),
        (bs.seconds(1), "not the same twice"),
    ],
)
def test_what_cannot_be_read_exactly_is_refused(budget: bs.Budget, says: str) -> None:
    with pytest.raises(bs.InvalidInput, match=says):
        read_curves_at([make_curve(10, loss=FALLING)], budget, train_size=100)
