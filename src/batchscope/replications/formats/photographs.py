"""Photographs in a folder per class, such as PetImages/Cat and PetImages/Dog."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from batchscope.errors import InvalidInput
from batchscope.replications.formats.files import (
    Skips,
    check_folder,
    check_inside,
    refuse,
)
from batchscope.workers.extras import import_extra

# Of one photograph: what nobody's camera of that time took is no photograph.
_MOST_PIXELS = 50_000_000
_SUFFIXES = (".jpg", ".jpeg", ".png")
_FORMATS = ("JPEG", "PNG", "GIF", "BMP")


def read_photographs(
    folder: Path, *, side: int = 64, limit: int | None = None
) -> tuple[torch.Tensor, torch.Tensor, Skips]:
    """Images of shape (n, 3, side, side) in [0, 1], their classes, and what was left out.

    The two classes are numbered in the order of their folders' names. Files that are empty, no
    images, animated, too large or links to elsewhere are left out.

    Args:
        limit: images of each class; None for all.

    Raises:
        InvalidInput: there are not two folders with images.
    """
    image = import_extra("PIL.Image", extra="data", where="--data")
    folder = _find_classes(check_folder(folder))
    skips = Skips()
    inputs: list[np.ndarray] = []
    classes: list[int] = []
    count = 0
    for name in sorted(path for path in folder.iterdir() if path.is_dir()):
        found = list(_read_class(image, folder, name, side, limit, skips))
        inputs += found
        classes += [count] * len(found)
        # A folder without images is no class.
        count += bool(found)
    if count != 2:
        raise refuse(folder, f"images of {count} class(es)", "two folders of images")
    pixels = torch.tensor(np.stack(inputs), dtype=torch.float32).permute(0, 3, 1, 2) / 255
    return pixels, torch.tensor(classes), skips


def _find_classes(folder: Path) -> Path:
    inner = folder / "PetImages"
    return check_inside(folder, inner) if inner.is_dir() else folder


def _read_class(
    image: Any, folder: Path, name: Path, side: int, limit: int | None, skips: Skips
) -> Iterator[np.ndarray]:
    count = 0
    for path in sorted(name.iterdir(), key=lambda path: (len(path.name), path.name)):
        if count == limit:
            return
        if path.suffix.lower() not in _SUFFIXES:
            continue
        place = os.fspath(path.relative_to(folder))
        why, pixels = _read_one(image, folder, path, side)
        if pixels is None:
            skips.add(place, why)
            continue
        count += 1
        yield pixels


def _read_one(image: Any, folder: Path, path: Path, side: int) -> tuple[str, np.ndarray | None]:
    try:
        check_inside(folder, path)
    except InvalidInput:
        return "a link that leaves the folder or leads nowhere", None
    try:
        if path.stat().st_size == 0:
            return "an empty file", None
        # Of any other kind a decoder may start programs.
        with image.open(path, formats=_FORMATS) as opened:
            # The size is read before any pixel is.
            if opened.width * opened.height > _MOST_PIXELS:
                return f"over {_MOST_PIXELS:,} pixels", None
            if getattr(opened, "n_frames", 1) > 1:
                return "an animation", None
            return "", np.asarray(opened.convert("RGB").resize((side, side)))
    except image.DecompressionBombError:
        return f"over {_MOST_PIXELS:,} pixels", None
    except (OSError, ValueError, SyntaxError):
        return "no image that can be read", None
