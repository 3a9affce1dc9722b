"""What all formats share: where files are, how much of one is read, what is left out."""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from batchscope.errors import InvalidInput

_CHUNK = 2**20
_SHOWN = 3
_LONGEST_PLACE = 80
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# How pickles of any protocol from 2 on begin.
_PICKLE = b"\x80"


class UnusableFile(InvalidInput):
    """A file, or a folder of files, that cannot be used.

    Attributes:
        why: without its path.
    """

    why: str = ""


@dataclass(slots=True)
class Skips:
    """Files or lines that were left out, and why.

    Attributes:
        reasons: reason -> the first places, and how many there were in all.
    """

    reasons: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    counts: dict[str, int] = field(default_factory=dict[str, int])

    def add(self, place: object, why: str) -> None:
        """Leave something out."""
        self.counts[why] = self.counts.get(why, 0) + 1
        places = self.reasons.setdefault(why, [])
        if len(places) < _SHOWN:
            # What a file says may be long, or speak to the terminal.
            shown = "".join(
                c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(place)
            )
            is_long = len(shown) > _LONGEST_PLACE
            places.append(shown[:_LONGEST_PLACE] + "..." * is_long)

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence per reason."""
        return tuple(
            f"Left out {self.counts[why]:,}: {why}, such as {', '.join(places)}."
            for why, places in self.reasons.items()
        )


def refuse(
    path: object, what: str, expected: str, do: str = "fetch the file again"
) -> UnusableFile:
    """The one error of a file that cannot be used."""
    error = UnusableFile(f"{path}: {what}", where="--data", expected=expected, do=do)
    error.why = what
    return error


def find_file(folder: Path, *names: str) -> Path:
    """The first of these that is there, below the folder or one level down, and inside it.

    Raises:
        InvalidInput: there is none, or it is a link to somewhere else.
    """
    for name in names:
        for path in (folder / name, *sorted(folder.glob(f"*/{name}"))):
            if path.is_file():
                return check_inside(folder, path)
    raise refuse(folder, f"there is no {names[0]}", f"one of {', '.join(names)}", "check --data")


def check_inside(folder: Path, path: Path) -> Path:
    """See that a path, its links followed, stays inside the folder.

    Raises:
        InvalidInput: it leaves it.
    """
    try:
        stays = path.resolve(strict=True).is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:
        # RuntimeError: links in a circle, before Python 3.13.
        raise refuse(path, "is a link that leads nowhere", "files of the folder itself") from error
    if not stays:
        raise refuse(path, "is a link that leaves the folder", "files of the folder itself")
    return path


def check_folder(folder: Path) -> Path:
    """See that there is such a folder.

    Raises:
        InvalidInput: there is not.
    """
    if not folder.is_dir():
        raise refuse(folder, "is no folder", "the folder of the data", "mend --data")
    return folder


def open_plain_or_gzip(path: Path) -> BinaryIO:
    """A file, unpacked on the way where its name ends in .gz."""
    return cast(BinaryIO, gzip.open(path) if path.suffix == ".gz" else path.open("rb"))


def read_bytes(path: Path, most: int) -> bytes:
    """A whole file, unpacked, of so many bytes at most; pickles are refused unread.

    Raises:
        InvalidInput: it is larger, is a pickle, or cannot be unpacked.
    """
    parts: list[bytes] = []
    size = 0
    try:
        with open_plain_or_gzip(path) as file:
            while chunk := file.read(_CHUNK):
                refuse_pickle(path, chunk if not parts else b"")
                parts.append(chunk)
                size += len(chunk)
                if size > most:
                    raise refuse(path, f"unpacks to more than {most:,} bytes", "a smaller file")
    except (OSError, EOFError, zlib.error) as error:
        raise refuse(path, f"cannot be read: {error}", "a whole file") from error
    return b"".join(parts)


def refuse_pickle(path: Path, start: bytes) -> None:
    """See that a file is no pickle, which would run code when read.

    Raises:
        InvalidInput: it is one, by its name or by its first byte.
    """
    if path.suffix in (".pkl", ".pickle") or (start[:1] == _PICKLE and start[1:2] < b"\x06"):
        raise refuse(path, "is a pickle, which would run code", "the binary version of the data")


def read_lines(
    path: Path, longest: int, skips: Skips, *, most: int | None = None
) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their numbers; those that are too long are left out, not held.

    A byte-order mark is no part of the first.

    Args:
        most: bytes that it may unpack to; None for any.

    Raises:
        InvalidInput: the file cannot be unpacked, or to no more than that.
    """
    try:
        with open_plain_or_gzip(path) as file:
            number, is_rest, size = 1, False, 0
            while line := file.readline(longest + 1):
                size += len(line)
                if most is not None and size > most:
                    raise refuse(path, f"unpacks to more than {most:,} bytes", "a smaller file")
                ends = line.endswith(b"\n") or len(line) <= longest
                if is_rest or not ends:
                    if ends:
                        skips.add(f"{path.name}:{number}", f"a line of over {longest:,} bytes")
                else:
                    yield number, line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
                is_rest = not ends
                number += ends
    except (OSError, EOFError, zlib.error) as error:
        raise refuse(path, f"cannot be read: {error}", "a whole file") from error
