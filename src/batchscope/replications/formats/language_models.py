"""A language model that was trained elsewhere: `config.json`, safetensors and `tokenizer.json`."""

import math
from pathlib import Path
from typing import Any, cast

import psutil
import torch
from torch import nn

from batchscope.replications.formats.files import check_folder, check_inside, find_file, refuse
from batchscope.workers.extras import import_extra

_BYTES_PER_WEIGHT = 4
_LAYOUT = "config.json, *.safetensors and tokenizer.json of a causal language model"


class LanguageModel(nn.Module):
    """A causal language model of transformers; tokens in, logits of the next token out.

    Raises:
        InvalidInput: it cannot be loaded, or only in part.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        transformers = import_extra("transformers", extra="data", where="--data")
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        try:
            model, report = transformers.AutoModelForCausalLM.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        # Each architecture raises what it likes of a file that is not its own.
        except Exception as error:
            raise refuse(folder, f"cannot be loaded: {_first_line(error)}", _LAYOUT) from error
        if missing := sorted(cast(dict[str, Any], report)["missing_keys"]):
            raise refuse(folder, f"lacks {len(missing)} weights, such as {missing[0]}", _LAYOUT)
        self.model = model
        self.vocabulary = int(model.config.vocab_size)
        self.window: int | None = getattr(model.config, "max_position_embeddings", None)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits of shape (n, tokens, vocabulary) from tokens of shape (n, tokens)."""
        return self.model(input_ids=tokens, use_cache=False).logits

    def matrices(self) -> list[nn.Module]:
        """The modules of its layers that hold a matrix: neither embeddings nor the last one."""
        utils = import_extra("transformers.pytorch_utils", extra="data", where="--data")
        last = self.model.get_output_embeddings()
        return [
            module
            for module in self.model.modules()
            if isinstance(module, (nn.Linear, utils.Conv1D)) and module is not last
        ]


def check_language_model(folder: Path) -> Path:
    """See that a model is there that can be held in memory, without running any code of its own.

    Raises:
        InvalidInput: a file is missing, broken, leaves the folder, or promises too much.
    """
    safetensors = import_extra("safetensors", extra="data", where="--data")
    check_folder(folder)
    find_file(folder, "config.json")
    find_file(folder, "tokenizer.json")
    weights = [check_inside(folder, path) for path in sorted(folder.glob("*.safetensors"))]
    if not weights:
        pickles = sorted(path.name for path in folder.glob("*.bin"))
        said = f"only {pickles[0]}, whose loading may run code" if pickles else "no weights"
        raise refuse(folder, said, _LAYOUT, "save the model as safetensors")
    count = 0
    for path in weights:
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118
                    count += math.prod(file.get_slice(name).get_shape())
        except (OSError, safetensors.SafetensorError) as error:
            raise refuse(
                path, f"cannot be read: {_first_line(error)}", "a whole safetensors file"
            ) from error
    free = psutil.virtual_memory().available
    if count * _BYTES_PER_WEIGHT > free:
        raise refuse(
            folder,
            f"{count:,} weights, {count * _BYTES_PER_WEIGHT / 2**30:,.0f} GiB",
            f"at most the {free / 2**30:,.0f} GiB of memory that are free",
            "take a smaller model",
        )
    return folder


def tokenize(folder: Path, text: str) -> torch.Tensor:
    """The tokens of a text, shape (n,).

    Raises:
        InvalidInput: the tokenizer cannot be read.
    """
    tokenizers = import_extra("tokenizers", extra="data", where="--data")
    path = find_file(folder, "tokenizer.json")
    try:
        found = tokenizers.Tokenizer.from_file(str(path)).encode(text, add_special_tokens=False)
    # The library raises nothing narrower.
    except Exception as error:
        raise refuse(path, f"cannot be read: {_first_line(error)}", "a tokenizer") from error
    return torch.tensor(cast(list[int], found.ids))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
