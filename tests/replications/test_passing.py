from collections.abc import Callable, Sequence

import pytest
import torch

import batchscope as bs
from batchscope.budget import parse_budget
from batchscope.instruments.checkpoint import reach_checkpoint
from batchscope.replications import passing
from batchscope.replications.passing import Passage, find_passages
from batchscope.training.together import Together

from ..conftest import make_task

LEVEL, SEEDS = 0.3, (1, 2, 3)
RATE = 0.1


def pass_level(task: bs.Task, rate: float = RATE, *, level: float = LEVEL) -> list[Passage | None]:
    return find_passages(task, 8, rate, SEEDS, level=level, epochs=50)


def decide(gain: float) -> Callable[..., Together]:
    def measure(task: bs.Task, configurations: Sequence[object], **_: object) -> Together:
        return Together(gain=gain)

    return measure


@pytest.mark.parametrize("gain", [0.5, 2.0], ids=["one by one", "together"])
def test_the_first_place_below_a_level_is_where_a_training_that_stops_there_ends(
    monkeypatch: pytest.MonkeyPatch, gain: float
) -> None:
    monkeypatch.setattr(passing, "measure_together", decide(gain))
    task = make_task()

    found = pass_level(task)

    for seed, passage in zip(SEEDS, found, strict=True):
        assert passage is not None
        ended = reach_checkpoint(
            task,
            after=parse_budget(f"50ep until train_loss<={LEVEL}"),
            device=torch.device("cpu"),
            precision="float32",
            batch_size=8,
            learning_rate=RATE,
            seed=seed,
        )
        for name, weights in ended.model.state_dict().items():
            # Sums of floating point numbers come in another order.
            torch.testing.assert_close(passage.below.weights[name], weights, rtol=1e-4, atol=1e-5)
            assert not torch.allclose(passage.above.weights[name], weights, rtol=1e-3)
        assert 0 <= passage.below.error <= 1


def test_runs_that_begin_anew_are_kept_as_runs_that_did_not() -> None:
    model = torch.nn.Linear(1, 1)
    lookout = passing._Lookout(LEVEL)
    losses = [(0, 0.7), (1, 0.2), (0, 0.9), (1, 0.8), (2, 0.25), (3, 0.2)]
    for number, (step, loss) in enumerate(losses):
        with torch.no_grad():
            model.weight.fill_(number)
        lookout.look(model, {"step": step, "train_loss": loss, "error": 0.1})

    passage = lookout.passage

    assert passage is not None
    assert float(passage.above.weights["weight"]) == 3
    assert float(passage.below.weights["weight"]) == 4


@pytest.mark.parametrize("gain", [0.5, 2.0], ids=["one by one", "together"])
def test_a_training_that_never_gets_there_has_no_passage(
    monkeypatch: pytest.MonkeyPatch, gain: float
) -> None:
    monkeypatch.setattr(passing, "measure_together", decide(gain))

    assert pass_level(make_task(), rate=1e-9) == [None, None, None]


def test_a_training_that_begins_below_the_level_has_no_passage() -> None:
    # The third seed's initial weights have a loss of 0.51.
    found = pass_level(make_task(), level=0.55)

    assert [passage is None for passage in found] == [False, False, True]
