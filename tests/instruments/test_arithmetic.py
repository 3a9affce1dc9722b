import pytest
import torch
from torch import nn
from torch.nn import functional as F

import batchscope as bs
from batchscope.errors import CannotTell
from batchscope.gallery import digits_cnn
from batchscope.instruments.arithmetic import count_demand

from ..conftest import make_task

INPUTS, HIDDEN, CLASSES = 100, 200, 10
WEIGHTS = INPUTS * HIDDEN + HIDDEN + HIDDEN * CLASSES + CLASSES


def two_layers(**changes: object) -> bs.Task:
    x = torch.randn(64, INPUTS, generator=torch.Generator().manual_seed(0))
    y = torch.zeros(64, dtype=torch.long)
    settings = {
        "model": lambda: nn.Sequential(
            nn.Linear(INPUTS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES)
        ),
        "loss": lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]),
        "metrics": {},
        "train": (x, y),
        "val": (x, y),
        "test": None,
        "optimizer": bs.SGD(lr=0.1),
    }
    return make_task(**(settings | changes))


@pytest.mark.parametrize("size", [1, 32])
def test_two_layers_take_two_operations_a_weight_forward_and_four_back_but_for_the_inputs(
    size: int,
) -> None:
    found = count_demand(two_layers(), size, precision="float32")

    # The first layer needs no gradient of its inputs.
    each = 2 * INPUTS * HIDDEN * 2 + 2 * HIDDEN * CLASSES * 3
    assert (found.products, found.convolutions) == (size * each, 0)
    assert found.examples == size


def test_plain_gradient_descent_reads_weights_and_gradients_and_writes_weights() -> None:
    found = count_demand(two_layers(), 8, precision="float32")

    # A fused update may say that it writes the gradients as well, which it does to unscale them.
    assert 4 * 3 * WEIGHTS <= found.update_bytes <= 4 * 4 * WEIGHTS


def test_a_pass_moves_at_least_its_weights_and_activations_and_grows_with_the_batch() -> None:
    small, large = (count_demand(two_layers(), n, precision="float32") for n in (16, 32))

    # Weights forward, and the second layer's again and both gradients back.
    assert small.bytes_moved > 4 * 3 * WEIGHTS
    # An example: its inputs, hidden units before and after the rectifier, and their gradients.
    each = (large.bytes_moved - small.bytes_moved) / 16
    assert each > 4 * (INPUTS + 4 * HIDDEN + 2 * CLASSES)
    assert small.kernels == large.kernels > 6


def test_a_loss_that_looks_at_values_cannot_be_counted() -> None:
    def curious(model: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        loss = F.cross_entropy(model(batch[0]), batch[1])
        return loss * 2 if loss.item() > 1 else loss

    with pytest.raises(CannotTell, match="asks a tensor for its value"):
        count_demand(two_layers(loss=curious), 8, precision="float32")


def test_half_precision_with_loss_scaling_is_counted_too() -> None:
    found = count_demand(two_layers(), 8, precision="fp16")

    assert found.products == count_demand(two_layers(), 8, precision="bf16").products


def test_convolutions_are_counted_apart() -> None:
    found = count_demand(digits_cnn.task, 4, precision="float32")

    # Forward: 8 and 16 channels of 3 x 3 on 8 x 8 pixels; back twice that, but for the inputs of
    # the first.
    first, second = 2 * 64 * 8 * 9, 2 * 64 * 16 * 8 * 9
    assert found.convolutions == 4 * (2 * first + 3 * second)
    assert found.products == 4 * 3 * 2 * (256 * 32 + 32 * 10)
