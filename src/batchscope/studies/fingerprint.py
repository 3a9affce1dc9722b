"""What tells one task from another: its source, its initial weights, its data."""

import ast
import hashlib
import inspect
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import cloudpickle
import numpy as np
import torch

from batchscope.task import Examples, Task, tensors_of
from batchscope.training.seeding import keep_randomness, seed_everything
from batchscope.workers.travel import FileTask, ModuleTask, TaskSource

_SAMPLED_EXAMPLES = 16


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
    from its own folder; for a task built without a file, its functions' own code. The weights are
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
            yield source.text.encode()
            yield from _neighbours(source.text, Path(source.path).parent)
        case ModuleTask():
            file = getattr(sys.modules[source.module], "__file__", None)
            text = Path(file).read_text(encoding="utf-8") if file else ""
            yield text.encode()
            yield from _neighbours(text, Path(file).parent if file else Path())
        case _:
            yield from _function_parts(task)


def _neighbours(text: str, folder: Path, seen: set[Path] | None = None) -> Iterator[bytes]:
    """The text of modules that `text` imports from its own folder, each once."""
    seen = set() if seen is None else seen
    for name in sorted(_imported_names(text)):
        stem = folder.joinpath(*name.split("."))
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if path.is_file() and path not in seen:
                seen.add(path)
                found = path.read_text(encoding="utf-8")
                yield found.encode()
                yield from _neighbours(found, path.parent, seen)


def _imported_names(text: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            # `from batchscope.gallery.digits import x` names a neighbour by its last part.
            names |= {base, base.rpartition(".")[2]}
            names |= {f"{base}.{alias.name}".lstrip(".") for alias in node.names}
    return names - {""}


def _function_parts(task: Task) -> Iterator[bytes]:
    named = {"model": task.model, "loss": task.loss, "collate": task.collate, **task.metrics}
    for name, function in named.items():
        yield name.encode()
        yield _code_of(function)
    for value in (task.optimizer, task.clip_norm, task.length, task.unit):
        yield repr(value).encode() if not callable(value) else _code_of(value)


def _code_of(value: object) -> bytes:
    """The source of a function or class, with the values it closes over; else its bytecode."""
    closed: tuple[Any, ...] = ()
    if isinstance(value, FunctionType):
        cells = value.__closure__ or ()
        closed = tuple(
            cell.cell_contents
            for cell in cells
            if isinstance(cell.cell_contents, (int, float, str))
        )
    try:
        text = inspect.getsource(value)  # pyright: ignore[reportArgumentType]
    except (OSError, TypeError):
        code = getattr(value, "__code__", None)
        text = _bytecode(code) if isinstance(code, CodeType) else type(value).__qualname__
    return f"{text}{closed!r}".encode()


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
        return [_plain(part) for part in example]
    if isinstance(example, dict):
        return {key: _plain(part) for key, part in example.items()}
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
