"""How long is left, and what is running: a bar in the terminal."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class TerminalProgress:
    """Shows a study on standard error; without a terminal only its sentences."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._running: list[str] = []
        self._done = 0
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=14),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task("starting", total=None)

    def __enter__(self) -> "TerminalProgress":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def close(self) -> None:
        """Take the bar away, before a result is shown."""
        self._progress.stop()

    def say(self, line: str) -> None:
        """Show a line of text."""
        self._console.print(line, highlight=False, markup=False)

    def expect(self, remaining: float) -> None:
        """The work that is left, as far as is known."""
        completed = self._progress.tasks[0].completed
        self._progress.update(self._bar, total=completed + remaining)

    def begin(self, label: str) -> None:
        """Something starts."""
        self._running.append(label)
        self._describe()

    def advance(self, label: str, amount: float) -> None:
        """Something that runs has done this much more."""
        self._progress.advance(self._bar, amount)
        task = self._progress.tasks[0]
        if task.total is not None and task.completed > task.total:
            self._progress.update(self._bar, total=task.completed)

    def end(self, label: str) -> None:
        """Something is done."""
        self._done += 1
        self._running = [other for other in self._running if other != label]
        self._describe()

    def _describe(self) -> None:
        text = self._running[0] if self._running else "waiting"
        self._progress.update(self._bar, description=text[:34])
