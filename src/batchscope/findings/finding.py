"""One finding: a sentence, how sure it is, and where it is open what would settle it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from batchscope.estimate import Interval, NotIdentified

# In the order in which a reader asks.
About = Literal[
    "time", "quality", "why", "critical", "learning_rate", "axis", "noise", "epochs", "target"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """What would settle a finding.

    Attributes:
        what: without a full stop.
        runs: that it takes beyond those at hand, 0 where they need only be read anew; None where
            it depends on what they show.
    """

    what: str
    runs: int | None = None

    def __str__(self) -> str:
        if self.runs is None:
            return self.what
        if self.runs == 0:
            return f"{self.what} (no further run)"
        return f"{self.what} ({self.runs} more run{'s' if self.runs > 1 else ''})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What runs say, or leave open.

    Attributes:
        sentence: with its numbers.
        confidence: in (0, 1); None where none is claimed.
        experiment: the cheapest that would settle it; None where it is settled.
    """

    about: About
    sentence: str
    confidence: float | None = None
    experiment: Experiment | None = None

    def __str__(self) -> str:
        if self.experiment is None:
            return self.sentence
        return f"{self.sentence} To settle it: {self.experiment}."

    @property
    def is_open(self) -> bool:
        """Whether the runs leave it open."""
        return self.experiment is not None

    def to_dict(self) -> dict[str, object]:
        """The finding as JSON."""
        return {
            "about": self.about,
            "sentence": self.sentence,
            "confidence": self.confidence,
            "open": self.is_open,
            "experiment": None if self.experiment is None else asdict(self.experiment),
        }


def rank_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """What is settled as a reader asks, the surer first; then what is open, the cheapest first."""
    order = get_args(About)

    def place(finding: Finding) -> tuple[bool, float, int, float]:
        cost = 0.0
        if finding.experiment is not None:
            runs = finding.experiment.runs
            cost = float("inf") if runs is None else float(runs)
        return finding.is_open, cost, order.index(finding.about), -(finding.confidence or 0.0)

    return tuple(sorted(findings, key=place))


def tell(about: About, before: str, estimate: Interval | NotIdentified, after: str = "") -> Finding:
    """An estimate in a sentence, open where it is not identified."""
    sentence = f"{before} {estimate}{after}."
    if isinstance(estimate, Interval):
        return Finding(about=about, sentence=sentence, confidence=estimate.confidence)
    return Finding(about=about, sentence=sentence, experiment=Experiment(what=estimate.remedy))
