import pytest
import torch

from batchscope.gallery.stdlib_lm import ByteTransformer
from batchscope.replications.byte_model import Weights, describe_data, make_model

from .language_models import name_trainable


@pytest.fixture
def weights() -> Weights:
    torch.manual_seed(0)
    return ByteTransformer().state_dict()


def test_adapters_begin_at_the_pretrained_model_and_alone_are_trained(weights: Weights) -> None:
    task = describe_data(weights).make_task(rank=4)
    batch = (task.datasets["val"][:8][0],)
    plain, adapted = make_model(weights, None, is_frozen=False), task.model()

    assert float(task.loss(adapted, batch)) == pytest.approx(float(task.loss(plain, batch)))
    # Six matrices of each of two layers would be twelve: in, out, and two of the perceptron.
    assert len(name_trainable(adapted)) == 2 * 2 * 4
    assert all(name.endswith((".up", ".down")) for name in name_trainable(adapted))
    task.loss(adapted, batch).backward()
    ups = [p.grad for name, p in adapted.named_parameters() if name.endswith(".up")]
    assert all(grad is not None and float(grad.abs().sum()) > 0 for grad in ups)


def test_adapters_of_the_control_learn_nothing(weights: Weights) -> None:
    task = describe_data(weights).make_task(rank=4, is_frozen=True)
    batch = (task.datasets["val"][:8][0],)
    model = task.model()
    before = float(task.loss(model, batch))

    for name, weight in model.named_parameters():
        if name.endswith(".up"):
            torch.nn.init.ones_(weight)

    assert float(task.loss(model, batch)) == before
