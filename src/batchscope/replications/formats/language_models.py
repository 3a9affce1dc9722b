"""A language model that was trained elsewhere: `config.json`, safetensors and `tokenizer.json`."""

import json
import math
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import psutil
import torch
from torch import nn

from batchscope.replications.formats.files import (
    check_folder,
    check_inside,
    find_file,
    read_bytes,
    refuse,
)
from batchscope.workers.extras import import_extra

_BYTES_PER_WEIGHT = 4
_MOST_JSON = 2**26
_MOST_LAYERS = 1000
_INDEX = "model.safetensors.index.json"
_LAYOUT = "config.json, *.safetensors and tokenizer.json of a causal language model"


class LanguageModel(nn.Module):
    """A causal language model of transformers; tokens in, logits of the next token out.

    Raises:
        InvalidInput: it cannot be loaded, or only in part, or is of another kind.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        transformers = import_extra("transformers", extra="data", where="--data")
        try:
            with _quietly(transformers):
                self.model, report = transformers.AutoModelForCausalLM.from_pretrained(
                    folder,
                    local_files_only=True,
                    trust_remote_code=False,
                    use_safetensors=True,
                    attn_implementation="eager",
                    dtype=torch.float32,
                    output_loading_info=True,
                )
            self.vocabulary = int(self.model.get_output_embeddings().weight.shape[0])
            looks_ahead = self._looks_ahead()
        # Each architecture raises what it likes of a file that is not its own.
        except Exception as error:
            raise refuse(folder, f"cannot be loaded: {_first_line(error)}", _LAYOUT) from error
        if missing := sorted(cast(dict[str, Any], report)["missing_keys"]):
            raise refuse(folder, f"lacks {len(missing)} weights, such as {missing[0]}", _LAYOUT)
        if looks_ahead:
            raise refuse(folder, "a model that sees the tokens that it is to tell", _LAYOUT)
        if any(weight.ndim > 2 for weight in self.model.parameters()):
            raise refuse(
                folder, "weights of three dimensions, which adapters do not reach", "matrices"
            )

    @property
    def window(self) -> int | None:
        """Tokens that it looks at, at most; None where its configuration names no limit."""
        most = getattr(self.model.config, "max_position_embeddings", None)
        return most if isinstance(most, int) and most > 1 else None

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits of shape (n, tokens, vocabulary) from tokens of shape (n, tokens)."""
        return self.model(input_ids=tokens, use_cache=False, return_dict=True).logits

    def matrices(self) -> list[tuple[nn.Module, bool]]:
        """The modules of its layers that hold a matrix, and whether it has a row for each input.

        Neither embeddings nor the last one are among them.
        """
        utils = import_extra("transformers.pytorch_utils", extra="data", where="--data")
        last = self.model.get_output_embeddings()
        return [
            (module, isinstance(module, utils.Conv1D))
            for module in self.model.modules()
            if isinstance(module, (nn.Linear, utils.Conv1D)) and module is not last
        ]

    def _looks_ahead(self) -> bool:
        """Whether what it says of a token depends on that token or on later ones."""
        tokens = torch.zeros(1, 4, dtype=torch.long)
        other = tokens.clone()
        other[0, -1] = self.vocabulary - 1
        was_training = self.training
        self.eval()
        with torch.no_grad():
            one, two = (self(given)[:, :-1] for given in (tokens, other))
        self.train(was_training)
        return not torch.allclose(one, two, atol=1e-5)


def check_language_model(folder: Path) -> Path:
    """See that a model is there that can be held in memory, without running any code of its own.

    Raises:
        InvalidInput: a file is missing, broken, leaves the folder, or promises too much.
    """
    check_folder(folder)
    config = find_file(folder, "config.json")
    find_file(folder, "tokenizer.json")
    held = sum(_count_weights(path) for path in _find_weights(folder))
    promised = _count_promised(config)
    if promised > held:
        raise refuse(
            config, f"{promised:,} weights", f"at most the {held:,} that the safetensors files have"
        )
    free = psutil.virtual_memory().available
    if held * _BYTES_PER_WEIGHT > free:
        raise refuse(
            folder,
            f"{held:,} weights, {held * _BYTES_PER_WEIGHT / 2**30:,.0f} GiB",
            f"at most the {free / 2**30:,.0f} GiB of memory that are free",
            "take a smaller model",
        )
    return folder


