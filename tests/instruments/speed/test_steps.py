import torch
from torch import nn

from batchscope.instruments.speed.steps import smallest_efficient, time_steps
from batchscope.records import StepTime

from ...conftest import make_task


def test_each_size_is_timed_in_three_rounds_and_its_examples_counted() -> None:
    seen: list[int] = []

    def loss(model: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        seen.append(len(batch[0]))
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    told: list[object] = []
    times, examples = time_steps(
        make_task(loss=loss), (4, 32), "float32", torch.device("cpu"), report=told.append
    )

    assert [t.batch_size for t in times] == [4, 32]
    assert all(len(t.seconds) >= 3 * 7 and min(t.seconds) > 0 for t in times)
    assert examples == sum(seen)
    assert told[-1] == (6, 6)


def test_sizes_from_the_first_that_runs_out_of_memory_have_no_times() -> None:
    def loss(model: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        if len(batch[0]) >= 16:
            raise MemoryError
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    times, _ = time_steps(
        make_task(loss=loss), (8, 16, 32), "float32", torch.device("cpu"), report=lambda _: None
    )

    assert [bool(t.seconds) for t in times] == [True, False, False]


def test_the_smallest_efficient_size_has_95_percent_of_the_best_throughput() -> None:
    # t = 1 + B / 100: throughput B / t is 95% of its best at 1024 from 670 on.
    times = [StepTime(batch_size=b, seconds=(1 + b / 100,)) for b in (64, 128, 256, 512, 700, 1024)]

    assert smallest_efficient(times) == 700


def test_the_callers_random_numbers_are_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)

    time_steps(make_task(), (8,), "float32", torch.device("cpu"), report=lambda _: None)

    assert torch.equal(torch.rand(2), expected)
