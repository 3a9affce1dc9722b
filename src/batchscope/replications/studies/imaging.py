"""Kerley et al. 2023: small batches make better autoencoders of brain images."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from sklearn import linear_model, model_selection, pipeline, preprocessing
from torch import nn
from torch.nn import functional as F

from batchscope.optimizers import Adam
from batchscope.replications.autoencoding import SOURCE, Autoencoding, compare_sizes, declare_claims
from batchscope.replications.formats.brain_scans import read_brain_scans
from batchscope.replications.formats.files import refuse
from batchscope.replications.lab import Lab
from batchscope.replications.published import Measured, Published
from batchscope.task import Task

_TRAIN, _VALIDATION = 800, 300
_SIDE = 32
_LATENT, _FOLDS = 32, 10
_RATE, _EPOCHS = 3e-4, 8
# So faint that an untrained network's latents tell about a tenth of the side's variance.
_AMPLITUDE = 0.3
# Mean squared errors of pixels in [0, 1].
_LOSSES = (1e-4, 0.25)

CLAIMS = declare_claims("the side of the lesion (1 - R2) is missed", 0.05)


def generate_slices(*, amplitude: float = _AMPLITUDE) -> tuple[torch.Tensor, torch.Tensor]:
    """Slices of shape (n, 1, 32, 32) in [0, 1], and the side of their lesion, -1 or 1.

    A head of varying size, place and shade with ventricles, rings and a bias field, all of them
    larger than the one faint blob on its left or its right.
    """
    rng = np.random.default_rng(0)
    count = _TRAIN + _VALIDATION
    y, x = np.mgrid[-1 : 1 : _SIDE * 1j, -1 : 1 : _SIDE * 1j]
    sides = rng.choice([-1.0, 1.0], count)
    slices = np.empty((count, _SIDE, _SIDE))
    for place, side in enumerate(sides):
        wide, high = rng.uniform(0.6, 0.85, 2)
        across, down = rng.uniform(-0.1, 0.1, 2)
        radius = np.hypot((x - across) / wide, (y - down) / high)
        head = rng.uniform(0.4, 0.7) * (radius < 1)
        gap, size = rng.uniform(0.08, 0.2), rng.uniform(0.08, 0.16)
        for way in (-1, 1):
            near = np.hypot((x - across - way * gap) / size, (y - down) / (2.5 * size))
            head = head - 0.2 * (near < 1)
        rings = rng.uniform(0, 0.08) * np.sin(rng.uniform(10, 25) * radius + rng.uniform(0, 6.3))
        bias = rng.uniform(-0.1, 0.1) * x + rng.uniform(-0.1, 0.1) * y
        at = across + side * wide * rng.uniform(0.35, 0.65), down + high * rng.uniform(-0.4, 0.4)
        blob = np.exp(-np.square(np.hypot(x - at[0], y - at[1]) / rng.uniform(0.1, 0.18)))
        noise = 0.03 * rng.standard_normal((_SIDE, _SIDE))
        slices[place] = head + (rings + bias + amplitude * blob) * (radius < 1) + noise
    images = torch.tensor(slices.clip(0, 1), dtype=torch.float32)[:, None]
    return images, torch.tensor(sides, dtype=torch.float32)


class Autoencoder(nn.Module):
    """Two strided convolutions to 32 numbers, and back.

    Args:
        dimensions: 2 for slices, 3 for scans, of 32 pixels or voxels a side.
    """

    def __init__(self, dimensions: int = 2) -> None:
        super().__init__()
        convolve = {2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
        spread = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[dimensions]
        # Each convolution halves a side.
        inner = (16, *dimensions * (_SIDE // 4,))
        self.encode = nn.Sequential(
            convolve(1, 8, 3, stride=2, padding=1), nn.ReLU(),
            convolve(8, 16, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(math.prod(inner), _LATENT),
        )  # fmt: skip
        self.decode = nn.Sequential(
            nn.Linear(_LATENT, math.prod(inner)), nn.ReLU(), nn.Unflatten(1, inner),
            spread(16, 8, 4, stride=2, padding=1), nn.ReLU(),
            spread(8, 1, 4, stride=2, padding=1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.decode(self.encode(images))


def _loss(model: nn.Module, batch: Any) -> torch.Tensor:
    return F.mse_loss(model(batch[0]), batch[0])


def miss_side(inputs: np.ndarray, sides: np.ndarray) -> float:
    """The share of the side's variance that ridge regression does not tell, in ten folds."""
    reader = cast(Any, pipeline).make_pipeline(
        preprocessing.StandardScaler(), linear_model.RidgeCV(np.logspace(-1, 4, 6))
    )
    folds = cast(Any, model_selection).KFold(_FOLDS, shuffle=True, random_state=0)
    told: np.ndarray[Any, np.dtype[np.float64]] = cast(Any, model_selection).cross_val_predict(
        reader, inputs, sides, cv=folds
    )
    return min(1.0, float(np.square(sides - told).mean() / np.var(sides)))


