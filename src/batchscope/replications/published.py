"""What a published study is made of: its source, its claims, and how they are measured here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from batchscope.findings.claims import Claim, Seen
from batchscope.replications.lab import Lab

Scale = Literal["quick", "standard", "paper"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a figure: a value at each place."""

    name: str
    places: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure; the first of a study is the original's.

    Attributes:
        logarithmic: whether the axes are.
    """

    title: str
    x: str
    y: str
    lines: tuple[Line, ...]
    logarithmic: tuple[bool, bool] = (True, False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the runs of a study came to.

    Attributes:
        seen: claim -> the quantity per seed, on the scale of its test.
        causes: claim -> what the curves say of why.
        notes: on what was chosen on other seeds, or left out.
    """

    seen: Mapping[str, Sequence[Seen]]
    figures: tuple[Figure, ...] = ()
    causes: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A published study.

    Attributes:
        source: who, where, when.
        data: what stands in for the original data; the first line of the page.
        paper: the original data that `--data` has at the scale of the paper, and the settings that
            go with them; None where there is no such scale.
        paper_control: the control at that scale, where it is another one.
        claims: of the source and of those who object, declared before any run.
        control: what is removed in the control, and what it leaves.
        kills: claims that must not hold there.
        only_at: claim -> the scales that it is measured at; those not named here at every scale.
        seeds: per scale.
        minutes: that it takes on two cores, per scale.
    """

    name: str
    title: str
    source: str
    data: str
    claims: tuple[Claim, ...]
    control: str
    kills: tuple[str, ...]
    seeds: Mapping[Scale, int]
    minutes: Mapping[Scale, float]
    measure: Callable[[Lab], Measured]
    paper: str | None = None
    paper_control: str | None = None
    only_at: Mapping[str, tuple[Scale, ...]] = field(default_factory=dict[str, tuple[Scale, ...]])

    def claims_at(self, scale: Scale) -> tuple[Claim, ...]:
        """Those that are measured at a scale."""
        return tuple(c for c in self.claims if scale in self.only_at.get(c.id, (scale,)))
