"""Repeating published studies: run, judge, say."""

import importlib
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast, get_args

from batchscope.errors import InvalidInput, suggest
from batchscope.findings.claims import Judged, judge_claims
from batchscope.replications.lab import Lab
from batchscope.replications.published import Measured, Published, Scale
from batchscope.studies.progress import Unwatched, Watcher
from batchscope.workers.keeping import keeping_workers

NAMES = (
    "image",
    "sharp-minima",
    "gradient-noise",
    "blobs",
    "distance",
    "speech",
    "ehr",
    "imaging",
    "lora",
    "critical-batch",
    "lr-scaling",
    "selection",
    "loader",
    "cost",
)
DEFAULT_STORE = "replications.db"
# What does not hold is shown first.
_ORDER = ("does not hold", "cannot tell", "holds")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Replication:
    """A study, repeated.

    Attributes:
        judged: what became of each claim, those that do not hold first.
        runs: of its studies.
        training_seconds: of these runs, one after another.
        seconds: that all of it took this time; what the store had is not trained again.
        command: that repeats it.
    """

    study: Published
    scale: Scale
    seeds: int
    is_control: bool
    judged: tuple[Judged, ...]
    measured: Measured
    runs: int
    training_seconds: float
    seconds: float
    command: str

    @property
    def data(self) -> str:
        """What it was trained on."""
        original = self.study.paper if self.scale == "paper" else None
        return self.study.data if original is None else f"The original data: {original}"

    @property
    def control(self) -> str:
        """What was removed: nothing can be taken out of original data but what they say."""
        if self.scale == "paper" and self.study.paper_control is not None:
            return self.study.paper_control
        return self.study.control

    @property
    def kills(self) -> tuple[str, ...]:
        """Claims measured here that must not hold where the mechanism is removed."""
        measured = {one.claim.id for one in self.judged}
        return tuple(name for name in self.study.kills if name in measured)

    def to_dict(self) -> dict[str, object]:
        """The replication as JSON."""
        return {
            "name": self.study.name,
            "title": self.study.title,
            "source": self.study.source,
            "data": self.data,
            "scale": self.scale,
            "seeds": self.seeds,
            "control": self.control if self.is_control else None,
            "kills": list(self.kills) if self.is_control else [],
            "claims": [judged.to_dict() for judged in self.judged],
            "notes": list(self.measured.notes),
            "runs": self.runs,
            "training_seconds": self.training_seconds,
            "seconds": self.seconds,
            "command": self.command,
        }


def find_study(name: str) -> Published:
    """The study of a name.

    Raises:
        InvalidInput: there is none.
    """
    if name not in NAMES:
        raise InvalidInput(
            f"there is no study {name!r}",
            where="reproduce",
            expected=f"one of {', '.join(NAMES)}",
            do=suggest(name, NAMES, "see: batchscope reproduce --list"),
        )
    module = f"batchscope.replications.studies.{name.replace('-', '_')}"
    return cast(Published, importlib.import_module(module).STUDY)


def list_studies() -> list[Published]:
    """All studies."""
    return [find_study(name) for name in NAMES]


