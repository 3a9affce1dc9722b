import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from batchscope.errors import InvalidInput
from batchscope.replications.formats.recordings import BANDS, read_recordings

from ..voices import HERTZ, speak, write_chapter

soundfile: Any = pytest.importorskip("soundfile")
pytest.importorskip("transformers")
SHORT, LONG = "AN ECHO", "A SENTENCE THAT IS LONGER THAN ITS WINDOW"


@pytest.mark.parametrize("ending", [".flac", ".wav"])
def test_short_recordings_are_kept_whole_and_of_long_ones_a_window(
    tmp_path: Path, ending: str
) -> None:
    write_chapter(tmp_path, 19, {"19-7-0000": SHORT, "19-7-0001": LONG}, ending=ending)

    (short, long), skips = read_recordings(tmp_path, window=50)

    # Frames of 25 ms every 20 ms, of 0.08 seconds a letter.
    assert short.frames.shape == (1 + (80 * len(SHORT) - 25) // 20, BANDS)
    assert long.frames.shape == (50, BANDS)
    assert (short.is_whole, long.is_whole) == (True, False)
    assert (short.speaker, short.text) == ("19", SHORT)
    assert skips.notes == ()
    for one in (short, long):
        assert one.frames.mean(0).abs().max() < 1e-4


def test_a_tone_is_loudest_in_the_band_that_holds_it(tmp_path: Path) -> None:
    chapter = write_chapter(tmp_path, 19, {"19-7-0000": SHORT})
    seconds = np.arange(HERTZ) / HERTZ
    # Bands are normalised over time: the tone of 1,000 Hz sounds in the second half only.
    tone = np.sin(2 * np.pi * 1000 * seconds) * (seconds > 0.5)
    noise = 1e-3 * np.random.default_rng(0).standard_normal(HERTZ)
    soundfile.write(chapter / "19-7-0000.flac", tone + noise, HERTZ)

    ((one,), _) = read_recordings(tmp_path, window=100)

    # Mel scale: 2595 log10(1 + f/700), in 41 equal parts from 20 Hz to 8 kHz; the middles of bands.
    low, high, at = (2595 * np.log10(1 + f / 700) for f in (20, 8000, 1000))
    band = round((at - low) / ((high - low) / (BANDS + 1))) - 1
    rise = one.frames[30:].mean(0) - one.frames[:20].mean(0)
    # Neighbouring bands overlap by half.
    assert abs(int(rise.argmax()) - band) <= 1


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    chapter = write_chapter(tmp_path, 19, {"19-7-0000": SHORT})
    (chapter / "19-7.trans.txt").write_text(f"\ufeff19-7-0000 {SHORT}\n", encoding="utf-8")

    found, skips = read_recordings(tmp_path, window=50)

    assert [one.text for one in found] == [SHORT]
    assert skips.notes == ()


def test_what_cannot_be_used_is_left_out_and_counted(tmp_path: Path) -> None:
    names = ("cut", "page", "nan", "rate", "stereo", "gone", "good", "empty", "loud")
    chapter = write_chapter(tmp_path, 1, {f"1-7-{name}": LONG for name in names}, ending=".wav")
    sound = speak(LONG, 1)

    def write(name: str, samples: np.ndarray, hertz: int = HERTZ, kind: str | None = None) -> None:
        soundfile.write(chapter / f"1-7-{name}.wav", samples, hertz, subtype=kind)

    path = chapter / "1-7-cut.wav"
    path.write_bytes(path.read_bytes()[:30])
    (chapter / "1-7-page.wav").write_text("<html>not found</html>")
    write("nan", np.full(HERTZ, np.nan), kind="FLOAT")
    write("rate", sound, hertz=8000)
    write("stereo", np.stack([sound, sound], 1))
    write("empty", sound[:0])
    write("loud", np.float32(1e30) * sound, kind="FLOAT")
    (chapter / "1-7-gone.wav").unlink()
    write("untold", sound)
    with (chapter / "1-7.trans.txt").open("a") as lines:
        lines.write(f"../1-7-good OUT OF IT\nalone\n{300 * 'x'} LONG\n1-7-good AGAIN\n")
    (chapter / "2-7.trans.txt").symlink_to(chapter / "nowhere")

    found, skips = read_recordings(tmp_path, window=50)

    assert [one.text for one in found] == [LONG]
    said = " ".join(skips.notes)
    for why in (
        "Left out 2: cannot be read",
        "Left out 2: samples that are no numbers, or far too large",
        "Left out 1: a name that was told before",
        "Left out 1: transcripts that are no files",
        "8,000 Hz in 1 channels",
        "16,000 Hz in 2 channels",
        "shorter than a frame",
        "Left out 1: a transcript without its recording, such as 1-7.trans.txt:6",
        "Left out 1: a recording without its transcript, such as 1-7-untold.wav",
        "Left out 3: lines without a name and a text",
    ):
        assert why in said


def test_a_header_that_promises_more_than_there_is_takes_no_memory(tmp_path: Path) -> None:
    chapter = write_chapter(tmp_path, 1, {"1-7-0": LONG, "1-7-1": LONG})
    content = bytearray((chapter / "1-7-0.flac").read_bytes())
    # The last 36 bits before the checksum of the first block count the samples.
    content[21:26] = bytes([content[21] | 0x0F, 0xFF, 0xFF, 0xFF, 0xFF])
    (chapter / "1-7-0.flac").write_bytes(content)

    found, skips = read_recordings(tmp_path, window=50)

    assert len(found) == 1
    assert "longer than a minute" in skips.notes[0]


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    chapter = write_chapter(inside, 1, {"1-7-0": LONG, "1-7-1": LONG})
    os.rename(chapter / "1-7-0.flac", tmp_path / "secret.flac")
    (chapter / "1-7-0.flac").symlink_to(tmp_path / "secret.flac")

    found, skips = read_recordings(inside, window=50)

    assert len(found) == 1
    assert "link that leaves the folder" in skips.notes[0]


@pytest.mark.parametrize("folder", ["empty", "nowhere"])
def test_a_folder_without_speech_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(InvalidInput) as caught:
        read_recordings(tmp_path / folder, window=50)
    assert folder in caught.value.args[0]


def test_the_same_windows_are_drawn_twice_and_a_limit_takes_the_first(tmp_path: Path) -> None:
    write_chapter(tmp_path, 1, {f"1-7-{n}": LONG for n in range(4)})

    first, _ = read_recordings(tmp_path, window=50)
    second, _ = read_recordings(tmp_path, window=50, limit=3)

    assert (len(first), len(second)) == (4, 3)
    assert all(torch.equal(a.frames, b.frames) for a, b in zip(first, second, strict=False))
    assert not torch.equal(first[0].frames, first[1].frames)
