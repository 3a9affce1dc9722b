"""The commands about tasks themselves: init, tasks."""

from pathlib import Path
from typing import Annotated

import typer

from batchscope.cli.app import app
from batchscope.cli.options import (
    DebugOption,
    JsonOption,
)
from batchscope.cli.output import make_console, print_json, reporting
from batchscope.errors import InvalidInput
from batchscope.gallery import BUILT_IN


@app.command()
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="For example mytask.py.")],
    debug: DebugOption = False,
) -> None:
    """Write a commented task that runs as it is.

    Example: batchscope init mytask.py
    """
    with reporting(debug):
        from importlib.resources import files

        if file.exists():
            raise InvalidInput(
                f"{file} is already there",
                where=str(file.absolute()),
                expected="a new file",
                do="name another, or remove that one first",
            )
        text = files("batchscope.gallery").joinpath("starter.py").read_text(encoding="utf-8")
        try:
            file.write_text(text.replace("{file}", f"{file}:task"), encoding="utf-8")
        except OSError as error:
            raise InvalidInput(
                f"cannot write {file}: {error.strerror}",
                where=str(file.absolute()),
                expected="a folder that exists and can be written",
                do="name another place",
            ) from error
        make_console().print(
            f"Wrote {file}. Next: batchscope recommend {file}:task", highlight=False
        )


@app.command()
def tasks(json: JsonOption = False) -> None:
    """List the built-in tasks, a line each.

    Example: batchscope tasks
    """
    if json:
        print_json({"tasks": [{"name": n, "description": d} for n, d in BUILT_IN.items()]})
        return
    for name, description in BUILT_IN.items():
        make_console().print(f"{name:<18} {description}", highlight=False)