def reproduce(
    name: str,
    *,
    scale: str = "quick",
    seeds: int | None = None,
    first_seed: int = 0,
    control: bool = False,
    data: str | None = None,
    limit: int | None = None,
    store: str = DEFAULT_STORE,
    watcher: Watcher | None = None,
) -> Replication:
    """Run a published study through ordinary studies, and judge each of its claims.

    Runs that the store has are not trained again; an interrupted replication goes on.

    Args:
        name: of `list_studies`.
        scale: "quick" (minutes on two cores), "standard", or "paper" (the original data).
        seeds: paired seeds; None for the scale's own. Fewer than five tell nothing.
        first_seed: of them.
        control: with the mechanism removed.
        data: at the scale of the paper, the folder of the original data.
        limit: of what is read of them, such as images of each part; None for all.
        store: a path or a database URL.

    Raises:
        InvalidInput: there is no such study or scale, or its data cannot be read.
        StoreError: the store cannot be read or written.
    """
    published = find_study(name)
    if scale not in get_args(Scale):
        raise InvalidInput(
            f"a scale of {scale!r}",
            where="--scale",
            expected=" or ".join(get_args(Scale)),
            do="name one of these",
        )
    if (seeds is not None and seeds < 1) or first_seed < 0:
        raise InvalidInput(
            f"seeds from {first_seed} on" if first_seed < 0 else f"{seeds} seeds",
            where="--seeds, --first-seed",
            expected="at least 1 seed, numbered from 0 or above",
            do="mend the number, or leave it out",
        )
    chosen = cast(Scale, scale)
    _check_data(published, chosen, data, limit)
    count = seeds or published.seeds["standard" if chosen == "paper" else chosen]
    lab = Lab(
        is_quick=chosen == "quick",
        first_seed=first_seed,
        count=count,
        is_control=control,
        store=store,
        watcher=watcher or Unwatched(),
        data=None if data is None else Path(data),
        limit=limit,
    )
    began = time.perf_counter()
    # One study follows another, of the same task or two.
    with keeping_workers():
        measured = published.measure(lab)
    measured = replace(measured, notes=(*measured.notes, *_tell_beta2(lab)))
    claims = published.claims_at(chosen)
    if control:
        # What a control leaves out is no part of it.
        claims = [replace(claim, kind="control") for claim in claims if claim.id in measured.seen]
    judged = judge_claims(claims, measured.seen, causes=measured.causes)
    return Replication(
        study=published,
        scale=chosen,
        seeds=count,
        is_control=control,
        judged=tuple(sorted(judged, key=lambda one: _ORDER.index(one.verdict))),
        measured=measured,
        runs=len(lab.seconds),
        training_seconds=sum(lab.seconds.values()),
        seconds=time.perf_counter() - began,
        command=_command(name, chosen, seeds, first_seed, control, data, limit, store),
    )


def _tell_beta2(lab: Lab) -> Iterator[str]:
    if lab.beta2:
        first, last = min(lab.beta2), max(lab.beta2)
        yield (
            "Adam's beta2 keeps its half-life in examples: it is "
            f"{lab.beta2[first]:.5g} at {first:,}, {lab.beta2[last]:.5g} at {last:,}."
        )


def _check_data(published: Published, scale: Scale, data: str | None, limit: int | None) -> None:
    """See that the original data are there where they are used, and only there.

    Raises:
        InvalidInput: they are not.
    """
    if scale != "paper":
        if data is not None or limit is not None:
            raise InvalidInput(
                f"the scale {scale} reads no data",
                where="--data, --limit",
                expected="them with --scale paper only"
                if published.paper is not None
                else f"none: {published.name} has no scale of the paper",
                do="leave them out" + (", or add --scale paper" if published.paper else ""),
            )
        return
    if published.paper is None:
        raise InvalidInput(
            f"{published.name} has no scale of the paper",
            where="--scale",
            expected=f"quick or standard: {published.data}",
            do="batchscope reproduce --list names the studies that have",
        )
    if data is None or (limit is not None and limit < 1):
        raise InvalidInput(
            "the original data are not named" if data is None else f"a limit of {limit}",
            where="--data, --limit",
            expected=published.paper,
            do="name the folder with --data, and with --limit N at least 1 to read less of it",
        )


def _command(
    name: str,
    scale: Scale,
    seeds: int | None,
    first_seed: int,
    control: bool,
    data: str | None,
    limit: int | None,
    store: str,
) -> str:
    parts = ["batchscope reproduce", name, f"--scale {scale}"]
    parts += [f"--seeds {seeds}"] if seeds else []
    parts += [f"--first-seed {first_seed}"] if first_seed else []
    parts += ["--control"] if control else []
    parts += [f"--data {shlex.quote(data)}"] if data else []
    parts += [f"--limit {limit}"] if limit else []
    parts += [f"--store {shlex.quote(store)}"] if store != DEFAULT_STORE else []
    return " ".join(parts)