def tokenize(folder: Path, text: str) -> torch.Tensor:
    """The tokens of a whole text, shape (n,).

    Raises:
        InvalidInput: the tokenizer cannot be read.
    """
    tokenizers = import_extra("tokenizers", extra="data", where="--data")
    path = find_file(folder, "tokenizer.json")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
        # What was saved for short inputs.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        found = tokenizer.encode(text, add_special_tokens=False)
    except (KeyboardInterrupt, SystemExit):
        raise
    # The library raises nothing narrower, and its panics are no Exceptions.
    except BaseException as error:
        raise refuse(path, f"cannot be read: {_first_line(error)}", "a tokenizer") from error
    return torch.tensor(cast(list[int], found.ids), dtype=torch.long)


def _find_weights(folder: Path) -> list[Path]:
    """The files that the library will read: those of the index where there is one."""
    index = folder / _INDEX
    if index.exists():
        named = _read_weight_map(check_inside(folder, index))
        strange = sorted(
            name for name in named if Path(name).name != name or not name.endswith(".safetensors")
        )
        if strange:
            raise refuse(index, f"names {strange[0]}", "safetensors files beside it")
        paths = [folder / name for name in sorted(named)]
    else:
        paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        pickles = sorted(path.name for path in folder.glob("*.bin"))
        said = f"only {pickles[0]}, whose loading may run code" if pickles else "no weights"
        raise refuse(folder, said, _LAYOUT, "save the model as safetensors")
    for path in paths:
        # What is no file, such as a pipe, may be waited for without end.
        if not stat.S_ISREG(check_inside(folder, path).stat().st_mode):
            raise refuse(path, "is no file", "a safetensors file")
    return paths


def _read_weight_map(index: Path) -> set[str]:
    """The files that an index names."""
    found = _read_json(index).get("weight_map")
    named = list(cast(dict[str, object], found).values()) if isinstance(found, dict) else []
    if not named or not all(isinstance(name, str) for name in named):
        raise refuse(index, "has no weight_map of names to files", "the index of the model")
    return set(cast(list[str], named))


def _count_weights(path: Path) -> int:
    """By the header of a file."""
    safetensors = import_extra("safetensors", extra="data", where="--data")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            names: list[str] = list(file.keys())
            return sum(math.prod(file.get_slice(name).get_shape()) for name in names)
    except (OSError, safetensors.SafetensorError) as error:
        said = f"cannot be read: {_first_line(error)}"
        raise refuse(path, said, "a whole safetensors file") from error


def _count_promised(config: Path) -> int:
    """The weights that a model of this configuration has, without making them."""
    transformers = import_extra("transformers", extra="data", where="--data")
    layers = _read_json(config)
    most = max(
        (
            value
            for name, value in layers.items()
            if "layer" in name and isinstance(value, int) and not isinstance(value, bool)
        ),
        default=0,
    )
    if most > _MOST_LAYERS:
        raise refuse(config, f"{most:,} layers", f"at most {_MOST_LAYERS:,}")
    try:
        with torch.device("meta"), _quietly(transformers):
            settings = transformers.AutoConfig.from_pretrained(
                config.parent, local_files_only=True, trust_remote_code=False
            )
            model = transformers.AutoModelForCausalLM.from_config(
                settings, trust_remote_code=False, attn_implementation="eager"
            )
    except Exception as error:
        raise refuse(
            config, f"names no model that can be made: {_first_line(error)}", _LAYOUT
        ) from error
    return sum(weight.numel() for weight in model.parameters())


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found: object = json.loads(read_bytes(path, _MOST_JSON))
    except (ValueError, RecursionError) as error:
        raise refuse(path, "is no JSON", "the file that belongs to the model") from error
    if not isinstance(found, dict):
        raise refuse(path, "is no JSON object", "the file that belongs to the model")
    return cast(dict[str, Any], found)


@contextmanager
def _quietly(transformers: Any) -> Generator[None]:
    """Without the bars and the warnings of the library, which says them of small models too."""
    logging = transformers.utils.logging
    before, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if had_bars:
            logging.enable_progress_bar()


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
