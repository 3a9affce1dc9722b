import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from batchscope.errors import InvalidInput
from batchscope.replications.formats.language_models import (
    LanguageModel,
    check_language_model,
    tokenize,
)

from ..language_models import WINDOW, WORDS, write_model

transformers: Any = pytest.importorskip("transformers")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_model_says_what_the_library_says_and_shows_the_matrices_of_its_layers(
    tmp_path: Path, kind: str
) -> None:
    folder = check_language_model(write_model(tmp_path / kind, kind=kind))
    tokens = torch.arange(8).reshape(2, 4)

    model = LanguageModel(folder).eval()

    expected = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()(tokens).logits
    assert torch.equal(model(tokens), expected)
    assert (model.vocabulary, model.window) == (1 + len(WORDS), WINDOW)
    # GPT-2: attention in and out, two of the perceptron; Llama: four and three. Two layers.
    matrices = model.matrices()
    assert len(matrices) == {"gpt2": 8, "llama": 14}[kind]
    assert not any(isinstance(module, nn.Embedding) for module in matrices)


def test_tokens_are_those_of_its_tokenizer(folder: Path) -> None:
    assert tokenize(folder, f"{WORDS[2]} unheard {WORDS[0]}").tolist() == [3, 0, 1]


def break_file(folder: Path, name: str, content: bytes | None) -> None:
    path = folder / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


def promise(shape: list[int]) -> bytes:
    """A safetensors file whose header names a tensor that it has not got."""
    header = {"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(4)


WHOLE = "model.safetensors"
BROKEN = {
    "no configuration": ("config.json", None, "there is no config.json"),
    "no tokenizer": ("tokenizer.json", None, "there is no tokenizer.json"),
    "no weights": (WHOLE, None, "no weights"),
    "cut": (WHOLE, b"\x10\x00", "cannot be read"),
    "a page": (WHOLE, b"<html><body>not found</body></html>", "cannot be read"),
    "a million million weights": (WHOLE, promise([10**6, 10**6]), "cannot be read"),
}


@pytest.mark.parametrize(("name", "content", "said"), BROKEN.values(), ids=BROKEN)
def test_broken_files_are_refused_before_they_are_loaded(
    folder: Path, name: str, content: bytes | None, said: str
) -> None:
    break_file(folder, name, content)

    with pytest.raises(InvalidInput) as caught:
        check_language_model(folder)
    assert said in caught.value.args[0]
    assert str(folder) in caught.value.args[0]


def test_pickled_weights_are_not_read(folder: Path) -> None:
    (folder / WHOLE).unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")

    with pytest.raises(InvalidInput) as caught:
        check_language_model(folder)
    assert "pytorch_model.bin, whose loading may run code" in caught.value.args[0]


def test_a_link_out_of_the_folder_is_not_followed(folder: Path) -> None:
    os.rename(folder / WHOLE, folder.parent / WHOLE)
    (folder / WHOLE).symlink_to(folder.parent / WHOLE)

    with pytest.raises(InvalidInput) as caught:
        check_language_model(folder)
    assert "link that leaves the folder" in caught.value.args[0]


def test_more_weights_than_memory_holds_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Little:
        available = 2**10

    monkeypatch.setattr("psutil.virtual_memory", Little)

    with pytest.raises(InvalidInput) as caught:
        check_language_model(folder)
    assert "weights" in caught.value.args[0]


def test_code_that_a_configuration_names_is_not_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoModelForCausalLM": "own.Own"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text("raise SystemExit('run')\n")

    with pytest.raises(InvalidInput) as caught:
        LanguageModel(folder)
    assert "cannot be loaded" in caught.value.args[0]


def test_a_model_of_another_shape_or_without_some_weights_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"n_layer": 3}))

    with pytest.raises(InvalidInput) as caught:
        LanguageModel(folder)
    assert "lacks 12 weights" in caught.value.args[0]

    (folder / "config.json").write_text(json.dumps(config | {"n_embd": 32}))
    with pytest.raises(InvalidInput) as caught:
        LanguageModel(folder)
    assert "cannot be loaded" in caught.value.args[0]


def test_a_tokenizer_that_is_none_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("<html></html>")

    with pytest.raises(InvalidInput) as caught:
        tokenize(folder, "batch")
    assert "tokenizer.json: cannot be read" in caught.value.args[0]
