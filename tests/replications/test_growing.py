from collections.abc import Sequence

import pytest
import torch

from batchscope.replications.growing import GrowOnStall, grow_at_seed
from batchscope.training.hooks import RunState

from ..conftest import make_task

EPOCH = 100


def watch(losses: Sequence[float], *, every: int, largest: int = 1024) -> list[int]:
    """The batch size after each evaluation."""
    net = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    state = RunState(model=net, optimizer=optimizer, batch_size=8, micro_batch=8)
    growth = GrowOnStall(epoch=EPOCH, largest=largest)
    sizes: list[int] = []
    for loss in losses:
        before = state.batch_size
        growth.on_evaluation(state, {"val_loss": loss})
        assert growth.batch_size == before
        assert state.micro_batch == state.batch_size
        sizes.append(state.batch_size)
        state.examples += every
    return sizes


def test_a_batch_stays_while_validation_improves_at_least_once_an_epoch() -> None:
    assert watch([1.0, 0.9, 0.95, 0.8, 0.85, 0.7], every=50) == [8] * 6


def test_it_doubles_once_the_lowest_loss_is_an_epoch_old_and_again_an_epoch_later() -> None:
    assert watch([1.0, 1.1, 1.2, 1.1, 1.2, 0.9, 1.0], every=50) == [8, 8, 16, 16, 32, 32, 32]


def test_it_does_not_pass_the_largest() -> None:
    assert watch([1.0] * 6, every=EPOCH, largest=20) == [8, 16, 16, 16, 16, 16]


def say(_: object) -> None:
    """Nobody listens."""


@pytest.mark.parametrize("seed", [1, 2])
def test_updates_are_those_of_the_sizes_that_it_went_through(seed: int) -> None:
    task = make_task()
    per_epoch = -(-task.train_size // 8)

    kept = grow_at_seed(task, 8, 10.0, seed, 10, 8, report=say)
    grown = grow_at_seed(task, 8, 10.0, seed, 10, 64, report=say)

    assert kept is not None
    assert grown is not None
    assert kept[:2] == [10 * per_epoch, 8]
    assert grown[1] > 8
    assert grown[0] < kept[0]
    assert 0 <= grown[2] <= 1


def test_of_a_training_that_diverged_nothing_is_told() -> None:
    assert grow_at_seed(make_task(), 8, 1e38, 1, 2, 64, report=say) is None
