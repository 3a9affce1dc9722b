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

from ..language_models import WINDOW, WORDS, leave_memory, write_model

transformers: Any = pytest.importorskip("transformers")
tokenizers: Any = pytest.importorskip("tokenizers")


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
    # The library attends by another kernel.
    torch.testing.assert_close(model(tokens), expected)
    assert (model.vocabulary, model.window) == (1 + len(WORDS), WINDOW)
    # GPT-2: attention in and out, two of the perceptron; Llama: four and three. Two layers.
    matrices = model.matrices()
    assert len(matrices) == {"gpt2": 8, "llama": 14}[kind]
    assert not any(isinstance(module, nn.Embedding) for module, _ in matrices)
    assert {is_by_input for _, is_by_input in matrices} == {kind == "gpt2"}


def test_tokens_are_those_of_its_tokenizer(folder: Path) -> None:
    assert tokenize(folder, f"{WORDS[2]} unheard {WORDS[0]}").tolist() == [3, 0, 1]


def test_all_of_a_text_is_read_whatever_the_tokenizer_was_saved_for(folder: Path) -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(folder / "tokenizer.json"))

    assert tokenize(folder, " ".join(WORDS[:4])).tolist() == [1, 2, 3, 4]


def test_an_index_may_name_only_safetensors_beside_it(folder: Path) -> None:
    whole = check_language_model(folder)
    index = {"weight_map": {"a": "model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert check_language_model(folder) == whole

    for name in ("../secret.safetensors", "p.bin"):
        index = {"weight_map": {"a": "model.safetensors", "b": name}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(InvalidInput) as caught:
            check_language_model(folder)
        assert f"names {name}" in caught.value.args[0]


@pytest.mark.parametrize("weight_map", [None, [1, 2], {}, {"a": 5}], ids=str)
def test_an_index_of_another_form_is_refused(folder: Path, weight_map: object) -> None:
    index = {"weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    with pytest.raises(InvalidInput) as caught:
        check_language_model(folder)
    assert "has no weight_map of names to files" in caught.value.args[0]


def test_a_pipe_in_the_place_of_weights_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "a.safetensors")

    with pytest.raises(InvalidInput) as caught:
        check_language_model(folder)
    assert "is no file" in caught.value.args[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vocab_size": 10**9}, "at most the"),
        ({"n_layer": 10**6}, "1,000,000 layers"),
        ({"n_head": 3}, "names no model that can be made"),
    ],
)
def test_a_configuration_that_promises_more_than_the_files_hold_is_refused(
    folder: Path, changes: dict[str, int], said: str
) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))

    with pytest.raises(InvalidInput) as caught:
        check_language_model(folder)
    said_so = " ".join(map(str, (caught.value.args[0], caught.value)))
    assert said in said_so


def test_a_model_that_sees_what_it_is_to_tell_is_refused(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=9, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=WINDOW,
    )  # fmt: skip
    transformers.BertLMHeadModel(config).save_pretrained(tmp_path)

    with pytest.raises(InvalidInput) as caught:
        LanguageModel(tmp_path)
    assert "sees the tokens" in caught.value.args[0]


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
    leave_memory(monkeypatch, 2**10)

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

    (folder / "config.json").write_text(json.dumps(config | {"n_embd": 8}))
    with pytest.raises(InvalidInput) as caught:
        LanguageModel(folder)
    assert "cannot be loaded" in caught.value.args[0]


def test_a_tokenizer_that_is_none_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("<html></html>")

    with pytest.raises(InvalidInput) as caught:
        tokenize(folder, "batch")
    assert "tokenizer.json: cannot be read" in caught.value.args[0]
