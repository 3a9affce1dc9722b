"""A small language model with its tokenizer and its texts, in the files of a large one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

WINDOW = 16
WORDS = ("batch", "size", "rate", "step", "loss", "noise", "curve", "seed")


def write_model(folder: Path, *, kind: str = "gpt2") -> Path:
    """GPT-2 or Llama of two layers, 16 tokens wide and long, from a seed."""
    import tokenizers as untyped_tokenizers
    import transformers as untyped

    transformers: Any = untyped
    tokenizers: Any = untyped_tokenizers
    vocabulary = {"?": 0, **{word: place for place, word in enumerate(WORDS, start=1)}}
    if kind == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=len(vocabulary), n_positions=WINDOW, n_embd=16, n_layer=2, n_head=2
        )
    else:
        config = transformers.LlamaConfig(
            vocab_size=len(vocabulary), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=WINDOW,
        )  # fmt: skip
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def write_texts(folder: Path, tokens: int) -> Path:
    """JSON lines of ten words, each word followed by one of two."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    places = np.cumsum(rng.integers(1, 3, tokens)) % len(WORDS)
    words = [WORDS[place] for place in places]
    lines = [json.dumps({"text": " ".join(words[n : n + 10])}) for n in range(0, tokens, 10)]
    (folder / "texts.jsonl").write_text("\n".join(lines))
    return folder


def leave_memory(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """Let only so many bytes be free."""

    class Little:
        available = free

    monkeypatch.setattr("psutil.virtual_memory", Little)


def name_trainable(model: torch.nn.Module) -> list[str]:
    """The weights that are trained."""
    return [name for name, weight in model.named_parameters() if weight.requires_grad]
