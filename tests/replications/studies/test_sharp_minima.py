import pytest
import torch

from batchscope.budget import parse_budget
from batchscope.instruments.checkpoint import Checkpoint, reach_checkpoint
from batchscope.replications.studies import sharp_minima
from batchscope.training.hooks import Hook

from ...conftest import make_task

LEVELS = (0.6, 0.5)


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


def test_one_training_passes_the_weights_that_one_to_each_loss_ends_with() -> None:
    passing = sharp_minima._Passing(LEVELS)
    train_to(LEVELS[-1], passing)

    assert set(passing.found) == set(LEVELS)
    for level in LEVELS:
        weights, error = passing.found[level]
        alone = train_to(level).model.state_dict()
        assert all(torch.equal(weights[name], alone[name]) for name in alone)
        assert 0 <= error <= 1


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
    monkeypatch.setattr(sharp_minima, "_AROUND", LEVELS)
    monkeypatch.setattr(sharp_minima, "_LOSS", 0.55)
    passing = sharp_minima._Passing(LEVELS)
    train_to(LEVELS[-1], passing)

    found = sharp_minima._read_at_loss(make_task(), 8, 0.1, 1, report=lambda _: None)

    assert found is not None
    around = [error for _, error in passing.found.values()]
    assert min(around) - 1e-6 <= found["error"] <= max(around) + 1e-6
    assert set(found) == {"top_eigenvalue", "trace", "sharpness", "error"}
