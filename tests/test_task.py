import pytest
import torch
from torch.utils.data import Dataset

import batchscope as bs
from batchscope.errors import InvalidInput, InvalidTask

from .conftest import make_task


def test_a_data_set_of_length_0_is_refused_by_name() -> None:
    with pytest.raises(InvalidTask, match="`val` has no examples"):
        make_task(val=(torch.zeros(0, 4), torch.zeros(0)))


def test_tensors_of_unequal_length_are_refused() -> None:
    with pytest.raises(InvalidTask, match="rows"):
        make_task(train=(torch.zeros(5, 4), torch.zeros(4)))


def test_an_iterable_without_length_is_refused() -> None:
    with pytest.raises(InvalidTask, match="map-style"):
        make_task(train=iter([1, 2, 3]))


@pytest.mark.parametrize("name", ["val_loss", "train_error", "test_error"])
def test_a_metric_may_not_take_a_name_that_is_taken(name: str) -> None:
    with pytest.raises(InvalidTask, match=name):
        make_task(metrics={name: bs.metrics.error_rate})


def test_a_target_takes_the_direction_in_which_its_metric_is_better() -> None:
    task = make_task(metrics={"accuracy": bs.metrics.accuracy, "error": bs.metrics.error_rate})

    assert task.resolve_target(bs.reach("accuracy", 0.9)).direction == ">="
    assert task.resolve_target(bs.reach("error", 0.1)).direction == "<="


def test_a_target_that_asks_for_worse_is_refused() -> None:
    task = make_task(metrics={"accuracy": bs.metrics.accuracy})

    with pytest.raises(InvalidInput, match="worse"):
        task.resolve_target(bs.reach("accuracy", 0.9, "<="))


def test_a_target_on_an_unknown_metric_names_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="val_loss, train_loss, error"):
        make_task(target=bs.reach("f1", 0.9))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"budget": 8}, "the budget 8"),
        ({"budget": "8ep"}, "the budget '8ep'"),
        ({"target": "error<=0.05"}, "the target 'error<=0.05'"),
        ({"metrics": {"error": "x"}}, "the metric 'error' is 'x'"),
    ],
)
def test_parts_of_another_kind_are_refused_by_name(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidTask, match=said):
        make_task(**wrong)


def test_map_style_data_are_taken_as_they_are() -> None:
    class Squares(Dataset[float]):
        def __len__(self) -> int:
            return 7

        def __getitem__(self, index: int) -> float:
            return float(index**2)

    assert make_task(train=Squares()).train_size == 7
