"""How a task gets from one process to another."""

import importlib
import os
import sys
import traceback
import types
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import cast

import cloudpickle

from batchscope.errors import BatchscopeError, InvalidTask, TaskCannotTravel
from batchscope.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTask:
    """A task in a file, which every process runs again from the same text."""

    path: str
    text: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleTask:
    """A task in an importable module.

    Attributes:
        label: the name that reports show.
    """

    module: str
    name: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PickledTask:
    """A task that was built in Python, with all that it refers to.

    Attributes:
        modules: that its parts are defined in.
    """

    payload: bytes
    modules: tuple[str, ...] = ()


TaskSource = FileTask | ModuleTask | PickledTask
_PACKAGE = __name__.split(".")[0]
# The task that this process loaded last.
_LOADED: list[tuple[Task, TaskSource]] = []


def read_source(text: str) -> TaskSource:
    """Read `path/to/file.py:name` or `package.module:name`; a name left out is `task`.

    Raises:
        InvalidTask: there is no such file.
    """
    place, _, name = text.rpartition(":") if ":" in text else (text, "", "task")
    if not (place.endswith(".py") or "/" in place):
        return ModuleTask(module=place, name=name, label=text)
    path = Path(place).resolve()
    try:
        return FileTask(path=str(path), text=path.read_text(encoding="utf-8"), name=name)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidTask(
            f"cannot read {place}: {error}",
            where=text,
            expected="a Python file that defines the task",
            do="check the path, or write one with: batchscope init mytask.py",
        ) from error


def load_task(source: TaskSource) -> Task:
    """The task itself, made in this process.

    Raises:
        InvalidTask: the file or module fails, or has no such task.
    """
    task = _load(source)
    _LOADED[:] = [(task, source)]
    return task


def source_of(task: Task) -> TaskSource:
    """Where a task came from in this process; one that was built here is packed.

    Raises:
        TaskCannotTravel: it holds something that exists in this process only.
    """
    for known, source in _LOADED:
        if known is task:
            return source
    return pack_task(task)


def _load(source: TaskSource) -> Task:
    match source:
        case PickledTask():
            try:
                return cloudpickle.loads(source.payload)
            except Exception as error:  # whatever a user's own modules and __setstate__ raise
                raise cannot_load("the task cannot be loaded in another process", error) from error
        case FileTask():
            label = f"{Path(source.path).name}:{source.name}"
            module = _run_file(source)
        case ModuleTask():
            label = source.label
            module = _import_module(source)
    found: object = getattr(module, source.name, None)
    if not isinstance(found, Task):
        tasks = [name for name, value in vars(module).items() if isinstance(value, Task)]
        wrong = "no" if found is None else f"a {type(found).__name__}, not a task, as"
        raise InvalidTask(
            f"{label} defines {wrong} {source.name!r}",
            where=label,
            expected=f"one of its tasks: {', '.join(tasks)}" if tasks else "a bs.Task",
            do=f"write {source.name} = bs.Task(...) there, or name another after the colon",
        )
    return found if found.name != "task" else replace(found, name=label)


def cannot_load(what: str, error: Exception) -> InvalidTask:
    """The error of what other processes pickled, and this one cannot open."""
    return with_traceback_of(
        error,
        InvalidTask(
            f"{what}: {type(error).__name__}: {error}",
            where=f"process {os.getpid()}",
            expected="modules that other processes can import, and objects that can be pickled",
            do="install the modules, or run from their folder; --debug shows the whole traceback",
        ),
    )


def with_traceback_of(error: Exception, shown: InvalidTask) -> InvalidTask:
    """What is shown in place of an error, which takes its traceback to other processes."""
    shown.add_note("".join(traceback.format_exception(error)))
    return shown


