import math
from collections.abc import Callable
from pathlib import Path

import pytest

import batchscope as bs
from batchscope.errors import InvalidInput, InvalidTask
from batchscope.replications import lab as lab_module
from batchscope.replications.lab import Ends, add_up, fit_leading
from batchscope.task import Task

from ..conftest import make_task
from .labs import make_lab
from .studies.trained import make_trained


def square(task: Task, number: int, *, report: Callable[[object], None]) -> list[int]:
    if number < 0:
        raise ValueError("below 0")
    return [task.train_size, number**2]


def mark_or_fail(task: Task, folder: str, number: int, *, report: Callable[[object], None]) -> None:
    if number < 0:
        raise ValueError("below 0")
    with Path(folder, str(number)).open("a") as file:
        file.write("x")


def test_calls_are_answered_in_their_order(tmp_path: Path) -> None:
    calls = [(number,) for number in (3, 1, 4, 1, 5)]

    found = make_lab(tmp_path).ask(make_task(), square, calls, words="squaring")

    assert found == [[64, number**2] for (number,) in calls]


def test_a_call_is_made_once_and_its_answer_kept_be_it_none(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()

    for task in (make_task(), make_task(), make_task(optimizer=bs.SGD(lr=0.7))):
        found = make_lab(tmp_path).ask(task, mark_or_fail, [(str(marks), 7)], words="marking")
        assert found == [None]

    # The third is another task.
    assert (marks / "7").read_text() == "xx"


def test_what_was_answered_before_a_call_failed_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab_module, "count_cores", lambda: 1)
    marks, lab, task = tmp_path / "marks", make_lab(tmp_path), make_task()
    marks.mkdir()
    with pytest.raises(InvalidTask, match="below 0"):
        lab.ask(task, mark_or_fail, [(str(marks), n) for n in (1, 2, 3, 4, -1)], words="marking")

    lab.ask(task, mark_or_fail, [(str(marks), number) for number in (1, 2, 3, 4)], words="marking")

    assert [(marks / str(number)).read_text() for number in (1, 2, 3, 4)] == ["x"] * 4


def test_the_studies_of_a_lab_leave_their_store_and_nothing_else(tmp_path: Path) -> None:
    lab = make_lab(tmp_path)

    for rate in (0.1, 0.3):
        lab.train(make_task(), [16], rates=[rate], budget="1ep")

    assert {path.name.partition(".")[0] for path in tmp_path.iterdir()} == {Path(lab.store).stem}


def test_a_call_that_fails_ends_the_rest(tmp_path: Path) -> None:
    with pytest.raises(InvalidTask, match="below 0"):
        make_lab(tmp_path).ask(make_task(), square, [(1,), (-1,), (2,)], words="squaring")


def test_a_weighted_sum_is_as_wide_as_its_censored_numbers() -> None:
    numbers = [Ends(1.0, 2.0), Ends(5.0, 5.0), Ends(-math.inf, math.inf), Ends(0.0, 4.0)]

    found = add_up([1.0, 2.0, 0.0, -0.5], numbers)

    assert (found.low, found.high) == (1 + 10 - 2, 2 + 10)


def test_a_leading_coefficient_is_as_wide_as_what_it_is_fitted_to() -> None:
    x = [0.0, 1.0, 2.0, 3.0]
    known = [Ends(3 * at**2 - at, 3 * at**2 - at) for at in x]

    exact = fit_leading(x, known, degree=2)
    wide = fit_leading(x, [*known[:-1], Ends(24.0, 28.0)], degree=2)

    assert (exact.low, exact.high) == pytest.approx((3.0, 3.0))
    # Four points a step apart weigh their last by a quarter.
    assert (wide.low, wide.high) == pytest.approx((3.0, 4.0))


def test_original_data_with_less_than_one_batch_are_refused_by_their_folder(
    tmp_path: Path,
) -> None:
    lab = make_lab(tmp_path)
    lab.data = tmp_path

    with pytest.raises(InvalidInput) as caught:
        lab.train(make_task(), [8, 128], rates=[0.1], budget="1ep")
    assert caught.value.args[0].startswith(f"{tmp_path}: 64 ")


def test_rates_move_with_the_batch_size_by_a_rule(tmp_path: Path) -> None:
    trained = make_lab(tmp_path).train(
        make_task(), [8, 32], rates=[0.1], rule="sqrt", base=32, budget="1ep"
    )

    assert {size: rate for size, rate, _ in trained.runs} == pytest.approx({8: 0.05, 32: 0.1})


def test_a_column_is_read_at_the_end_or_after_some_steps() -> None:
    arm = (8, 0.1, 0)
    trained = make_trained({arm: {"step": [0.0, 10.0, 20.0], "val_loss": [2.0, 1.0, 0.5]}})

    found = [trained.last(arm, "val_loss", censored=(0, 1), after=at) for at in (None, 10, 15)]

    assert found == [Ends(0.5, 0.5), Ends(1.0, 1.0), Ends(0.75, 0.75)]
