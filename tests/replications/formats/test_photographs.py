from pathlib import Path

import numpy as np
import pytest

from batchscope.errors import InvalidInput
from batchscope.replications.formats.photographs import read_photographs

image = pytest.importorskip("PIL.Image")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number, name in enumerate(("Cat", "Dog")):
        inner = tmp_path / "PetImages" / name
        inner.mkdir(parents=True)
        for place in range(3):
            shade = rng.integers(0, 100, (20, 30, 3), dtype=np.uint8) + 100 * number
            image.fromarray(shade.astype(np.uint8)).save(inner / f"{place}.jpg")
    return tmp_path


def test_classes_are_numbered_by_their_names_and_images_have_one_size(folder: Path) -> None:
    images, classes, skips = read_photographs(folder, side=16)

    assert images.shape == (6, 3, 16, 16)
    assert classes.tolist() == [0, 0, 0, 1, 1, 1]
    assert images[:3].mean() + 0.3 < images[3:].mean()
    assert skips.notes == ()


def test_what_is_no_photograph_is_left_out_and_counted(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cats = folder / "PetImages" / "Cat"
    (cats / "4.jpg").write_bytes(b"")
    (cats / "5.jpg").write_bytes(b"<html>moved</html>")
    frames = [image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 200)]
    frames[0].save(cats / "6.png", save_all=True, append_images=frames[1:])
    image.new("1", (30_000, 30_000)).save(cats / "7.png")
    outside = tmp_path_factory.mktemp("elsewhere") / "cat.jpg"
    frames[0].save(outside)
    (cats / "8.jpg").symlink_to(outside)
    whole = (cats / "0.jpg").read_bytes()
    (cats / "9.jpg").write_bytes(whole[: len(whole) // 2])
    image.new("CMYK", (8, 8)).save(cats / "10.jpg")
    (cats / "11.jpg").symlink_to(cats / "gone.jpg")
    (cats / "12.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (folder / "PetImages" / ".hidden").mkdir()

    images, classes, skips = read_photographs(folder, side=16)

    # The one in CMYK is a photograph like any other.
    assert classes.tolist() == [0] * 4 + [1] * 3
    said = " ".join(skips.notes)
    for why in ("an empty file", "an animation", "pixels", "a link", "no image"):
        assert why in said
    assert len(images) == 7


def test_one_class_alone_is_refused(folder: Path) -> None:
    for path in (folder / "PetImages" / "Dog").iterdir():
        path.unlink()

    with pytest.raises(InvalidInput) as caught:
        read_photographs(folder)
    assert "images of 1 class" in " ".join(map(str, caught.value.args))


def test_a_limit_takes_so_many_of_each_class(folder: Path) -> None:
    assert read_photographs(folder, side=16, limit=2)[1].tolist() == [0, 0, 1, 1]


def test_a_link_in_place_of_the_images_that_leaves_the_folder_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "PetImages").symlink_to(folder / "PetImages")

    with pytest.raises(InvalidInput) as caught:
        read_photographs(given, side=16)
    assert "is a link that leaves the folder" in caught.value.args[0]
