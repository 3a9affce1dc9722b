"""MNIST in its IDX files, packed or not."""

import math
import struct
from pathlib import Path

import numpy as np
import torch

from batchscope.replications.formats.files import check_folder, find_file, read_bytes, refuse

Images = tuple[torch.Tensor, torch.Tensor]

_IMAGES, _LABELS = 0x00000803, 0x00000801
# Twice what the 60,000 images to train on take.
_MOST = 2 * 60_000 * 28 * 28
_CLASSES = 10


def read_mnist(folder: Path, *, limit: int | None = None) -> tuple[Images, Images]:
    """Images of shape (n, 1, height, width) in [0, 1] with their classes: to train on, to test.

    Args:
        limit: images of each part; None for all.

    Raises:
        InvalidInput: a file is missing or is not what its first numbers say.
    """
    check_folder(folder)
    train, test = (_read_part(folder, part, limit) for part in ("train", "t10k"))
    sizes = ["x".join(map(str, images.shape[2:])) for images, _ in (train, test)]
    if sizes[0] != sizes[1]:
        raise refuse(
            folder, f"images of {sizes[0]} to train on and of {sizes[1]} to test", "one size"
        )
    return train, test


def _read_part(folder: Path, part: str, limit: int | None) -> Images:
    paths = [
        find_file(
            folder,
            *(f"{part}-{kind}{mark}ubyte{end}" for mark in ("-", ".") for end in (".gz", "")),
        )
        for kind in ("images-idx3", "labels-idx1")
    ]
    pixels, classes = _read(paths[0], _IMAGES, 3), _read(paths[1], _LABELS, 1)
    if len(pixels) != len(classes):
        raise refuse(
            paths[1], f"{len(classes):,} labels", f"one for each of {len(pixels):,} images"
        )
    if int(classes.max()) >= _CLASSES:
        raise refuse(paths[1], f"holds a label of {int(classes.max())}", "labels from 0 to 9")
    inputs = torch.tensor(pixels[:limit], dtype=torch.float32)[:, None] / 255
    return inputs, torch.tensor(classes[:limit], dtype=torch.int64)


def _read(path: Path, magic: int, dimensions: int) -> np.ndarray:
    content = read_bytes(path, _MOST)
    head = 4 + 4 * dimensions
    if len(content) < head:
        raise refuse(path, "ends before its sizes", f"at least {head} bytes")
    found, *sizes = struct.unpack(f">{1 + dimensions}I", content[:head])
    if found != magic:
        raise refuse(path, f"begins with {found:#010x}", f"{magic:#010x}, an IDX file of bytes")
    # Python's integers do not overflow.
    wanted = math.prod(sizes)
    if wanted == 0:
        raise refuse(path, f"sizes of {sizes}", "at least one image")
    if wanted != len(content) - head:
        raise refuse(path, f"{len(content) - head:,} bytes follow", f"{wanted:,} by its own sizes")
    return np.frombuffer(content, dtype=np.uint8, offset=head).reshape(sizes)