def pack_task(task: Task) -> PickledTask:
    """A task as bytes.

    Raises:
        TaskCannotTravel: it holds something that exists in this process only.
    """
    try:
        return PickledTask(payload=cloudpickle.dumps(task), modules=_modules_of(task))
    except Exception as error:  # whatever a user's own __reduce__ raises
        where, holder = next(_find_culprit(task, "task"), ("task", type(task).__name__))
        raise TaskCannotTravel(
            f"the task cannot be sent to another process: {where} is a {holder}",
            where=where,
            expected="values that can be pickled",
            do="open it inside the function that uses it; until then runs share this process",
        ) from error


def own_modules(source: TaskSource, *others: str) -> list[str]:
    """The modules of this package among those that a task needs, and others.

    They can be loaded ahead of it; a user's may change, and know for themselves when to run. Those
    whose functions travel whole need not be loaded at all.
    """
    modules = list(others)
    match source:
        case PickledTask():
            modules += source.modules
        case ModuleTask():
            modules.append(source.module)
        case FileTask():
            pass
    whole = cast("set[str]", cloudpickle.list_registry_pickle_by_value())
    return [
        module
        for module in modules
        if _is_in(module, _PACKAGE) and not any(_is_in(module, package) for package in whole)
    ]


def _is_in(module: str, package: str) -> bool:
    return module.startswith(f"{package}.")


def _modules_of(task: Task) -> tuple[str, ...]:
    parts = (getattr(task, part.name) for part in fields(task))
    functions = (getattr(part, "func", part) for part in parts if callable(part))
    return tuple(sorted({str(getattr(function, "__module__", "")) for function in functions}))


def _run_file(source: FileTask) -> types.ModuleType:
    folder = str(Path(source.path).parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module = types.ModuleType(Path(source.path).stem)
    module.__file__ = source.path
    # Data sets and functions of the file find their own module by name.
    sys.modules[module.__name__] = module
    try:
        exec(compile(source.text, source.path, "exec"), module.__dict__)
    except BatchscopeError:
        raise
    except (Exception, SystemExit) as error:
        raise _broken(error, source.path) from error
    return module


def _import_module(source: ModuleTask) -> types.ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return importlib.import_module(source.module)
    except BatchscopeError:
        raise
    except Exception as error:
        raise _broken(error, source.label) from error


def _broken(error: BaseException, where: str) -> InvalidTask:
    line = getattr(error, "lineno", None) or _last_line(error, where)
    place = f"{where}, line {line}" if line else where
    return InvalidTask(
        f"the task's file fails: {type(error).__name__}: {error}",
        where=place,
        expected="a file that Python can run",
        do="mend that line; --debug shows the whole traceback",
    )


def _last_line(error: BaseException, path: str) -> int | None:
    trace, line = error.__traceback__, None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _find_culprit(value: object, path: str, depth: int = 4) -> Iterator[tuple[str, str]]:
    """The innermost attributes that do not pickle, as path and type name."""
    if depth == 0 or _travels(value):
        return
    found = False
    for name, part in _parts(value):
        for culprit in _find_culprit(part, f"{path}{name}", depth - 1):
            found = True
            yield culprit
    if not found:
        yield path, type(value).__name__


def _parts(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Task):
        yield from ((f".{part.name}", getattr(value, part.name)) for part in fields(value))
    elif isinstance(value, dict):
        yield from ((f"[{key!r}]", part) for key, part in cast(dict[object, object], value).items())
    elif isinstance(value, types.FunctionType):
        names = (*value.__code__.co_freevars,)
        for name, cell in zip(names, value.__closure__ or (), strict=True):
            yield f" -> {name}", cell.cell_contents
        for name in value.__code__.co_names:
            if name in value.__globals__ and value.__module__ == "__main__":
                yield f" -> {name}", value.__globals__[name]
    elif hasattr(value, "__dict__") and not isinstance(value, (type, types.ModuleType)):
        yield from ((f".{name}", part) for name, part in vars(value).items())


def _travels(value: object) -> bool:
    try:
        cloudpickle.dumps(value)
    except Exception:
        return False
    return True
