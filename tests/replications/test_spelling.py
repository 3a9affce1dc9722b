import numpy as np
import pytest
import torch
from torch.nn import functional as F

from batchscope.replications.spelling import misread_letters

pytest.importorskip("rapidfuzz")
COUNT, FRAMES, LETTERS = 60, 60, 12


def make_spelled() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One-hot frames, three to a letter and two of silence behind it, with their letters."""
    rng = np.random.default_rng(0)
    letters = torch.tensor(rng.integers(1, 6, (COUNT, LETTERS)))
    heard = torch.stack([letters, letters, letters, 0 * letters, 0 * letters], -1).flatten(1)
    return F.one_hot(heard, 6).float(), letters, torch.full((COUNT,), FRAMES)


def test_letters_that_stand_in_the_frames_are_read_without_an_error() -> None:
    assert misread_letters(*make_spelled()) == 0.0


def test_the_error_is_the_share_of_changes() -> None:
    frames, letters, lengths = make_spelled()
    said = letters[40:].clone()
    said[:, 0] = 28

    # One of twelve letters of those that judge is another one than its frames tell.
    found = misread_letters(frames, torch.cat([letters[:40], said]), lengths)
    assert found == pytest.approx(1 / LETTERS)


def test_frames_that_tell_nothing_leave_most_letters_misread() -> None:
    frames, letters, lengths = make_spelled()
    noise = torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))

    # Five letters alike often: the best guess without hearing gets a fifth of the letters.
    assert misread_letters(noise, letters, lengths) > 0.6


def test_frames_behind_the_end_of_a_recording_count_for_nothing() -> None:
    frames, letters, lengths = make_spelled()
    longer = torch.cat([frames, torch.full((COUNT, 20, 6), 9.0)], dim=1)

    assert misread_letters(longer, letters, lengths) == 0.0


def test_features_that_are_no_numbers_tell_nothing() -> None:
    frames, letters, lengths = make_spelled()
    frames[50, 3] = torch.nan

    assert misread_letters(frames, letters, lengths) == 1.0
