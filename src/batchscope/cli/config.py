"""A file that says what the flags of a command would; flags go before it."""

import tomllib
from pathlib import Path
from typing import Annotated, cast

import click
import typer


def _read_config(context: click.Context, path: Path | None) -> Path | None:
    if path is None or context.resilient_parsing:
        return path
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise typer.BadParameter(f"cannot read {path}: {error}") from error
    names = {parameter.name for parameter in context.command.params} - {"config", "help"}
    values = {name.replace("-", "_"): value for name, value in said.items()}
    unknown = sorted(set(values) - names)
    if unknown:
        raise typer.BadParameter(
            f"{path} says {unknown[0]!r}, which {context.info_name} does not take; it takes "
            f"{', '.join(sorted(filter(None, names)))}"
        )
    context.default_map = {name: _as_flag(value) for name, value in values.items()}
    return path


def _as_flag(value: object) -> object:
    """A value as it is typed after a flag."""
    if isinstance(value, dict):
        # Batch size -> what is said of it, once or several times.
        by_size = cast(dict[str, object], value)
        pairs = [(size, each) for size, said in by_size.items() for each in _as_list(said)]
        return ",".join(f"{size}={each}" for size, each in pairs)
    return ",".join(map(str, _as_list(cast(object, value)))) if isinstance(value, list) else value


def _as_list(value: object) -> list[object]:
    return cast(list[object], value) if isinstance(value, list) else [value]


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        is_eager=True,
        callback=_read_config,
        help="A TOML file with what the flags would say, task included; flags go before it.",
    ),
]
