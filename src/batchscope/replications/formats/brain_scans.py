"""Brain scans with their tumours outlined, as in BraTS: NIfTI files in a folder per person."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from batchscope.replications.formats.files import (
    Skips,
    UnusableFile,
    check_folder,
    check_inside,
    read_bytes,
    refuse,
)
from batchscope.workers.extras import import_extra

# Twice the 240 x 240 x 155 voxels of BraTS in each direction.
_MOST_VOXELS = 480 * 480 * 310
# Of eight bytes each, with a header.
_MOST_BYTES = 8 * _MOST_VOXELS + 2**20
_BRIGHTEST = 0.99


def read_brain_scans(
    folder: Path, *, side: int = 32, modality: str = "flair", limit: int | None = None
) -> tuple[torch.Tensor, torch.Tensor, Skips]:
    """Scans of shape (n, 1, side, side, side) in [0, 1], and where their lesions lie.

    The second is how far right of the middle of the head the outlined voxels' mean is, in halves of
    the head's width, in [-1, 1]. Axes are turned to right, front and top first.

    Args:
        modality: flair, t1, t1ce or t2.
        limit: people; None for all.

    Raises:
        InvalidInput: nobody has both a scan and an outline that can be read.
    """
    nibabel = import_extra("nibabel", extra="data", where="--data")
    skips = Skips()
    scans: list[torch.Tensor] = []
    places: list[float] = []
    for person in sorted(path for path in check_folder(folder).iterdir() if path.is_dir()):
        if len(scans) == limit:
            break
        try:
            scan = _read(nibabel, folder, person, modality)
            outline = _read(nibabel, folder, person, "seg")
        except UnusableFile as error:
            skips.add(person.name, error.why)
            continue
        place = _place_lesion(scan, outline)
        if place is None:
            skips.add(person.name, "an empty outline, or one of another shape")
            continue
        scans.append(_shrink(scan, side))
        places.append(place)
    if not scans:
        raise refuse(
            folder,
            "; ".join(skips.notes) or "there are no people",
            f"NAME/NAME_{modality}.nii.gz with NAME/NAME_seg.nii.gz",
        )
    return torch.stack(scans), torch.tensor(places, dtype=torch.float32), skips


def _read(nibabel: Any, folder: Path, person: Path, kind: str) -> np.ndarray:
    """Voxels as floats, right, front and top first.

    Raises:
        InvalidInput: there is no such file, it is too large by its own header, or broken.
    """
    found = [path for end in (".nii.gz", ".nii") for path in sorted(person.glob(f"*_{kind}{end}"))]
    if not found:
        raise refuse(person, f"no {kind} file", f"*_{kind}.nii.gz")
    path = check_inside(folder, found[0])
    # Unpacked here, within bounds: what a header says may make its reader unpack without any.
    content = read_bytes(path, _MOST_BYTES)
    try:
        image = nibabel.Nifti1Image.from_bytes(content)
        shape = tuple(int(size) for size in image.shape)
    except _broken(nibabel) as error:
        raise refuse(path, "cannot be read", "a whole NIfTI file") from error
    if len(shape) != 3 or not 0 < math.prod(shape) <= _MOST_VOXELS:
        raise refuse(path, f"a shape of {shape}", f"three sizes, up to {_MOST_VOXELS:,} voxels")
    try:
        turned = nibabel.as_closest_canonical(image)
        voxels = np.asarray(turned.dataobj, dtype=np.float32)
    except _broken(nibabel) as error:
        raise refuse(path, "cannot be read", "a whole NIfTI file") from error
    if not np.isfinite(voxels).all():
        raise refuse(path, "voxels that are no numbers", "finite voxels")
    return voxels


def _broken(nibabel: Any) -> tuple[type[Exception], ...]:
    """What nibabel raises of files that are broken or of another kind."""
    return (
        OSError,
        EOFError,
        ValueError,
        TypeError,
        RuntimeError,
        ArithmeticError,
        LookupError,
        nibabel.filebasedimages.ImageFileError,
        nibabel.wrapstruct.WrapStructError,
        nibabel.spatialimages.HeaderDataError,
        nibabel.orientations.OrientationError,
    )


def _place_lesion(scan: np.ndarray, outline: np.ndarray) -> float | None:
    lesion, head = np.nonzero(outline > 0)[0], np.nonzero(scan > 0)[0]
    if outline.shape != scan.shape or not len(lesion) or not len(head):
        return None
    left, right = float(head.min()), float(head.max())
    half = max((right - left) / 2, 0.5)
    return float(np.clip((lesion.mean() - (left + right) / 2) / half, -1, 1))


def _shrink(scan: np.ndarray, side: int) -> torch.Tensor:
    """Means of blocks, in [0, 1]; the brightest hundredth, which scanners differ in, is cut."""
    brightest = float(np.quantile(scan, _BRIGHTEST)) or float(scan.max())
    voxels = torch.tensor(np.clip(scan / max(brightest, 1e-6), 0, 1), dtype=torch.float32)
    return F.adaptive_avg_pool3d(voxels[None, None], side)[0]
