import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from batchscope.errors import InvalidInput
from batchscope.replications.formats.mnist import read_mnist

IMAGES, LABELS = 0x803, 0x801


def idx(values: np.ndarray, magic: int) -> bytes:
    head = struct.pack(f">{1 + values.ndim}I", magic, *values.shape)
    return head + values.astype(np.uint8).tobytes()


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 28, 28))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part, count in (("train", 12), ("t10k", 5)):
        labels = np.arange(count) % 10
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(
            gzip.compress(idx(pixels(count), IMAGES))
        )
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels, LABELS))
    return tmp_path


def test_images_and_labels_are_read_packed_or_not(folder: Path) -> None:
    (images, classes), (tests, _) = read_mnist(folder)

    assert images.shape == (12, 1, 28, 28)
    assert tests.shape == (5, 1, 28, 28)
    assert classes.tolist() == [*range(10), 0, 1]
    np.testing.assert_allclose(images[:, 0].numpy(), pixels(12) / 255, atol=1e-6)


def write_images(folder: Path, content: bytes) -> None:
    (folder / "train-images-idx3-ubyte.gz").write_bytes(content)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(idx(pixels(12), LABELS)), "begins with 0x00000801"),
        (gzip.compress(idx(pixels(12), IMAGES)[:-5]), "bytes follow"),
        (gzip.compress(idx(pixels(11), IMAGES)), "12 labels"),
        (gzip.compress(struct.pack(">4I", IMAGES, 2**31, 2**31, 4)), "bytes follow"),
        (gzip.compress(struct.pack(">4I", IMAGES, 0, 28, 28)), "sizes of [0, 28, 28]"),
        (gzip.compress(b"\0\0"), "ends before its sizes"),
        (gzip.compress(idx(pixels(12), IMAGES))[:-200], "cannot be read"),
        (b"<html>not found</html>", "cannot be read"),
        (gzip.compress(bytes(200_000_000), 1), "unpacks to more than"),
    ],
    ids=["magic", "cut", "unequal", "overflow", "none", "head", "gzip-cut", "html", "bomb"],
)
def test_what_is_no_such_file_is_refused_by_name(folder: Path, content: bytes, said: str) -> None:
    write_images(folder, content)

    with pytest.raises(InvalidInput) as caught:
        read_mnist(folder)
    what = caught.value.args[0]
    assert "train-" in what
    assert said in what


def test_images_of_two_sizes_are_refused(folder: Path) -> None:
    small = np.zeros((5, 6, 6))
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(small, IMAGES)))

    with pytest.raises(InvalidInput) as caught:
        read_mnist(folder)
    assert "images of 28x28 to train on and of 6x6 to test" in caught.value.args[0]
