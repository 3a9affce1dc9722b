"""How far a study is, and what is running: a live view in the terminal."""

from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

_REFRESHED_PER_SECOND = 4


class TerminalProgress:
    """Shows a study on standard error; without a terminal only its sentences."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._running: dict[str, float | None] = {}
        self._done = 0
        self._spared = 0.0
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._bar = self._progress.add_task("starting", total=None)
        self._live = Live(
            get_renderable=self._draw,
            console=console,
            transient=True,
            refresh_per_second=_REFRESHED_PER_SECOND,
        )

    def __enter__(self) -> "TerminalProgress":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the view away, before a result is shown."""
        self._live.stop()

    def say(self, line: str) -> None:
        """Show a line of text."""
        self._console.print(line, highlight=False, markup=False)

    def expect(self, remaining: float) -> None:
        """The work that is left, as far as is known."""
        completed = self._progress.tasks[0].completed
        self._progress.update(self._bar, total=completed + remaining)

    def begin(self, label: str) -> None:
        """Something starts."""
        self._running[label] = None

    def advance(self, label: str, amount: float, *, loss: float | None = None) -> None:
        """Something that runs has done this much more, and has this training loss now."""
        if label in self._running and loss is not None:
            self._running[label] = loss
        self._progress.advance(self._bar, amount)
        task = self._progress.tasks[0]
        if task.total is not None and task.completed > task.total:
            self._progress.update(self._bar, total=task.completed)

    def spare(self, amount: float) -> None:
        """So much was not spent, for a run was ended before its whole budget."""
        self._spared += amount

    def end(self, label: str, *, runs: int = 0) -> None:
        """Something is done; it was so many runs."""
        self._done += runs
        self._running.pop(label, None)

    def _draw(self) -> Group:
        self._progress.update(self._bar, description=f"{self._done} runs done")
        rows = Table.grid(padding=(0, 2))
        for label, loss in self._running.items():
            rows.add_row(f"  {label}", "" if loss is None else f"train loss {loss:.3g}")
        return Group(self._progress, rows, *self._describe_spared())

    def _describe_spared(self) -> list[Text]:
        spent = self._progress.tasks[0].completed
        if self._spared <= 0:
            return []
        share = self._spared / (self._spared + spent)
        return [Text(f"  saved by stopping runs early: {share:.0%} of the time of whole runs")]
