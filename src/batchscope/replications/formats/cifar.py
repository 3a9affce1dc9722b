"""CIFAR-10 in its binary version: a record is its label and 3 x 32 x 32 bytes."""

from pathlib import Path

import numpy as np
import torch

from batchscope.replications.formats.files import check_folder, find_file, read_bytes, refuse

Images = tuple[torch.Tensor, torch.Tensor]

_PIXELS = 3 * 32 * 32
# Twice the records that a file has.
_MOST = 20_000 * (1 + _PIXELS)
_CLASSES = 10


def read_cifar10(folder: Path, *, limit: int | None = None) -> tuple[Images, Images]:
    """Images of shape (n, 3, 32, 32) in [0, 1] with their classes: to train on, and to test.

    Args:
        limit: images of each part; None for all.

    Raises:
        InvalidInput: a file is missing, cut, a pickle, or no such file.
    """
    check_folder(folder)
    batches = [f"data_batch_{number}.bin" for number in range(1, 6)]
    train = [_read(find_file(folder, name)) for name in batches]
    test = _read(find_file(folder, "test_batch.bin"))
    return _as_tensors(np.concatenate(train), limit), _as_tensors(test, limit)


def _read(path: Path) -> np.ndarray:
    """Records of the class and its pixels, shape (n, 1 + pixels)."""
    content = np.frombuffer(read_bytes(path, _MOST), dtype=np.uint8)
    length = 1 + _PIXELS
    if len(content) == 0 or len(content) % length:
        raise refuse(
            path, f"{len(content):,} bytes are no whole number of records", f"{length} bytes each"
        )
    records = content.reshape(-1, length)
    highest = int(records[:, 0].max())
    if highest >= _CLASSES:
        raise refuse(path, f"holds a label of {highest}", f"labels from 0 to {_CLASSES - 1}")
    return records


def _as_tensors(records: np.ndarray, limit: int | None) -> Images:
    records = records[:limit]
    pixels = torch.tensor(records[:, 1:], dtype=torch.float32).reshape(-1, 3, 32, 32) / 255
    return pixels, torch.tensor(records[:, 0], dtype=torch.int64)
