"""What results in a terminal are written with: wrapped text, plain tables, short estimates."""

import shlex

from rich.console import Console
from rich.table import Table
from rich.text import Text

from batchscope.estimate import Estimate, Interval


def shorten(estimate: Estimate, *, fallback: str = "not identified") -> str:
    """An estimate without its unit, which the column's head gives, over two lines."""
    if not isinstance(estimate, Interval):
        return fallback
    value, _, interval = str(estimate).removesuffix(f" {estimate.unit}").partition(" ")
    return f"{value}\n{interval}"


def make_table(*heads: str) -> Table:
    """A table without lines, the first column to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place else "right", overflow="fold")
    return table


def say_command(console: Console, command: str) -> None:
    """Print a command so that it can be pasted: further lines go on behind a backslash.

    What is no command of ours, such as a line of Python, is a paragraph.
    """
    first, *words = map(shlex.quote, shlex.split(command))
    if first != "batchscope":
        say(console, f"    {command}")
        return
    lines = [first]
    for word in words:
        # Of an indented line with a space and a backslash behind it.
        if len(lines[-1]) + len(word) + 1 > console.width - 6:
            lines.append(f"    {word}")
        else:
            lines[-1] += f" {word}"
    for place, line in enumerate(lines, start=1):
        end = " \\" if place < len(lines) else ""
        console.print(Text(f"    {line}{end}"), highlight=False, soft_wrap=True)


def say(console: Console, text: str, *, indent: int = 0) -> None:
    """Print a paragraph, its further lines indented."""
    wrapped = Text(text).wrap(console, console.width - indent)
    for place, line in enumerate(wrapped):
        console.print(Text(" " * (indent if place else 0)) + line, highlight=False)
