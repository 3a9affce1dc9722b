import pytest
from hypothesis import given
from hypothesis import strategies as st

import batchscope as bs
from batchscope.budget import Budget, parse_budget, parse_target
from batchscope.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("25ep", bs.epochs(25)),
        ("0.5 epochs", bs.epochs(0.5)),
        ("2000steps", bs.steps(2000)),
        ("1e6ex", bs.examples(1e6)),
        ("90s", bs.seconds(90)),
        ("2min", bs.seconds(120)),
        ("100ep until plateau", bs.until_plateau(bs.epochs(100))),
        ("9ep until error<=0.1", bs.until_target(bs.epochs(9), bs.reach("error", 0.1, "<="))),
    ],
)
def test_budgets_are_read_as_people_write_them(text: str, budget: Budget) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize(
    "text", ["25", "ep", "25 parsecs", "-1ep", "0ep", "1e999ep", "..ep", "", "9ep until"]
)
def test_other_texts_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_budget(text)


def test_an_ending_that_is_mistyped_is_told_from_a_target() -> None:
    with pytest.raises(InvalidInput, match="did you mean plateau"):
        parse_budget("8ep until plateu")
    with pytest.raises(InvalidInput, match=r"(?s)'later' is not a target.*--budget"):
        parse_budget("8ep until later")


@given(st.sampled_from(["epochs", "steps", "examples", "seconds"]), st.integers(1, 10**6))
def test_what_is_written_is_read_back(kind: str, amount: int) -> None:
    budget = Budget(float(amount), kind)  # type: ignore[arg-type]

    assert parse_budget(str(budget)).kind == kind
    assert parse_budget(str(budget)).amount == pytest.approx(amount, rel=1e-5)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 20))
def test_whole_epochs_take_as_many_steps_as_batches(size: int, batch: int, epochs: int) -> None:
    batch = min(batch, size)

    assert bs.epochs(epochs).steps(size, batch) == epochs * len(range(0, size, batch))


def test_equal_examples_across_sizes_differ_by_less_than_a_batch() -> None:
    for batch in (8, 50, 64):
        steps = bs.examples(1000).steps(500, batch)

        assert steps is not None
        assert steps == 2 * len(range(0, 500, batch))


@pytest.mark.parametrize(
    ("text", "direction"), [("error<=0.05", "<="), ("error < 0.05", "<="), ("acc>=0.9", ">=")]
)
def test_targets_are_read_as_people_write_them(text: str, direction: str) -> None:
    assert parse_target(text).direction == direction


@pytest.mark.parametrize("text", ["error", "error=0.05", "<=0.05", "error<=low", "error<=nan"])
def test_texts_that_are_no_target_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="target"):
        parse_target(text)
