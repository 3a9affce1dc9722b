"""Kerley et al. 2023: small batches make better autoencoders of health records."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from sklearn import model_selection, pipeline, preprocessing, svm
from torch import nn
from torch.nn import functional as F

from batchscope.findings.claims import Claim
from batchscope.gallery.digits import load_train_and_test
from batchscope.optimizers import Adam
from batchscope.replications.autoencoding import (
    SOURCE,
    Autoencoding,
    compare_losses,
    compare_sizes,
    declare_claims,
)
from batchscope.replications.formats.files import refuse
from batchscope.replications.formats.health_records import read_health_records, shuffle_people
from batchscope.replications.lab import Lab
from batchscope.replications.published import Measured, Published
from batchscope.task import Task

_PEOPLE, _VALIDATION = 1300, 300
_CODES, _FACTORS, _LOCKED = 300, 20, 24
# So that a linear machine reads sex from the raw codes of about 93% of people.
_LOCKED_RISE = 1.2
_LATENT, _FOLDS = 32, 10
_RATE, _EPOCHS = 1e-3, 12
# Mean squared errors of codes that are 0 or 1.
_LOSSES = (1e-3, 0.25)

_DIGITS = (4, 9)

CLAIMS = (
    *declare_claims("sex is misread", 0.02),
    Claim(
        id="C4",
        name="of real images, digits 4 and 9, the loss at 100 is more than 1.05 times that at 5",
        kind="claim",
        direction="above",
        margin=1.05,
        is_ratio=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Records:
    """People's codes, shape (people, codes), 0 or 1, and their sex, shape (people,)."""

    codes: torch.Tensor
    sex: torch.Tensor


def generate_records(*, has_locks: bool = True) -> Records:
    """Codes of heavy-tailed prevalence that rise with age and come together by factors.

    A factor is on in 12% of people and carries 15 codes. 24 of the codes occur in one sex only, and
    sex enters nothing else.
    """
    rng = np.random.default_rng(0)
    people = _PEOPLE + _VALIDATION
    age = rng.uniform(0, 1, (people, 1))
    sex = rng.integers(0, 2, people)
    base = rng.normal(-3.6, 1.2, _CODES)
    slope = rng.normal(0.5, 0.4, _CODES)
    loadings = np.zeros((_FACTORS, _CODES))
    for row in loadings:
        row[rng.choice(_CODES, 15, replace=False)] = rng.normal(2.2, 0.6, 15)
    is_on = rng.random((people, _FACTORS)) < 0.12
    logits = base + slope * age + is_on @ loadings
    locked = rng.choice(_CODES, _LOCKED, replace=False)
    of_sex = np.arange(_LOCKED) % 2
    if has_locks:
        logits[:, locked] = np.where(
            sex[:, None] == of_sex, logits[:, locked] + _LOCKED_RISE, -np.inf
        )
    codes = rng.random(logits.shape) < 1 / (1 + np.exp(-logits))
    return Records(torch.tensor(codes, dtype=torch.float32), torch.tensor(sex, dtype=torch.int64))


