import json
from pathlib import Path

import pytest
import torch

from batchscope.errors import InvalidInput
from batchscope.replications.formats.language_models import tokenize
from batchscope.replications.local_models import describe_model, load_model, read_subject
from batchscope.training.check import check_task

from .language_models import leave_memory, name_trainable, write_model, write_texts

pytest.importorskip("transformers")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model that was trained elsewhere, and texts of 680 windows of its 16 tokens and one."""
    data = tmp_path / "data"
    write_model(data / "model")
    write_texts(data / "texts", 680 * 17)
    return data


def test_a_model_from_elsewhere_is_tuned_whole_or_by_its_adapters_alone(folder: Path) -> None:
    subject = read_subject(folder, largest=256)
    whole, adapted = subject.make_task(rank=None), subject.make_task(rank=2)
    batch = (whole.datasets["val"][:8][0],)

    assert (subject.train, subject.windows.shape) == (544, (680, 17))
    plain, model = whole.model().eval(), adapted.model().eval()
    assert float(adapted.loss(model, batch)) == pytest.approx(float(whole.loss(plain, batch)))
    # Two matrices of each of eight modules, and nothing else.
    assert len(name_trainable(model)) == 2 * 8
    assert len(name_trainable(plain)) == len(list(plain.parameters()))
    check_task(adapted, precision="float32", device=torch.device("cpu"))


def test_inputs_meet_the_random_factor_whichever_way_a_matrix_lies(tmp_path: Path) -> None:
    for kind, layer, inputs in (("gpt2", "mlp.c_proj", 64), ("llama", "mlp.down_proj", 32)):
        folder = write_model(tmp_path / kind, kind=kind)
        model = load_model(str(folder), describe_model(folder), 2, False)
        shapes = {
            name.rsplit(".", 1)[-1]: tuple(weight.shape)
            for name, weight in model.named_parameters()
            if f"{layer}." in name and weight.requires_grad
        }
        # From the middle of the perceptron, 32 or 64 wide, back to the model's 16.
        assert shapes == {"down": (2, inputs), "up": (16, 2)}


def test_the_loss_is_the_same_a_few_windows_at_a_time(folder: Path) -> None:
    task = read_subject(folder, largest=256).make_task(rank=None)
    model, batch = task.model().eval(), (task.datasets["val"][:50][0],)

    with torch.no_grad():
        parts = task.loss(model, batch)

    assert float(parts) == pytest.approx(task.loss(model, batch).item(), rel=1e-6)


def test_no_window_that_judges_stands_among_those_that_are_trained_on(folder: Path) -> None:
    subject = read_subject(folder, largest=256)
    text = (folder / "texts" / "texts.jsonl").read_text().splitlines()
    first = " ".join(json.loads(line)["text"] for line in text)

    tokens = tokenize(folder / "model", first)
    assert torch.equal(subject.windows.flatten(), tokens[: subject.windows.numel()])
    assert (subject.train, len(subject.windows)) == (544, 680)


def test_a_configuration_that_changes_meanwhile_is_noticed(folder: Path) -> None:
    task = read_subject(folder, largest=256).make_task(rank=None)
    path = folder / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"n_head": 4}))

    with pytest.raises(InvalidInput) as caught:
        task.model()
    assert "another model than when the study began" in caught.value.args[0]


def test_more_training_than_memory_holds_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_memory(monkeypatch, 2**20)

    with pytest.raises(InvalidInput) as caught:
        read_subject(folder, largest=256)
    assert "trainings at once take" in caught.value.args[0]


def test_a_folder_that_is_a_link_out_of_the_data_is_not_followed(folder: Path) -> None:
    (folder / "texts").rename(folder.parent / "elsewhere")
    (folder / "texts").symlink_to(folder.parent / "elsewhere")

    with pytest.raises(InvalidInput) as caught:
        read_subject(folder, largest=256)
    assert "link that leaves the folder" in caught.value.args[0]


def test_adapters_on_a_model_from_elsewhere_that_are_frozen_learn_nothing(folder: Path) -> None:
    model = read_subject(folder, largest=256).build(2, True).eval()
    tokens = torch.arange(8).reshape(2, 4)
    before = model(tokens)

    for name, weight in model.named_parameters():
        if name.endswith(".up"):
            torch.nn.init.ones_(weight)

    assert torch.equal(model(tokens), before)


def test_texts_that_are_too_short_are_refused_with_their_number(folder: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_subject(folder, largest=256, limit=20)
    assert "200 tokens" in caught.value.args[0]


def test_a_tokenizer_of_another_model_is_refused(folder: Path) -> None:
    path = folder / "model" / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["vocab"]["batch"] = 99
    path.write_text(json.dumps(tokenizer))

    with pytest.raises(InvalidInput) as caught:
        read_subject(folder, largest=256)
    assert "tokens up to 99" in caught.value.args[0]
