import pytest
import torch
from torch import nn

import batchscope as bs
from batchscope.errors import InvalidTask
from batchscope.training.batches import Batches
from batchscope.training.stepper import Stepper

from ..conftest import make_task

CPU = torch.device("cpu")


def gradient(task: bs.Task, *, batch_size: int, micro_batch: int) -> torch.Tensor:
    """The gradient of the first step, flat."""
    torch.manual_seed(0)
    model = task.model()
    stepper = Stepper(
        task,
        model,
        hyper_parameters={"lr": 0.1, "momentum": 0.0, "weight_decay": 0.0, "nesterov": False},
        precision="float32",
        device=CPU,
    )
    batches = Batches(task, task.datasets["train"], CPU)
    step = next(
        batches.stream(torch.arange(len(batches)), batch_size=batch_size, micro_batch=micro_batch)
    )
    stepper.accumulate(step, after_each=lambda _: None)
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("micro_batch", [1, 7, 16, 33, 63])
def test_accumulation_gives_the_gradient_of_the_whole_batch(micro_batch: int) -> None:
    # 64 is no multiple of 7, 33 or 63: the last micro-batch is short.
    whole = gradient(make_task(), batch_size=64, micro_batch=64)

    accumulated = gradient(make_task(), batch_size=64, micro_batch=micro_batch)

    # Sums of 64 float32 terms in another order.
    torch.testing.assert_close(accumulated, whole, rtol=1e-5, atol=1e-6)


def masked_loss(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """The mean over tokens that are there, as in language models with padding."""
    tokens, mask = batch
    losses = (model(tokens[..., None]).squeeze(-1) - 1) ** 2
    return (losses * mask).sum() / mask.sum()


@pytest.mark.parametrize("micro_batch", [1, 5, 16])
def test_accumulation_weighs_by_length_where_examples_have_one(micro_batch: int) -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(32, 10, generator=generator)
    lengths = torch.randint(1, 11, (32, 1), generator=generator)
    mask = (torch.arange(10) < lengths).float()
    task = make_task(
        model=lambda: nn.Linear(1, 1),
        loss=masked_loss,
        metrics={},
        train=(tokens, mask),
        val=(tokens, mask),
        test=None,
        length=lambda example: float(example[1].sum()),
    )

    whole = gradient(task, batch_size=32, micro_batch=32)
    accumulated = gradient(task, batch_size=32, micro_batch=micro_batch)

    torch.testing.assert_close(accumulated, whole, rtol=1e-5, atol=1e-6)


def test_a_loss_that_returns_a_vector_is_refused() -> None:
    task = make_task(
        loss=lambda model, batch: nn.functional.cross_entropy(
            model(batch[0]), batch[1], reduction="none"
        )
    )

    with pytest.raises(InvalidTask, match=r"\(64,\), not one number"):
        gradient(task, batch_size=64, micro_batch=64)