def _miss(model: nn.Module, batch: Any) -> torch.Tensor:
    """From the latents; of too few slices, or of weights that are no numbers, nothing is told."""
    images, sides = batch
    latents = cast(Autoencoder, model).encode(images).detach().numpy()
    if len(sides) < 2 * _FOLDS or not np.isfinite(latents).all():
        return torch.tensor(1.0)
    return torch.tensor(miss_side(latents, sides.numpy()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Images, where their lesions lie, and how many of them to train on.

    Attributes:
        notes: on what was left out.
    """

    name: str
    images: torch.Tensor
    sides: torch.Tensor
    kept: int
    unit: str
    notes: tuple[str, ...] = ()

    @property
    def dimensions(self) -> int:
        """Of an image."""
        return self.images.ndim - 2


def read_material(lab: Lab) -> Material:
    """Generated slices, or at the scale of the paper scans, whose control shuffles the sides."""
    if lab.data is None:
        images, sides = generate_slices(amplitude=0.0 if lab.is_control else _AMPLITUDE)
        name = "slices-without-lesions" if lab.is_control else "slices"
        return Material(name=name, images=images, sides=sides, kept=_TRAIN, unit="slices")
    scans, sides, skips = read_brain_scans(lab.data, side=_SIDE, limit=lab.limit)
    order = torch.randperm(len(sides), generator=torch.Generator().manual_seed(0))
    scans, sides = scans[order], sides[order]
    if lab.is_control:
        sides = sides[torch.randperm(len(sides), generator=torch.Generator().manual_seed(1))]
    validated = len(sides) * _VALIDATION // (_TRAIN + _VALIDATION)
    if validated < 2 * _FOLDS:
        raise refuse(
            lab.data,
            f"of {len(sides)} people {validated} validate",
            f"at least {2 * _FOLDS} of them",
            "take more with --limit",
        )
    return Material(
        name="scans-shuffled" if lab.is_control else "scans",
        images=scans,
        sides=sides,
        kept=len(sides) - validated,
        unit="scans",
        notes=skips.notes,
    )


def make_task(material: Material) -> Task:
    """The first images to train on, the others to validate."""
    parts, kept = (material.images, material.sides), material.kept
    return Task(
        name=material.name,
        model=partial(Autoencoder, material.dimensions),
        loss=_loss,
        train=tuple(part[:kept] for part in parts),
        val=tuple(part[kept:] for part in parts),
        optimizer=Adam(lr=_RATE),
        metrics={"missed": _miss},
        unit=material.unit,
    )


def measure(lab: Lab) -> Measured:
    """The sizes of the source, with what the pixels and an untrained network tell beside."""
    material = read_material(lab)
    images, sides = (part[material.kept :] for part in (material.images, material.sides))
    raw = 1 - miss_side(images.flatten(1).numpy(), sides.numpy())
    torch.manual_seed(lab.first_seed)
    untrained = 1 - float(_miss(Autoencoder(material.dimensions), (images, sides)))
    trained = Autoencoding(
        task=make_task(material),
        rate=_RATE,
        epochs=_EPOCHS,
        column="missed",
        losses=_LOSSES,
    )
    note = (
        f"R2 of the lesion's side is {raw:.2f} from the pixels and {untrained:.2f} from the "
        "latents of an untrained network."
    )
    return compare_sizes(lab, trained, notes=[note, *material.notes])


STUDY = Published(
    name="imaging",
    title="Autoencoders of brain images",
    source=SOURCE,
    data="Stands in for BraTS: 1,100 generated slices of 32 by 32 pixels, large nuisance (size, "
    "ventricles, rings, bias field), a faint lesion on one side.",
    claims=CLAIMS,
    control="the lesion has no amplitude",
    kills=("C2", "C3b"),
    seeds={"quick": 8, "standard": 10},
    minutes={"quick": 2, "standard": 5},
    measure=measure,
    paper="BraTS, a folder per person with NAME_flair.nii.gz and NAME_seg.nii.gz, averaged to 32 "
    "voxels a side, 3 people validating for 8 that are trained on",
    paper_control="the sides are shuffled over people",
)
