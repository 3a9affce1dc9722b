from pathlib import Path

import numpy as np
import pytest
import torch

from batchscope.errors import InvalidInput
from batchscope.replications.formats.cifar import read_cifar10

BATCHES = [f"data_batch_{number}.bin" for number in range(1, 6)]


def records(count: int, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
    classes = rng.integers(0, 10, (count, 1), dtype=np.uint8)
    return np.concatenate([classes, pixels], axis=1).tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inner = tmp_path / "cifar-10-batches-bin"
    inner.mkdir()
    for seed, name in enumerate([*BATCHES, "test_batch.bin"]):
        (inner / name).write_bytes(records(4, seed))
    return tmp_path


def test_the_records_of_all_files_are_read_in_their_order(folder: Path) -> None:
    (images, classes), (tests, _) = read_cifar10(folder)

    second = np.frombuffer(records(4, 1), dtype=np.uint8).reshape(4, 3073)
    assert images.shape == (20, 3, 32, 32)
    assert tests.shape == (4, 3, 32, 32)
    assert classes[4:8].tolist() == second[:, 0].tolist()
    assert torch.equal(images[4].flatten(), torch.tensor(second[0, 1:]) / 255)


def test_a_limit_takes_the_first_of_each_part(folder: Path) -> None:
    (images, _), (tests, _) = read_cifar10(folder, limit=3)

    assert len(images) == len(tests) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (records(4, 0)[:-1], "no whole number of records"),
        (b"", "no whole number of records"),
        (bytes([10]) + bytes(3072), "a label of 10"),
        (b"\x80\x04" + bytes(3071), "would run code"),
    ],
)
def test_what_is_no_such_file_is_refused_by_name(folder: Path, content: bytes, said: str) -> None:
    (folder / "cifar-10-batches-bin" / "data_batch_3.bin").write_bytes(content)

    with pytest.raises(InvalidInput) as caught:
        read_cifar10(folder)
    what = caught.value.args[0]
    assert "data_batch_3.bin" in what
    assert said in what


def test_a_missing_file_and_a_missing_folder_are_named(folder: Path) -> None:
    (folder / "cifar-10-batches-bin" / "data_batch_5.bin").unlink()

    with pytest.raises(InvalidInput) as caught:
        read_cifar10(folder)
    assert "data_batch_5" in " ".join(map(str, caught.value.args))
    with pytest.raises(InvalidInput) as caught:
        read_cifar10(folder / "none")
    assert "is no folder" in " ".join(map(str, caught.value.args))


def test_a_link_that_leaves_the_folder_is_not_followed(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "secret"
    elsewhere.write_bytes(records(4, 0))
    path = folder / "cifar-10-batches-bin" / "data_batch_2.bin"
    path.unlink()
    path.symlink_to(elsewhere)

    with pytest.raises(InvalidInput) as caught:
        read_cifar10(folder)
    assert "leaves the folder" in " ".join(map(str, caught.value.args))
