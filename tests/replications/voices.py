"""A folder of recordings as LibriSpeech has them, of voices that are made here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

HERTZ = 16_000
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ '"


def speak(text: str, speaker: int) -> np.ndarray:
    """Harmonics of a pitch through the two resonances of each letter, 0.08 seconds each."""
    own = np.random.default_rng(speaker)
    pitch, scale = own.uniform(90, 220), own.uniform(0.88, 1.12)
    resonances = np.random.default_rng(0).uniform([250, 900], [850, 3000], (len(LETTERS), 2))
    harmonics = np.arange(1, int(4000 / pitch)) * pitch
    seconds = np.arange(int(0.08 * HERTZ)) / HERTZ
    waves = np.sin(2 * np.pi * harmonics[:, None] * seconds)
    loud = np.exp(-np.square((harmonics[:, None] - scale * resonances[:, None]) / 80)).sum(-1)
    sound = np.concatenate([(loud @ waves)[LETTERS.index(letter)] for letter in text])
    return (0.1 * sound + 0.005 * own.standard_normal(len(sound))).astype(np.float32)


def say(rng: np.random.Generator, length: int) -> str:
    """Words of letters, with so many characters in all."""
    letters = rng.choice(list(LETTERS[:-2]), length)
    letters[rng.choice(np.arange(1, length - 1), length // 6, replace=False)] = " "
    return "".join(letters)


def write_chapter(
    folder: Path, speaker: int, said: Mapping[str, str], *, ending: str = ".flac"
) -> Path:
    """The folder of a chapter, with a line and a file for each."""
    import soundfile as untyped

    soundfile: Any = untyped
    chapter = folder / "train-clean-100" / str(speaker) / "7"
    chapter.mkdir(parents=True)
    for name, text in said.items():
        soundfile.write(chapter / f"{name}{ending}", speak(text, speaker), HERTZ)
    lines = "".join(f"{name} {text}\n" for name, text in said.items())
    (chapter / f"{speaker}-7.trans.txt").write_text(lines)
    return chapter


def write_voices(folder: Path) -> Path:
    """Twenty speakers: the first and the eleventh say 30 short texts, the others 15 long ones."""
    rng = np.random.default_rng(0)
    for speaker in range(100, 120):
        count, length = (30, 25) if speaker % 10 == 0 else (15, 60)
        said = {f"{speaker}-7-{n:04d}": say(rng, length) for n in range(count)}
        write_chapter(folder, speaker, said)
    return folder
