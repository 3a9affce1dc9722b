import pytest
import torch

from batchscope.budget import parse_budget
from batchscope.instruments.checkpoint import Checkpoint, reach_checkpoint
from batchscope.replications.studies import sharp_minima
from batchscope.training.hooks import Hook

from ...conftest import make_task

LEVEL = 0.55


def train_to(loss: float, *hooks: Hook) -> Checkpoint:
    return reach_checkpoint(
        make_task(),
        after=parse_budget(f"50ep until train_loss<={loss}"),
        device=torch.device("cpu"),
        precision="float32",
        batch_size=8,
        seed=1,
        hooks=hooks,
    )


def test_one_training_keeps_the_evaluations_around_the_loss() -> None:
    passing = sharp_minima._Passing(LEVEL)
    # It goes on beyond the loss, which changes nothing.
    train_to(LEVEL - 0.1, passing)

    assert passing.above is not None
    assert passing.below is not None
    weights, error = passing.below
    alone = train_to(LEVEL).model.state_dict()
    assert all(torch.equal(weights[name], alone[name]) for name in alone)
    assert 0 <= error <= 1
    assert any(not torch.equal(passing.above[0][name], alone[name]) for name in alone)


def test_of_a_training_that_never_gets_there_nothing_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sharp_minima, "_EPOCHS", 2)

    found = sharp_minima._read_at_loss(make_task(), 8, 1e-9, 0, report=lambda _: None)

    assert found is None
    assert sharp_minima._end(found) == sharp_minima.Ends(0.0, 0.9)


def test_the_error_at_the_loss_lies_between_those_around_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sharp_minima, "_LOSS", LEVEL)
    passing = sharp_minima._Passing(LEVEL)
    train_to(LEVEL, passing)

    found = sharp_minima._read_at_loss(make_task(), 8, 0.1, 1, report=lambda _: None)

    assert found is not None
    assert passing.above is not None
    assert passing.below is not None
    around = [passing.above[1], passing.below[1]]
    assert min(around) - 1e-6 <= found["error"] <= max(around) + 1e-6
    assert set(found) == {"top_eigenvalue", "trace", "sharpness", "error"}
