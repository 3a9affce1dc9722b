"""Repeating published studies: run, judge, say."""

import importlib
from dataclasses import dataclass, replace
from typing import cast, get_args

from batchscope.errors import InvalidInput, suggest
from batchscope.findings.claims import Judged, judge_claims
from batchscope.replications.lab import Lab
from batchscope.replications.published import Measured, Published, Scale
from batchscope.studies.progress import Unwatched, Watcher

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
        command: that repeats it.
    """

    study: Published
    scale: Scale
    seeds: int
    is_control: bool
    judged: tuple[Judged, ...]
    measured: Measured
    command: str

    def to_dict(self) -> dict[str, object]:
        """The replication as JSON."""
        return {
            "name": self.study.name,
            "title": self.study.title,
            "source": self.study.source,
            "data": self.study.data,
            "scale": self.scale,
            "seeds": self.seeds,
            "control": self.study.control if self.is_control else None,
            "kills": list(self.study.kills) if self.is_control else [],
            "claims": [judged.to_dict() for judged in self.judged],
            "notes": list(self.measured.notes),
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
    store: str = DEFAULT_STORE,
    watcher: Watcher | None = None,
) -> Replication:
    """Run a published study through ordinary studies, and judge each of its claims.

    Runs that the store has are not trained again; an interrupted replication goes on.

    Args:
        name: of `list_studies`.
        scale: "quick" (minutes on two cores) or "standard".
        seeds: paired seeds; None for the scale's own. Fewer than five tell nothing.
        first_seed: of them.
        control: with the mechanism removed.
        store: a path or a database URL.

    Raises:
        InvalidInput: there is no such study or scale.
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
    if seeds is not None and seeds < 1:
        raise InvalidInput(
            f"{seeds} seeds", where="--seeds", expected="a number from 1 on", do="mend the number"
        )
    chosen = cast(Scale, scale)
    count = seeds or published.seeds[chosen]
    lab = Lab(
        is_quick=chosen == "quick",
        first_seed=first_seed,
        count=count,
        is_control=control,
        store=store,
        watcher=watcher or Unwatched(),
    )
    measured = published.measure(lab)
    claims = published.claims
    if control:
        claims = [replace(claim, kind="control") for claim in claims]
    judged = judge_claims(claims, measured.seen, causes=measured.causes)
    return Replication(
        study=published,
        scale=chosen,
        seeds=count,
        is_control=control,
        judged=tuple(sorted(judged, key=lambda one: _ORDER.index(one.verdict))),
        measured=measured,
        command=_command(name, chosen, seeds, first_seed, control),
    )


def _command(name: str, scale: Scale, seeds: int | None, first_seed: int, control: bool) -> str:
    parts = ["batchscope reproduce", name, f"--scale {scale}"]
    parts += [f"--seeds {seeds}"] if seeds else []
    parts += [f"--first-seed {first_seed}"] if first_seed else []
    parts += ["--control"] if control else []
    return " ".join(parts)
