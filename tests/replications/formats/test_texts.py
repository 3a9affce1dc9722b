import gzip
import json
import os
import tracemalloc
from pathlib import Path

import pytest

from batchscope.errors import InvalidInput
from batchscope.replications.formats import texts
from batchscope.replications.formats.texts import read_texts


def line(text: str) -> bytes:
    return json.dumps({"text": text, "url": "https://example.org"}).encode() + b"\n"


def test_texts_are_read_in_the_order_of_the_names_packed_or_not(tmp_path: Path) -> None:
    (tmp_path / "en").mkdir()
    first, second = "c4-train.00000-of-00002.json.gz", "c4-train.00001-of-00002.jsonl"
    (tmp_path / "en" / first).write_bytes(gzip.compress(line("one") + line("two")))
    (tmp_path / "en" / second).write_bytes(line("größer"))
    (tmp_path / "en" / "README.md").write_text("nothing")

    text, skips = read_texts(tmp_path)

    assert text == "one\ntwo\ngrößer".encode()
    assert skips.notes == ()
    assert read_texts(tmp_path, limit=2)[0] == b"one\ntwo"


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b'{"text": "\xff\xfe"}\n', "lines without a text"),
        (b'{"url": "x"}\n', "lines without a text"),
        (b'{"text": 3}\n', "lines without a text"),
        (b'["text"]\n', "lines without a text"),
        (b"<html>\n", "lines without a text"),
        (b"[" * 100_000 + b"\n", "lines without a text"),
        (b'{"text": "' + bytes(5_000_000) + b'"}\n', "a line of over 4,194,304 bytes"),
    ],
    ids=["utf-8", "no-key", "number", "list", "html", "nested", "long"],
)
def test_lines_that_cannot_be_used_are_left_out_and_counted(
    tmp_path: Path, bad: bytes, why: str
) -> None:
    (tmp_path / "a.jsonl").write_bytes(line("one") + bad + line("two"))

    text, skips = read_texts(tmp_path)

    assert text == b"one\ntwo"
    (note,) = skips.notes
    assert note == f"Left out 1: {why}, such as a.jsonl:2."


def test_half_of_a_pair_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{"text": "a\\ud800b"}\n')

    assert read_texts(tmp_path)[0] == b"a?b"


def test_of_a_file_that_is_cut_what_comes_before_counts(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(line(f"text {number} " * 50) for number in range(2000)))
    (tmp_path / "a.json.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b.json").write_bytes(line("last"))

    text, skips = read_texts(tmp_path)

    assert text.startswith(b"text 0 ")
    assert text.endswith(b"\nlast")
    assert "cannot be read" in skips.notes[0]


def test_a_colon_in_the_path_of_the_folder_does_not_cut_the_reason(tmp_path: Path) -> None:
    folder = tmp_path / "C4: en"
    folder.mkdir()
    (folder / "a.json.gz").write_bytes(gzip.compress(line("text"))[:-9])
    (folder / "b.json").write_bytes(line("last"))

    _, skips = read_texts(folder)

    assert skips.notes[0].startswith("Left out 1: cannot be read")


def test_reading_stops_at_so_much_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "_MOST_BYTES", 10)
    (tmp_path / "a.json").write_bytes(b"".join(line(f"text {number}") for number in range(9)))

    assert read_texts(tmp_path)[0] == b"text 0\ntext 1"


def test_links_to_somewhere_else_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside.json").write_bytes(line("secret"))
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.json").symlink_to(tmp_path / "outside.json")

    with pytest.raises(InvalidInput) as caught:
        read_texts(folder)
    assert "a link that leaves the folder, such as a.json" in caught.value.args[0]


def write_bomb(path: Path, piece: bytes, pieces: int) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(pieces):
            file.write(piece)


@pytest.mark.parametrize(
    ("piece", "why"),
    [
        (bytes(2**20), "unpacks to more than 67,108,864 bytes"),
        (b"\n" * 2**20, "has more than 1,000 lines"),
    ],
    ids=["no-line", "empty-lines"],
)
def test_a_bomb_is_left_out_and_never_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: bytes, why: str
) -> None:
    monkeypatch.setattr(texts, "_MOST_UNPACKED", 2**26)
    monkeypatch.setattr(texts, "_MOST_LINES", 1000)
    write_bomb(tmp_path / "a.json.gz", piece, 80)
    (tmp_path / "b.json").write_bytes(line("one"))

    tracemalloc.start()
    text, skips = read_texts(tmp_path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert text == b"one"
    assert any(why in note for note in skips.notes)
    # A line that is too long is read in pieces of 4 MiB.
    assert most < 2**25


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    (tmp_path / "b.json").mkdir()
    (tmp_path / "c.json").write_bytes(line("one"))

    assert read_texts(tmp_path)[0] == b"one"


def test_a_folder_without_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_texts(tmp_path)
    assert "there are no such files" in caught.value.args[0]
