"""What a study tells whoever watches it."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol


class Watcher(Protocol):
    """Somebody who watches a study; amounts are in predicted seconds of one worker."""

    def say(self, line: str) -> None:
        """Show a line of text."""
        ...

    def expect(self, remaining: float) -> None:
        """The work that is left, as far as is known."""
        ...

    def begin(self, label: str) -> None:
        """Something starts."""
        ...

    def advance(self, label: str, amount: float, *, loss: float | None = None) -> None:
        """Something that runs has done this much more, and has this training loss now."""
        ...

    def spare(self, amount: float) -> None:
        """So much was not spent, for a run was ended before its whole budget."""
        ...

    def end(self, label: str, *, runs: int = 0) -> None:
        """Something is done; it was so many runs."""
        ...


class Unwatched:
    """Nobody watches."""

    def say(self, line: str) -> None:
        """Nothing is shown."""

    def expect(self, remaining: float) -> None:
        """Nothing is shown."""

    def begin(self, label: str) -> None:
        """Nothing is shown."""

    def advance(self, label: str, amount: float, *, loss: float | None = None) -> None:
        """Nothing is shown."""

    def spare(self, amount: float) -> None:
        """Nothing is shown."""

    def end(self, label: str, *, runs: int = 0) -> None:
        """Nothing is shown."""


@contextmanager
def showing(watcher: Watcher, label: str) -> Generator[Callable[[float], None]]:
    """A bar for something that reports its share."""
    done = 0.0
    watcher.begin(label)

    def report(share: float) -> None:
        nonlocal done
        watcher.advance(label, share - done)
        watcher.expect(1 - share)
        done = share

    yield report
    watcher.end(label)
