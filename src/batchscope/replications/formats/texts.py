"""Texts as in C4: files of JSON lines, packed or not, each line with its `text`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from batchscope.replications.formats.files import (
    Skips,
    UnusableFile,
    check_folder,
    check_inside,
    read_lines,
    refuse,
)

_LONGEST_LINE = 2**22
_MOST_BYTES = 2**28
# Of each file, unpacked: a part of C4 has less than 1 GB and a million lines.
_MOST_UNPACKED, _MOST_LINES = 2**32, 10_000_000
_ENDINGS = (".json.gz", ".jsonl.gz", ".json", ".jsonl")


def read_texts(folder: Path, *, limit: int | None = None) -> tuple[bytes, Skips]:
    """The texts of all files in the order of their names, a line between two, in UTF-8.

    Reading stops at 256 MiB of text. Lines that are too long, no JSON, no UTF-8 or without a text
    are left out and counted; so are links to somewhere else, and the rest of a file that is cut.

    Args:
        limit: texts; None for all.

    Raises:
        InvalidInput: no text was found.
    """
    check_folder(folder)
    named = [path for path in sorted(folder.rglob("*")) if path.name.endswith(_ENDINGS)]
    skips = Skips()
    joined = bytearray()
    count = 0
    # What is no file, such as a pipe, may be waited for without end.
    for path in (path for path in named if path.is_file()):
        try:
            for number, line in _read_lines(check_inside(folder, path), skips):
                if count == limit or len(joined) > _MOST_BYTES:
                    return bytes(joined[:-1]), skips
                text = _read_text(line)
                if text is None:
                    skips.add(f"{path.name}:{number}", "lines without a text")
                    continue
                joined += text + b"\n"
                count += 1
        except UnusableFile as error:
            skips.add(path.name, error.why)
    if not count:
        raise refuse(
            folder,
            "; ".join(skips.notes) or "there are no such files",
            'files of JSON lines such as c4-train.00000-of-01024.json.gz, each with a "text"',
        )
    return bytes(joined[:-1]), skips


def _read_lines(path: Path, skips: Skips) -> Iterator[tuple[int, bytes]]:
    for number, line in read_lines(path, _LONGEST_LINE, skips, most=_MOST_UNPACKED):
        if number > _MOST_LINES:
            raise refuse(path, f"has more than {_MOST_LINES:,} lines", "a file of C4")
        yield number, line


def _read_text(line: bytes) -> bytes | None:
    """The text of a line; None where it has none."""
    try:
        record: object = json.loads(line)
    except (ValueError, RecursionError):
        return None
    text = cast(dict[str, Any], record).get("text") if isinstance(record, dict) else None
    if not isinstance(text, str) or not text:
        return None
    # What JSON may escape and UTF-8 may not hold, such as half of a pair.
    return text.encode("utf-8", errors="replace")
