import itertools

import pytest
import torch
from torch import nn

from batchscope.training.evaluation import Evaluator, evaluation_marks

from ..conftest import make_task

CPU = torch.device("cpu")


def test_marks_are_dense_in_the_first_epoch_and_grow_afterwards() -> None:
    marks = list(itertools.takewhile(lambda m: m <= 2500, evaluation_marks(100, 2500)))

    assert marks[:7] == [4, 7, 13, 25, 50, 75, 100]
    assert marks == sorted(set(marks))
    assert len(marks) < 30


def test_a_look_is_taken_once_where_an_epoch_is_a_few_examples() -> None:
    marks = list(itertools.islice(evaluation_marks(8, 80), 12))

    assert marks == sorted(set(marks))
    assert marks[:2] == [1, 2]


def test_a_budget_shorter_than_an_epoch_is_looked_at_four_times() -> None:
    marks = evaluation_marks(10_000, 100)

    assert [next(marks) for _ in range(4)] == [25, 50, 75, 100]


def test_marks_may_be_asked_for_at_regular_intervals_beside_those_of_smaller_budgets() -> None:
    marks = evaluation_marks(100, 1000, [70], every=40.5)

    assert [next(marks) for _ in range(5)] == [41, 70, 81, 122, 162]


def test_regular_intervals_end_where_an_epoch_does() -> None:
    marks = evaluation_marks(1797, 17970, every=0.1 * 1797)

    assert [next(marks) for _ in range(10)][-1] == 1797


def test_an_interval_longer_than_the_budget_is_one() -> None:
    assert next(evaluation_marks(100, 200, every=300)) == 300


def test_means_are_over_examples_also_where_the_last_chunk_is_short() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(1500, 4, generator=generator), torch.randint(0, 2, (1500,))
    task = make_task(val=(x, y))
    model = task.model()

    row = Evaluator(task, precision="float32", device=CPU).evaluate(model)

    expected = nn.functional.cross_entropy(model(x), y)
    assert row["val_loss"] == pytest.approx(float(expected), rel=1e-5)
    assert row["error"] == pytest.approx(float((model(x).argmax(-1) != y).float().mean()))


def test_the_loss_and_the_metrics_share_a_forward_pass() -> None:
    calls: list[int] = []

    class Counted(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            calls.append(len(input))
            return super().forward(input)

    task = make_task(model=lambda: Counted(4, 2))
    model = task.model()
    Evaluator(task, precision="float32", device=CPU).evaluate(model)

    assert len(calls) == 3
    assert "forward" not in vars(model)


def test_a_loss_that_writes_into_its_logits_does_not_spoil_the_metrics() -> None:
    def loss(model: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return nn.functional.cross_entropy(model(batch[0]).neg_(), batch[1])

    task = make_task(loss=loss)
    model = task.model()
    expected = (model(task.val.tensors[0]).argmax(-1) != task.val.tensors[1]).float().mean()

    row = Evaluator(task, precision="float32", device=CPU).evaluate(model)

    assert row["error"] == pytest.approx(float(expected))


def test_a_forward_of_the_models_own_is_put_back() -> None:
    task = make_task()
    model = task.model()
    model.forward = lambda inputs: torch.zeros(len(inputs), 2)  # type: ignore[method-assign]
    own = model.forward

    row = Evaluator(task, precision="float32", device=CPU).evaluate(model)

    assert model.forward is own
    assert row["val_loss"] == pytest.approx(0.6931, abs=1e-4)


def test_evaluation_takes_smaller_chunks_where_memory_runs_out() -> None:
    def loss(model: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        if len(batch[0]) > 10:
            raise MemoryError
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    task = make_task(loss=loss)
    model = task.model()

    found = Evaluator(task, precision="float32", device=CPU).evaluate(model)

    whole = Evaluator(make_task(), precision="float32", device=CPU).evaluate(model)
    assert found["val_loss"] == pytest.approx(whole["val_loss"], rel=1e-5)
