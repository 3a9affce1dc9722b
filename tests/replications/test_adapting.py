import json
from pathlib import Path

import pytest
import torch

from batchscope.errors import InvalidInput
from batchscope.gallery.stdlib_lm import ByteTransformer
from batchscope.replications import adapting
from batchscope.replications.adapting import (
    Weights,
    describe_data,
    load_model,
    make_model,
    pretrain,
    read_subject,
)
from batchscope.training.check import check_task

from .language_models import write_model, write_texts


@pytest.fixture
def weights() -> Weights:
    torch.manual_seed(0)
    return ByteTransformer().state_dict()


def _trainable(model: torch.nn.Module) -> list[str]:
    return [name for name, weight in model.named_parameters() if weight.requires_grad]


def test_adapters_begin_at_the_pretrained_model_and_alone_are_trained(weights: Weights) -> None:
    task = describe_data(weights).make_task(rank=4)
    batch = (task.datasets["val"][:8][0],)
    plain, adapted = make_model(weights, None, is_frozen=False), task.model()

    assert float(task.loss(adapted, batch)) == pytest.approx(float(task.loss(plain, batch)))
    # Six matrices of each of two layers would be twelve: in, out, and two of the perceptron.
    assert len(_trainable(adapted)) == 2 * 2 * 4
    assert all(name.endswith((".up", ".down")) for name in _trainable(adapted))
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


def test_what_was_pretrained_once_is_read_from_beside_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapting, "_STEPS", 2)
    store = str(tmp_path / "store.db")

    first = pretrain(store)
    monkeypatch.setattr(adapting, "reach_checkpoint", None)
    second = pretrain(store)

    assert [path.suffix for path in tmp_path.iterdir()] == [".pt"]
    assert all(first[name].equal(second[name]) for name in first)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model that was trained elsewhere, and texts of 680 windows of its 16 tokens and one."""
    pytest.importorskip("transformers")
    write_model(tmp_path / "model")
    write_texts(tmp_path / "texts", 680 * 17)
    return tmp_path


def test_a_model_from_elsewhere_is_tuned_whole_or_by_its_adapters_alone(folder: Path) -> None:
    subject = read_subject(folder)
    whole, adapted = subject.make_task(rank=None), subject.make_task(rank=2)
    batch = (whole.datasets["val"][:8][0],)

    assert (subject.train, subject.windows.shape) == (544, (680, 17))
    plain, model = whole.model().eval(), adapted.model().eval()
    assert float(adapted.loss(model, batch)) == pytest.approx(float(whole.loss(plain, batch)))
    # Two matrices of each of eight modules, and nothing else.
    assert len(_trainable(model)) == 2 * 8
    assert len(_trainable(plain)) == len(list(plain.parameters()))
    check_task(adapted, precision="float32", device=torch.device("cpu"))


def test_adapters_on_a_model_from_elsewhere_that_are_frozen_learn_nothing(folder: Path) -> None:
    model = load_model(folder / "model", 2, is_frozen=True).eval()
    tokens = torch.arange(8).reshape(2, 4)
    before = model(tokens)

    for name, weight in model.named_parameters():
        if name.endswith(".up"):
            torch.nn.init.ones_(weight)

    assert torch.equal(model(tokens), before)


def test_texts_that_are_too_short_are_refused_with_their_number(folder: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_subject(folder, limit=20)
    assert "200 tokens" in caught.value.args[0]


def test_a_tokenizer_of_another_model_is_refused(folder: Path) -> None:
    path = folder / "model" / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["vocab"]["batch"] = 99
    path.write_text(json.dumps(tokenizer))

    with pytest.raises(InvalidInput) as caught:
        read_subject(folder)
    assert "tokens up to 99" in caught.value.args[0]
