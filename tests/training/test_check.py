import pytest
import torch
from torch import nn

from batchscope.errors import InvalidInput, InvalidTask
from batchscope.training.check import check_batch_sizes, check_task

from ..conftest import make_task

CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [0, -1, 65])
def test_a_batch_that_the_data_cannot_fill_is_refused(size: int) -> None:
    with pytest.raises(InvalidInput, match=f"a batch of {size}"):
        check_batch_sizes(make_task(), [8, size])


def test_nan_before_the_first_update_is_refused() -> None:
    task = make_task(loss=lambda model, batch: model(batch[0]).mean() * float("nan"))

    with pytest.raises(InvalidTask, match="nan on the first examples of `train`"):
        check_task(task, precision="float32", device=CPU)


def test_a_metric_that_fails_is_shown_with_its_line() -> None:
    def metric(model: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        raise KeyError("labels")

    with pytest.raises(InvalidTask, match="KeyError") as caught:
        check_task(make_task(metrics={"f1": metric}), precision="float32", device=CPU)

    assert "test_check.py" in str(caught.value)


def test_the_caller_keeps_its_random_numbers() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)

    check_task(make_task(), precision="float32", device=CPU)

    assert torch.equal(torch.rand(3), expected)
