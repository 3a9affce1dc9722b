import pytest
import torch
from torch import nn
from torch.nn import functional as F

import batchscope as bs
from batchscope.errors import CannotTell, InvalidInput
from batchscope.gallery import digits_cnn
from batchscope.instruments.memory.predicting import FitPrediction, predict_peak

from ...conftest import make_task

# A layer of 100 x 1,000 weights on examples of 100 numbers, all of 4 bytes.
WEIGHTS = 4 * (100 * 1_000 + 1_000)


def wide_task(**changes: object) -> bs.Task:
    x = torch.randn(400, 100, generator=torch.Generator().manual_seed(0))
    y = torch.zeros(400, dtype=torch.long)
    settings = {
        "model": lambda: nn.Linear(100, 1_000),
        "loss": lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]),
        "metrics": {},
        "train": (x, y),
        "val": (x[:40], y[:40]),
        "test": None,
        "optimizer": bs.Adam(lr=1e-3),
    }
    return make_task(**(settings | changes))


def test_a_linear_layer_takes_its_weights_four_times_with_adam_and_twice_with_sgd() -> None:
    # Weights, gradients and two averages; of plain gradient descent weights and gradients. The
    # optimizer's own temporaries come once more at most.
    adam = predict_peak(wide_task(), 1, mode="training", precision="float32")
    sgd = predict_peak(wide_task(optimizer=bs.SGD(lr=0.1)), 1, mode="training", precision="float32")

    assert 4 * WEIGHTS <= adam <= 5.2 * WEIGHTS
    assert 2 * WEIGHTS <= sgd <= 3.2 * WEIGHTS


def test_an_example_adds_its_inputs_its_outputs_and_their_gradients() -> None:
    task = wide_task()

    peaks = [predict_peak(task, size, mode="training", precision="float32") for size in (200, 400)]

    # Per example 100 numbers in; 1,000 logits, their log-probabilities and the gradient, of which
    # the softmax's backward pass may hold one more.
    each = (peaks[1] - peaks[0]) / 200
    assert 4 * (100 + 3 * 1_000) - 100 <= each <= 4 * (100 + 4 * 1_000) + 100


def test_half_precision_and_evaluation_take_less() -> None:
    task = digits_cnn.task

    full = predict_peak(task, 256, mode="training", precision="float32")

    assert predict_peak(task, 256, mode="training", precision="bf16") < 0.85 * full
    assert predict_peak(task, 256, mode="evaluation", precision="float32") < 0.7 * full


def test_a_device_that_is_not_here_gets_a_prediction_that_says_so() -> None:
    state = torch.get_rng_state()

    found = bs.fit(wide_task(), memory="5MiB", device="cuda")
    assert torch.equal(torch.get_rng_state(), state)

    assert isinstance(found, FitPrediction)
    assert 0 < found.at_most < 400
    assert found.eval_at_most == 40
    fits, more = (
        predict_peak(wide_task(), size, mode="training", precision="float32")
        for size in (found.at_most, found.at_most + 1)
    )
    assert fits <= 5 * 2**20 < more
    shown = found.to_dict()
    assert shown["max_batch_size"] is None
    assert "nothing was run" in str(shown["source"])


def test_a_prediction_needs_the_memory_and_a_task_that_looks_at_no_value() -> None:
    def loss(model: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        value = F.cross_entropy(model(batch[0]), batch[1])
        return value if value.item() > 0 else -value

    with pytest.raises(InvalidInput, match="how much memory"):
        bs.fit(wide_task(), device="cuda")
    with pytest.raises(CannotTell, match="asks a tensor for its value"):
        bs.fit(wide_task(loss=loss), memory="1GiB", device="cuda")
    with pytest.raises(CannotTell, match="nothing would fit"):
        bs.fit(wide_task(), memory="1MiB", device="cuda")
