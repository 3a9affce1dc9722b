"""What tells one task from another: its source, its initial weights, its data."""

import ast
import hashlib
import inspect
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, cast

import cloudpickle
import numpy as np
import torch

from batchscope.optimizers import FromFactory
from batchscope.task import Examples, Task, tensors_of
from batchscope.training.seeding import keep_randomness, seed_everything
from batchscope.workers.travel import FileTask, ModuleTask, TaskSource

_SAMPLED_EXAMPLES = 16
# Their code is decided by their version, and torch's is part of every run's key.
_FIXED_BY_VERSION = {*sys.stdlib_module_names, "torch", "numpy", "batchscope"} - {"__main__"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """A hash of each part that decides what a task's runs look like."""

    source: str
    weights: str
    data: str

    @property
    def digest(self) -> str:
        """All parts as one."""
        return _digest([self.source.encode(), self.weights.encode(), self.data.encode()])

    def changed_parts(self, earlier: "Fingerprint") -> tuple[str, ...]:
        """In words, which parts differ from an earlier fingerprint."""
        parts = {
            "its source": (self.source, earlier.source),
            "its initial weights": (self.weights, earlier.weights),
            "its data": (self.data, earlier.data),
        }
        return tuple(name for name, (now, before) in parts.items() if now != before)


def fingerprint(task: Task, source: TaskSource | None) -> Fingerprint:
    """Hash a task.

    The source is the text of the file that defines it with that of every module that it imports
    from its own folder; for a task built in Python, that of the files that define its functions, or
    their own source where they were typed in. The weights are
    the initial ones at seed 0, with their names and shapes.
    """
    with keep_randomness():
        seed_everything(0)
        weights = task.model().state_dict()
    return Fingerprint(
        source=_digest(_source_parts(task, source)),
        weights=_digest(
            part
            for name, value in weights.items()
            for part in (name.encode(), *_tensor_parts(value))
        ),
        data=_digest(part for data in task.datasets.values() for part in _data_parts(data)),
    )


def _source_parts(task: Task, source: TaskSource | None) -> Iterator[bytes]:
    match source:
        case FileTask():
            yield source.name.encode()
            yield source.text.encode()
            yield from _neighbours(source.text, Path(source.path).parent)
        case ModuleTask():
            yield source.name.encode()
            yield from _file_parts(getattr(sys.modules[source.module], "__file__", None))
        case _:
            yield from _function_parts(task)


def _file_parts(path: str | None) -> Iterator[bytes]:
    if path is not None:
        text = Path(path).read_text(encoding="utf-8")
        yield text.encode()
        yield from _neighbours(text, Path(path).parent)


def _neighbours(text: str, root: Path) -> Iterator[bytes]:
    """The text of modules that `text` imports from the folder `root`, each once, all the way."""
    seen: set[Path] = set()
    waiting = [(text, root)]
    while waiting:
        current, folder = waiting.pop()
        for path in _imported_files(current, (folder, root)):
            if path not in seen:
                seen.add(path)
                found = path.read_text(encoding="utf-8")
                yield found.encode()
                waiting.append((found, path.parent))


def _imported_files(text: str, folders: tuple[Path, ...]) -> Iterator[Path]:
    for name in sorted(_imported_names(text)):
        for folder in dict.fromkeys(folders):
            stem = folder.joinpath(*name.split("."))
            for path in (stem.with_suffix(".py"), stem / "__init__.py"):
                if path.is_file():
                    yield path


def _imported_names(text: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            # `from package.digits import x` names a neighbour by its last part.
            names |= {base, base.rpartition(".")[2]}
            names |= {f"{base}.{alias.name}".lstrip(".") for alias in node.names}
    return names - {""}


def _function_parts(task: Task) -> Iterator[bytes]:
    spec = task.optimizer_spec
    optimizer = spec.factory if isinstance(spec, FromFactory) else spec
    named = {
        "model": task.model,
        "loss": task.loss,
        "collate": task.collate,
        "length": task.length,
        "optimizer": optimizer,
        "clip_norm": task.clip_norm,
        **task.metrics,
    }
    seen: set[int] = set()
    for name, value in named.items():
        yield name.encode()
        yield from _value_parts(value, seen)


def _value_parts(value: object, seen: set[int]) -> Iterator[bytes]:
    """What a value does: its file, or its source with all that it refers to."""
    if isinstance(value, (type(None), bool, int, float, str, bytes)):
        yield repr(value).encode()
        return
    if id(value) in seen or isinstance(value, ModuleType):
        return
    seen.add(id(value))
    if isinstance(value, partial):
        yield from _value_parts(value.func, seen)
        for part in (*value.args, *(x for _, x in sorted(value.keywords.items()))):
            yield from _value_parts(part, seen)
    elif isinstance(value, (list, tuple)):
        for part in cast(Sequence[object], value):
            yield from _value_parts(part, seen)
    elif isinstance(value, (FunctionType, type)):
        yield from _definition_parts(value, seen)
    else:
        yield from _definition_parts(type(value), seen)
        for name, part in sorted(getattr(value, "__dict__", {}).items()):
            yield name.encode()
            yield from _value_parts(part, seen)


def _definition_parts(value: FunctionType | type, seen: set[int]) -> Iterator[bytes]:
    yield value.__qualname__.encode()
    if isinstance(value, FunctionType):
        for cell in value.__closure__ or ():
            yield from _value_parts(cell.cell_contents, seen)
    top_package = value.__module__.partition(".")[0]
    if top_package in _FIXED_BY_VERSION:
        return
    file = getattr(sys.modules.get(value.__module__), "__file__", None)
    if file is not None and Path(file).is_file():
        if "site-packages" not in file:
            yield from _file_parts(file)
        return
    # Typed in by hand, as in a notebook: there is no file, but there is source.
    yield _own_source(value)
    functions = [value] if isinstance(value, FunctionType) else list(vars(value).values())
    for function in functions:
        if isinstance(function, FunctionType):
            for name in _names(function.__code__):
                if name in function.__globals__:
                    yield from _value_parts(function.__globals__[name], seen)


def _names(code: CodeType) -> set[str]:
    inner = (c for c in code.co_consts if isinstance(c, CodeType))
    return set(code.co_names).union(*(_names(c) for c in inner))


def _own_source(value: FunctionType | type) -> bytes:
    try:
        return inspect.getsource(value).encode()
    except (OSError, TypeError):
        code = getattr(value, "__code__", None)
        return _bytecode(code).encode() if isinstance(code, CodeType) else b""


def _bytecode(code: CodeType) -> str:
    constants = [_bytecode(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return f"{code.co_code.hex()}{code.co_names}{constants}"


def _data_parts(data: Examples) -> Iterator[bytes]:
    yield str(len(data)).encode()
    tensors = tensors_of(data)
    if tensors is not None:
        for tensor in tensors:
            yield from _tensor_parts(tensor)
        return
    # A large or random data set is told by its size and by examples drawn under one seed.
    with keep_randomness():
        seed_everything(0)
        for index in np.linspace(0, len(data) - 1, _SAMPLED_EXAMPLES).astype(int):
            yield cloudpickle.dumps(_plain(data[int(index)]))


def _plain(example: Any) -> Any:
    if isinstance(example, torch.Tensor):
        return example.detach().cpu().numpy()
    if isinstance(example, (tuple, list)):
        return [_plain(part) for part in cast(Sequence[object], example)]
    if isinstance(example, dict):
        return {key: _plain(part) for key, part in cast(dict[object, object], example).items()}
    return example


def _tensor_parts(tensor: torch.Tensor) -> Iterator[bytes]:
    yield f"{tuple(tensor.shape)}{tensor.dtype}".encode()
    yield (
        tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
        if (tensor.numel() and tensor.dim())
        else repr(tensor).encode()
    )


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]
