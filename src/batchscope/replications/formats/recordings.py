"""Recorded speech with its transcripts, as in LibriSpeech: FLAC or WAV beside `*.trans.txt`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from batchscope.replications.formats.files import (
    Skips,
    UnusableFile,
    check_folder,
    check_inside,
    read_lines,
    refuse,
)
from batchscope.workers.extras import import_extra

BANDS = 40
_HERTZ = 16_000
_STEP, _SPAN, _SPECTRUM = 320, 400, 512
# Of the energy of a band, before its log is taken.
_QUIET = 1e-10
# LibriSpeech's longest takes 35 seconds.
_LONGEST = 60 * _HERTZ
_LONGEST_LINE = 10_000
# Of four seconds each their frames take 2 GB, where they are read and in every worker.
_MOST = 2**16
_LONGEST_NAME = 200
_ENDINGS = (".flac", ".wav")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What is kept of a recording.

    Attributes:
        frames: logs of the energy in 40 mel bands every 20 ms, shape (at most the window, 40), each
            band with mean 0 and deviation 1.
        is_whole: whether it is all of it, rather than a part.
        text: what is said in all of it, in capitals.
    """

    speaker: str
    frames: torch.Tensor
    is_whole: bool
    text: str


def read_recordings(
    folder: Path, *, window: int, limit: int | None = None
) -> tuple[list[Recording], Skips]:
    """Recordings in the order of their names, of longer ones a window at a place that is drawn.

    Each line of `SPEAKER-CHAPTER.trans.txt` names a file of its folder, `SPEAKER-CHAPTER-NUMBER`
    with .flac or .wav, and what is said in it. Reading stops at 65,536 recordings, and says so.

    Args:
        window: frames of 20 ms.
        limit: recordings; None for all.

    Raises:
        InvalidInput: no recording can be read.
    """
    soundfile = import_extra("soundfile", extra="data", where="--data")
    hear = _make_ear()
    skips = Skips()
    found: list[Recording] = []
    most = _MOST if limit is None else min(limit, _MOST)
    for path, text in _find_pairs(check_folder(folder), skips):
        if len(found) == most:
            if limit is None or limit > most:
                skips.add(path.name, f"all recordings after the first {most:,}")
            break
        try:
            sound, is_whole = _read(soundfile, check_inside(folder, path), window, len(found))
            frames = hear(sound)
            if not frames.isfinite().all():
                raise refuse(path, "samples that are no numbers, or far too large", "speech")
        except UnusableFile as error:
            skips.add(path.name, error.why)
            continue
        speaker = path.name.partition("-")[0]
        found.append(Recording(speaker=speaker, frames=frames, is_whole=is_whole, text=text))
    if not found:
        raise refuse(
            folder,
            "; ".join(skips.notes) or "there are no transcripts",
            "SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt with .flac or .wav files beside it",
        )
    return found, skips


def _find_pairs(folder: Path, skips: Skips) -> Iterator[tuple[Path, str]]:
    """Sound files with their texts; one without the other is left out."""
    told: dict[Path, set[str]] = {}
    for transcript in sorted(folder.rglob("*.trans.txt")):
        if not transcript.is_file():
            skips.add(transcript.name, "transcripts that are no files")
            continue
        beside_it = told.setdefault(transcript.parent, set())
        lines = read_lines(check_inside(folder, transcript), _LONGEST_LINE, skips)
        for number, line in lines:
            name, _, text = line.decode("utf-8", errors="replace").strip().partition(" ")
            place = f"{transcript.name}:{number}"
            if not text or Path(name).name != name or len(name.encode()) > _LONGEST_NAME:
                skips.add(place, "lines without a name and a text")
                continue
            if name in beside_it:
                skips.add(place, "a name that was told before")
                continue
            beside_it.add(name)
            paths = [transcript.with_name(name + ending) for ending in _ENDINGS]
            path = next((path for path in paths if path.is_file()), None)
            if path is None:
                skips.add(place, "a transcript without its recording")
            else:
                yield path, text
    for chapter, names in told.items():
        for path in sorted(chapter.iterdir()):
            if path.suffix in _ENDINGS and path.stem not in names:
                skips.add(path.name, "a recording without its transcript")


def _read(soundfile: Any, path: Path, window: int, seed: int) -> tuple[np.ndarray, bool]:
    """The samples of a window, and whether they are all there are.

    Raises:
        InvalidInput: it is broken, too short or too long, or not of one channel at 16 kHz.
    """
    wanted = _SPAN + (window - 1) * _STEP
    try:
        with soundfile.SoundFile(path) as file:
            length, rate, channels = file.frames, file.samplerate, file.channels
            if (rate, channels) != (_HERTZ, 1):
                raise refuse(
                    path, f"{rate:,} Hz in {channels} channels", f"{_HERTZ:,} Hz in one channel"
                )
            if not _SPAN <= length <= _LONGEST:
                raise refuse(path, "shorter than a frame or longer than a minute", "speech")
            spare = max(0, length - wanted)
            file.seek(int(np.random.default_rng(seed).integers(spare + 1)))
            sound: np.ndarray = file.read(min(length, wanted), dtype="float32")
    except (OSError, RuntimeError) as error:
        # RuntimeError is the parent of what soundfile raises.
        raise refuse(path, "cannot be read", "a whole FLAC or WAV file") from error
    if len(sound) < min(length, wanted):
        raise refuse(path, "cut short", "a whole FLAC or WAV file")
    return sound, spare == 0


def _make_ear() -> Callable[[np.ndarray], torch.Tensor]:
    """From samples to frames."""
    audio = import_extra("transformers.audio_utils", extra="data", where="--data")
    filters = torch.tensor(
        audio.mel_filter_bank(
            num_frequency_bins=_SPECTRUM // 2 + 1,
            num_mel_filters=BANDS,
            min_frequency=20.0,
            max_frequency=_HERTZ / 2,
            sampling_rate=_HERTZ,
        ),
        dtype=torch.float32,
    )
    shape = torch.hann_window(_SPAN)

    def hear(sound: np.ndarray) -> torch.Tensor:
        pieces = torch.from_numpy(sound).unfold(0, _SPAN, _STEP) * shape
        spectrum = cast(torch.Tensor, cast(Any, torch.fft).rfft(pieces, _SPECTRUM))
        energies = spectrum.abs().square() @ filters
        frames = energies.clamp_min(_QUIET).log()
        spread, mean = torch.std_mean(frames, dim=0, correction=0)
        return (frames - mean) / (spread + 1e-3)

    return hear
