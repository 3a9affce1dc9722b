from pathlib import Path

import pytest
import torch

from batchscope.errors import InvalidInput
from batchscope.replications.recorded import make_task, misread, read_recorded
from batchscope.replications.talking import MASK_FRAMES
from batchscope.training.check import check_task

from .voices import write_voices

for module in ("soundfile", "transformers", "rapidfuzz"):
    pytest.importorskip(module)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_voices(tmp_path_factory.mktemp("voices"))


def test_recordings_are_parted_by_speaker_and_train_the_network(folder: Path) -> None:
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
    assert recorded.notes[0].startswith("Trained on 270 recordings; letters are read from 60")
    # Letters of 0.08 seconds with resonances of their own: some are read without training.
    assert float(misread(task.model(), recorded.labelled)) < 0.9
    assert float(misread(task.model(), recorded.train)) == 1.0


def test_the_control_shuffles_the_frames_and_nothing_else(folder: Path) -> None:
    plain, shuffled = (read_recorded(folder, is_shuffled=given) for given in (False, True))

    for ours, theirs in ((plain.train, shuffled.train), (plain.labelled, shuffled.labelled)):
        assert not torch.equal(ours[0], theirs[0])
        assert all(torch.equal(a, b) for a, b in zip(ours[1:], theirs[1:], strict=True))
        for one, other, length in zip(ours[0][:5], theirs[0], ours[3], strict=False):
            # Whole frames change places, none gets another band's value, silence stays behind.
            rows = {tuple(row) for row in one[: int(length)].tolist()}
            assert rows == {tuple(row) for row in other[: int(length)].tolist()}
            assert not other[int(length) :].any()


def test_too_few_recordings_are_refused_with_their_number(folder: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_recorded(folder, limit=40)
    assert "10 recordings of over 4 seconds, and 30 shorter ones" in caught.value.args[0]
