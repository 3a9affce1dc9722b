"""What Batchscope raises."""

import math
import textwrap
from collections.abc import Iterable
from difflib import get_close_matches

_WIDTH = 80
_PART_LINES = 3
_MOST_SUGGESTED = 3


class BatchscopeError(Exception):
    """Base of every error raised on purpose.

    Its text has four parts: what was wrong, where, what was expected, what to do.
    """

    exit_code = 1

    def __init__(self, what: str, where: str, expected: str, do: str) -> None:
        # All four go to args, so that the error survives pickling between workers.
        super().__init__(what, where, expected, do)

    def __str__(self) -> str:
        """The four parts in at most 12 lines of at most 80 columns."""
        what, where, expected, do = self.args
        parts = [
            _wrap(what, first="", lines=_PART_LINES),
            _wrap(where, first="  where:    ", lines=_PART_LINES),
            _wrap(expected, first="  expected: ", lines=_PART_LINES),
            _wrap(do, first="  do:       ", lines=_PART_LINES),
        ]
        return "\n".join(parts)


class InvalidInput(BatchscopeError, ValueError):
    """A value that no computation could accept."""


class InvalidTask(InvalidInput):
    """A task that cannot be loaded or cannot be trained."""


class TaskCannotTravel(BatchscopeError):
    """A task that cannot be sent to another process."""


class StoreError(BatchscopeError):
    """A store that cannot be opened, read or written."""


class WorkerDied(BatchscopeError):
    """A worker process ended in the middle of a call.

    Attributes:
        worker_exit_code: of the process, negative for the signal that ended it.
    """

    worker_exit_code: int | None = None


class CannotTell(BatchscopeError):
    """The runs do not answer the question as a whole."""

    exit_code = 3


def check_above_zero(value: float, what: str, *, where: str, expected: str, do: str) -> None:
    """See that a number is finite and above 0.

    Raises:
        InvalidInput: it is not; its other arguments are those of the error.
    """
    if not 0 < value < math.inf:
        raise InvalidInput(what, where=where, expected=expected, do=do)


def suggest(name: str, known: Iterable[str], otherwise: str = "name one of these") -> str:
    """What to do about a name that is not known: the nearest that is, if one is near.

    Example:
        >>> suggest("val_los", ["val_loss", "error"])
        'did you mean val_loss?'
    """
    names = list(known)
    longer = [one for one in names if len(name) > 1 and one.lower().startswith(name.lower())]
    near = longer[:_MOST_SUGGESTED] or get_close_matches(name, names, 1)
    return f"did you mean {' or '.join(near)}?" if near else otherwise


def _wrap(text: str, *, first: str, lines: int) -> str:
    wrapped = textwrap.wrap(
        " ".join(text.split()),
        width=_WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        max_lines=lines,
        placeholder=" ...",
    )
    return "\n".join(wrapped)
