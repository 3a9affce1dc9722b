"""What results in a terminal are written with: wrapped text, plain tables, short estimates."""

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


def say(console: Console, text: str, *, indent: int = 0) -> None:
    """Print a paragraph, its further lines indented."""
    wrapped = Text(text).wrap(console, console.width - indent)
    for place, line in enumerate(wrapped):
        console.print(Text(" " * (indent if place else 0)) + line, highlight=False)
