import time

import pytest
import torch

from batchscope.estimate import Interval, NotIdentified
from batchscope.instruments.speed.bottleneck import (
    PHASES,
    find_bottleneck,
    judge,
    time_all_reduce,
)

from ...conftest import make_task


class Slow(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Examples that take a millisecond each to make, without the processor."""

    def __init__(self) -> None:
        self.x, self.y = make_task().train.tensors

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        time.sleep(0.001)
        return self.x[index], self.y[index]


def about(value: float) -> Interval:
    return Interval(value=value, low=0.9 * value, high=1.1 * value, unit="s/step")


def test_loading_that_holds_the_steps_up_is_named() -> None:
    told: list[object] = []

    found = find_bottleneck(make_task(train=Slow()), 16, "float32", "cpu", report=told.append)

    assert "loading holds it up" in found.verdict
    assert found.workers != 0
    loading, forward = found.phases["loading"], found.phases["forward"]
    assert isinstance(loading, Interval)
    assert isinstance(forward, Interval)
    assert loading.value > 0.016 > forward.value
    assert told[-1] == (len(told), len(told))


def test_every_phase_is_timed_and_one_rank_has_nothing_to_reduce() -> None:
    found = find_bottleneck(make_task(), 16, "float32", "cpu", report=lambda _: None)

    assert tuple(found.phases) == PHASES
    assert all(isinstance(e, Interval) and e.value >= 0 for e in found.phases.values())
    assert isinstance(found.all_reduce, NotIdentified)
    assert isinstance(time_all_reduce(10, torch.device("cpu")), NotIdentified)
    assert set(found.loaded) >= {0, 1}


@pytest.mark.parametrize(
    ("loaded", "words", "workers"),
    [
        ({0: 1.02, 1: 1.5}, "computing takes the time", 0),
        ({0: 2.0, 1: 1.2, 2: 1.01}, "2 workers remove that", 2),
        ({0: 2.0, 1: 1.3, 2: 1.4}, "with 1 workers, the best of those tried, still 30%", None),
        ({0: 2.0, 1: 3.0}, "worker processes take longer still", None),
    ],
)
def test_the_verdict_follows_from_the_times(
    loaded: dict[int, float], words: str, workers: int | None
) -> None:
    verdict, found = judge(about(1.0), {count: about(value) for count, value in loaded.items()})

    assert words in verdict
    assert found == workers
