import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batchscope.errors import InvalidInput
from batchscope.replications.formats.brain_scans import read_brain_scans

nibabel: Any = pytest.importorskip("nibabel")
SHAPE = (24, 24, 16)


def save(folder: Path, name: str, kind: str, voxels: np.ndarray, affine: np.ndarray) -> Path:
    path = folder / name / f"{name}_{kind}.nii.gz"
    path.parent.mkdir(exist_ok=True)
    nibabel.Nifti1Image(voxels.astype(np.float32), affine).to_filename(path)
    return path


def add_person(folder: Path, name: str, *, x: int, flipped: bool = False) -> Path:
    """A head of ones with a lesion of six voxels about a place on the first axis."""
    scan, outline = np.zeros(SHAPE), np.zeros(SHAPE)
    scan[2:22, 2:22, 2:14] = 1
    outline[x - 1 : x + 1, 10:12, 8] = 4
    scan += outline / 4
    turn = np.diag([-1.0, 1.0, 1.0, 1.0]) if flipped else np.eye(4)
    save(folder, name, "seg", outline, turn)
    return save(folder, name, "flair", scan, turn)


def test_the_place_of_a_lesion_is_right_of_the_middle_whichever_way_the_axes_run(
    tmp_path: Path,
) -> None:
    add_person(tmp_path, "a", x=17)
    add_person(tmp_path, "b", x=17, flipped=True)

    scans, places, skips = read_brain_scans(tmp_path, side=8)

    assert scans.shape == (2, 1, 8, 8, 8)
    # From 2 to 21 the middle is 11.5: the lesion's mean is 5 of 9.5 halves to one side.
    assert places.tolist() == pytest.approx([5 / 9.5, -5 / 9.5], abs=1e-5)
    assert skips.notes == ()
    assert float(scans.max()) <= 1


def test_what_cannot_be_used_is_left_out_and_counted(tmp_path: Path) -> None:
    for name in ("a", "cut", "nan", "alone", "empty"):
        add_person(tmp_path, name, x=17)
    path = tmp_path / "cut" / "cut_flair.nii.gz"
    path.write_bytes(path.read_bytes()[:300])
    save(tmp_path, "nan", "flair", np.full(SHAPE, np.nan), np.eye(4))
    (tmp_path / "alone" / "alone_seg.nii.gz").unlink()
    save(tmp_path, "empty", "seg", np.zeros(SHAPE), np.eye(4))

    scans, _, skips = read_brain_scans(tmp_path, side=8)

    assert len(scans) == 1
    said = " ".join(skips.notes)
    for why in ("cannot be read", "no numbers", "no seg file", "an empty outline"):
        assert why in said


def test_a_colon_in_the_path_of_the_folder_does_not_cut_the_reason(tmp_path: Path) -> None:
    folder = tmp_path / "BraTS: training"
    folder.mkdir()
    for name in ("good", "nan"):
        add_person(folder, name, x=17)
    save(folder, "nan", "flair", np.full(SHAPE, np.nan), np.eye(4))

    _, _, skips = read_brain_scans(folder, side=8)

    assert skips.notes == ("Left out 1: voxels that are no numbers, such as nan.",)


def test_a_header_of_a_million_million_voxels_is_refused_before_it_is_read(
    tmp_path: Path,
) -> None:
    path = add_person(tmp_path, "a", x=17)
    header = bytearray(gzip.decompress(path.read_bytes()))
    header[40:48] = np.array([3, 10_000, 10_000, 10_000], dtype="<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(header)))

    with pytest.raises(InvalidInput) as caught:
        read_brain_scans(tmp_path)
    assert "(10000, 10000, 10000)" in caught.value.args[0]


@pytest.mark.parametrize(
    ("at", "content"),
    [
        (70, np.array(9999, dtype="<i2").tobytes()),
        (70, np.array(128, dtype="<i2").tobytes() + np.array(24, dtype="<i2").tobytes()),
        (280, np.zeros(12, dtype="<f4").tobytes()),
    ],
    ids=["no datatype", "colours", "no affine"],
)
def test_a_header_that_makes_no_sense_leaves_its_person_out(
    tmp_path: Path, at: int, content: bytes
) -> None:
    add_person(tmp_path, "good", x=17)
    path = add_person(tmp_path, "odd", x=17)
    header = bytearray(gzip.decompress(path.read_bytes()))
    header[at : at + len(content)] = content
    path.write_bytes(gzip.compress(bytes(header)))

    scans, _, skips = read_brain_scans(tmp_path, side=8)

    assert len(scans) == 1
    assert "cannot be read, such as odd" in " ".join(skips.notes)


@pytest.mark.parametrize("what", ["nothing", "an offset beyond all"])
def test_a_file_that_is_none_leaves_its_person_out(tmp_path: Path, what: str) -> None:
    add_person(tmp_path, "good", x=17)
    path = add_person(tmp_path, "odd", x=17)
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[108:112] = np.array(1e30, dtype="<f4").tobytes()
    path.write_bytes(b"" if what == "nothing" else gzip.compress(bytes(content)))

    scans, _, skips = read_brain_scans(tmp_path, side=8)

    assert len(scans) == 1
    assert skips.notes == ("Left out 1: cannot be read, such as odd.",)


def test_a_folder_without_people_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_brain_scans(tmp_path)
    assert "_flair.nii.gz" in " ".join(map(str, caught.value.args))
