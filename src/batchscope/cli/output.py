"""What a command shows: results on standard output, talk and errors on standard error."""

import json as json_format
import os
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from batchscope.errors import BatchscopeError

if TYPE_CHECKING:
    from batchscope.reports.progress import TerminalProgress

_INTERRUPTED = 130


@contextmanager
def watching() -> "Generator[TerminalProgress]":
    """A progress bar on standard error, for a command that may need workers."""
    from batchscope.reports.progress import TerminalProgress
    from batchscope.workers.forking import fork_nursery

    fork_nursery()
    with TerminalProgress(make_console(error=True)) as watcher:
        yield watcher


@contextmanager
def reporting(debug: bool, store: str | None = None) -> Generator[None]:
    """The one place where an error becomes a sentence and an exit code."""
    try:
        yield
    except BatchscopeError as error:
        if debug:
            traceback.print_exc()
        print(f"{error}", file=sys.stderr)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        kept = ""
        if store and ("://" in store or Path(store).exists()):
            kept = f"; finished runs are kept in {store}, and the same command goes on"
        print(f"Interrupted{kept}.", file=sys.stderr)
        # Threads that wait for workers must not hold up the exit.
        sys.stderr.flush()
        os._exit(_INTERRUPTED)
    except BrokenPipeError:
        # The reader of standard output, such as `head`, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_console(*, error: bool = False) -> Console:
    """A terminal as it is, or 80 columns where there is none."""
    console = Console(stderr=error, soft_wrap=False)
    if not console.is_terminal:
        console.width = 80
    return console


def print_json(document: dict[str, Any]) -> None:
    """One document on standard output."""
    print(json_format.dumps(document, allow_nan=False, indent=2))


def name_study(study: str, task: str) -> None:
    """The first line of what is read from a store."""
    make_console().print(f"Study {study} of {task}", highlight=False, markup=False)
