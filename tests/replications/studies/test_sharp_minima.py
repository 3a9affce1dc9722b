import pytest

from batchscope.replications.passing import find_passages
from batchscope.replications.studies import sharp_minima

from ...conftest import make_task

LEVEL = 0.55
SEEDS = (1, 2)


def test_of_a_training_that_never_gets_there_nothing_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sharp_minima, "_EPOCHS", 2)

    (found,) = sharp_minima._read_at_loss(make_task(), 8, 1e-9, (0,), report=lambda _: None)

    assert found is None
    assert sharp_minima._end(found) == sharp_minima.Ends(0.0, 0.9)


def test_the_error_at_the_loss_lies_between_those_around_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sharp_minima, "_LOSS", LEVEL)
    task = make_task()
    passages = find_passages(task, 8, 0.1, SEEDS, level=LEVEL, epochs=50)

    read = sharp_minima._read_at_loss(task, 8, 0.1, SEEDS, report=lambda _: None)

    assert len(read) == len(SEEDS)
    for found, passage in zip(read, passages, strict=True):
        assert found is not None
        assert passage is not None
        around = [passage.above.error, passage.below.error]
        assert min(around) - 1e-6 <= found["error"] <= max(around) + 1e-6
        assert set(found) == {"top_eigenvalue", "trace", "sharpness", "error"}