class Autoencoder(nn.Module):
    """300-128-64-32 and back, a sigmoid at the end; or of so many codes instead."""

    def __init__(self, codes: int = _CODES) -> None:
        super().__init__()
        self.encode = nn.Sequential(
            nn.Linear(codes, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(),
            nn.Linear(64, _LATENT), nn.ReLU(),
        )  # fmt: skip
        self.decode = nn.Sequential(
            nn.Linear(_LATENT, 64), nn.ReLU(), nn.Linear(64, 128), nn.ReLU(),
            nn.Linear(128, codes), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        return self.decode(self.encode(codes))


def _loss(model: nn.Module, batch: Any) -> torch.Tensor:
    return F.mse_loss(model(batch[0]), batch[0])


def misread_sex(inputs: np.ndarray, sex: np.ndarray) -> float:
    """The share that a linear support vector machine gets wrong, in ten folds."""
    reader = cast(Any, pipeline).make_pipeline(
        preprocessing.StandardScaler(), svm.SVC(kernel="linear")
    )
    choosing = cast(Any, model_selection)
    folds = choosing.StratifiedKFold(_FOLDS)
    right: list[float] = choosing.cross_val_score(reader, inputs, sex, cv=folds).tolist()
    return 1 - sum(right) / _FOLDS


def _misread(model: nn.Module, batch: Any) -> torch.Tensor:
    """From the latents; of too few people, or of weights that are no numbers, nothing is read."""
    codes, sex = batch
    latents = cast(Autoencoder, model).encode(codes).detach().numpy()
    if not np.isfinite(latents).all() or int(sex.bincount(minlength=2).min()) < _FOLDS:
        return torch.tensor(0.5)
    return torch.tensor(misread_sex(latents, sex.numpy()))


def make_task(name: str, records: Records, kept: int) -> Task:
    """So many people to train on, the others to validate."""
    parts = (records.codes, records.sex)
    return Task(
        name=name,
        model=partial(Autoencoder, records.codes.shape[1]),
        loss=_loss,
        train=tuple(part[:kept] for part in parts),
        val=tuple(part[kept:] for part in parts),
        optimizer=Adam(lr=_RATE),
        metrics={"misread": _misread},
        unit="people",
    )


def make_digits_task() -> Task:
    """The same net, of 64 inputs, on scikit-learn's images of 4 and 9."""
    parts = [
        images[torch.isin(classes, torch.tensor(_DIGITS))].flatten(1)
        for images, classes in load_train_and_test()
    ]
    return Task(
        name="digits-4-9",
        model=partial(Autoencoder, parts[0].shape[1]),
        loss=_loss,
        train=(parts[0],),
        val=(parts[1],),
        optimizer=Adam(lr=_RATE),
        unit="images",
    )


def measure(lab: Lab) -> Measured:
    """The sizes of the source, with what the raw codes and an untrained network tell beside."""
    name, records, kept, read = _read(lab)
    codes, sex = records.codes[kept:], records.sex[kept:]
    raw = misread_sex(codes.numpy(), sex.numpy())
    torch.manual_seed(lab.first_seed)
    untrained = float(_misread(Autoencoder(codes.shape[1]), (codes, sex)))
    trained = Autoencoding(
        task=make_task(name, records, kept),
        rate=_RATE,
        epochs=_EPOCHS,
        column="misread",
        losses=_LOSSES,
    )
    notes = (
        f"Sex is misread from the raw codes of {raw:.1%} of people, from the latents of an "
        f"untrained network of {untrained:.1%}.",
        *read,
    )
    found = compare_sizes(lab, trained, notes=notes)
    if lab.is_control or lab.data is not None:
        return found
    digits = Autoencoding(task=make_digits_task(), rate=_RATE, epochs=_EPOCHS, losses=_LOSSES)
    return replace(
        found,
        seen={**found.seen, "C4": compare_losses(lab, digits)},
        notes=(*found.notes, "C4 was declared after the others had been seen."),
    )


def _read(lab: Lab) -> tuple[str, Records, int, tuple[str, ...]]:
    """The task's name, its people, how many of them to train on, and what was left out.

    In the control of the original data sex is shuffled: no code says anything of it.
    """
    if lab.data is None:
        name = "records-without-locks" if lab.is_control else "records"
        return name, generate_records(has_locks=not lab.is_control), _PEOPLE, ()
    codes, sex, skips = read_health_records(lab.data, limit=lab.limit)
    codes, sex = shuffle_people(codes, sex)
    if lab.is_control:
        sex = shuffle_people(sex, sex, seed=1)[0]
    validated = len(sex) * _VALIDATION // (_PEOPLE + _VALIDATION)
    if int(sex[-validated:].bincount(minlength=2).min()) < _FOLDS:
        raise refuse(
            lab.data,
            f"of {len(sex):,} people {validated:,} validate, hardly any of one sex",
            f"at least {_FOLDS} of each among them",
            "take more with --limit",
        )
    name = "health-records-shuffled" if lab.is_control else "health-records"
    return name, Records(codes, sex), len(sex) - validated, skips.notes


STUDY = Published(
    name="ehr",
    title="Autoencoders of health records",
    source=SOURCE,
    data="Stands in for 3,127 people's ICD-9 codes: 1,600 generated people with 300 codes of "
    "heavy-tailed prevalence, age, factors of comorbidity, and 24 codes of one sex. Beside them, "
    "for the loss alone, scikit-learn's images of 4 and 9.",
    claims=CLAIMS,
    control="no code is locked to a sex",
    kills=("C2", "C3b"),
    only_at={"C4": ("quick", "standard")},
    seeds={"quick": 6, "standard": 10},
    minutes={"quick": 2, "standard": 4},
    measure=measure,
    paper="events.csv (id, ICD_CODE, ICD_TYPE), phecodes.csv (ICD, ICD_TYPE, PheCode) and "
    "people.csv (id, sex), 3 people validating for 13 that are trained on",
    paper_control="sex is shuffled over people",
)
