from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from batchscope.errors import InvalidInput
from batchscope.replications.spelling import (
    make_task,
    misread_by_probe,
    misread_letters,
    read_recorded,
)
from batchscope.replications.talking import MASK_FRAMES
from batchscope.training.check import check_task

from .voices import say, write_chapter

pytest.importorskip("rapidfuzz")
COUNT, FRAMES, LETTERS = 60, 60, 12


def make_spelled() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One-hot frames, three to a letter and two of silence behind it, with their letters."""
    rng = np.random.default_rng(0)
    letters = torch.tensor(rng.integers(1, 6, (COUNT, LETTERS)))
    heard = torch.stack([letters, letters, letters, 0 * letters, 0 * letters], -1).flatten(1)
    return F.one_hot(heard, 6).float(), letters, torch.full((COUNT,), FRAMES)


def test_letters_that_stand_in_the_frames_are_read_without_an_error() -> None:
    assert misread_by_probe(*make_spelled()) == 0.0


def test_the_error_is_the_share_of_changes() -> None:
    frames, letters, lengths = make_spelled()
    said = letters[40:].clone()
    said[:, 0] = 28

    # One of twelve letters of those that judge is another one than its frames tell.
    found = misread_by_probe(frames, torch.cat([letters[:40], said]), lengths)
    assert found == pytest.approx(1 / LETTERS)


def test_frames_that_tell_nothing_leave_most_letters_misread() -> None:
    frames, letters, lengths = make_spelled()
    noise = torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))

    # Five letters alike often: the best guess without hearing gets a fifth of the letters.
    assert misread_by_probe(noise, letters, lengths) > 0.6


def test_frames_behind_the_end_of_a_recording_count_for_nothing() -> None:
    frames, letters, lengths = make_spelled()
    longer = torch.cat([frames, torch.full((COUNT, 20, 6), 9.0)], dim=1)

    assert misread_by_probe(longer, letters, lengths) == 0.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty speakers, of whom the first and the eleventh are kept apart for their letters."""
    place = tmp_path_factory.mktemp("voices")
    rng = np.random.default_rng(0)
    for speaker in range(100, 120):
        count, length = (30, 25) if speaker % 10 == 0 else (15, 60)
        said = {f"{speaker}-7-{n:04d}": say(rng, length) for n in range(count)}
        write_chapter(place, speaker, said)
    return place


def test_recordings_are_parted_by_speaker_and_train_the_network(folder: Path) -> None:
    pytest.importorskip("soundfile")
    pytest.importorskip("transformers")

    recorded = read_recorded(folder)
    task = make_task(recorded)

    assert [len(part) for part in recorded.train] == [270] * 4
    assert [len(part) for part in recorded.labelled] == [60] * 4
    assert not recorded.train[2].any()
    frames, masks, _, lengths = recorded.labelled
    # Two seconds: 25 letters of 0.08 seconds.
    assert set(lengths.tolist()) == {1 + (2000 - 25) // 20}
    assert not masks[:, int(lengths[0]) :].any()
    assert int(masks.sum(1).min()) >= MASK_FRAMES
    assert not frames[:, int(lengths[0]) :].any()
    check_task(task, precision="float32", device=torch.device("cpu"))
    # Letters of 0.08 seconds with resonances of their own: some are read without training.
    assert float(misread_letters(task.model(), recorded.labelled)) < 0.9
    assert float(misread_letters(task.model(), recorded.train)) == 1.0


def test_the_control_shuffles_the_frames_and_nothing_else(folder: Path) -> None:
    pytest.importorskip("soundfile")
    pytest.importorskip("transformers")

    plain, shuffled = (read_recorded(folder, is_shuffled=given) for given in (False, True))

    assert not torch.equal(plain.train[0], shuffled.train[0])
    for one, other in zip(plain.train[0][:5], shuffled.train[0][:5], strict=True):
        assert torch.allclose(one.sort(0).values, other.sort(0).values)


def test_too_few_recordings_are_refused_with_their_number(folder: Path) -> None:
    pytest.importorskip("soundfile")
    pytest.importorskip("transformers")

    with pytest.raises(InvalidInput) as caught:
        read_recorded(folder, limit=40)
    assert "10 recordings of over 4 seconds, and 30 shorter ones" in caught.value.args[0]
