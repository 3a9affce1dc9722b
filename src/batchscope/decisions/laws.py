"""Published laws of batch size and learning rate for language models too large for a sweep."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from batchscope.errors import InvalidInput
from batchscope.estimate import Interval, write_number

Span = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """A power law as published: factor x N^of_parameters x D^of_tokens.

    Attributes:
        what: "best batch size", "critical batch size" (B_20) or "learning rate".
        unit: of its value.
        parameters, tokens: between which it was fitted.
    """

    name: str
    source: str
    what: str
    unit: str
    factor: float
    of_parameters: float
    of_tokens: float
    parameters: Span
    tokens: Span

    def at(self, parameters: float, tokens: float) -> float:
        """The value for N parameters trained on D tokens."""
        return self.factor * parameters**self.of_parameters * tokens**self.of_tokens

    def doublings_outside(self, parameters: float, tokens: float) -> float:
        """How far outside what it was fitted on, in doublings; 0 inside."""
        away = 0.0
        for value, (low, high) in ((parameters, self.parameters), (tokens, self.tokens)):
            away = max(away, math.log2(low / value), math.log2(value / high))
        return away


# In the log, what a law may err by for each doubling outside of what it was fitted on.
_PER_DOUBLING = 0.2

# B_20 = 93.2 (N / 10^6)^0.468 sequences of 512 tokens where D = 20 N; it follows D, not N.
_ZHANG = 93.2 * 512 / (20 * 1e6) ** 0.468
_ZHANG_TOKENS = (1.7e9, 24e9)
_STEP_LAW = "Li et al. 2025, Step Law (arXiv 2503.04715)"
_STEP_PARAMETERS, _STEP_TOKENS = (6e7, 1.07e9), (2e9, 1e11)
_DEEPSEEK = "DeepSeek LLM 2024 (arXiv 2401.02954), with compute 6 N D"
_DEEPSEEK_PARAMETERS, _DEEPSEEK_TOKENS = (1e7, 4e8), (1e9, 1e10)

LAWS = (
    Law(
        name="Zhang et al.",
        source="Zhang et al. 2024 (arXiv 2410.21676)",
        what="critical batch size",
        unit="tokens",
        factor=_ZHANG,
        of_parameters=0.0,
        of_tokens=0.468,
        parameters=(85e6, 1.2e9),
        tokens=_ZHANG_TOKENS,
    ),
    Law(
        name="Step Law",
        source=_STEP_LAW,
        what="best batch size",
        unit="tokens",
        factor=0.58,
        of_parameters=0.0,
        of_tokens=0.571,
        parameters=_STEP_PARAMETERS,
        tokens=_STEP_TOKENS,
    ),
    Law(
        name="DeepSeek",
        source=_DEEPSEEK,
        what="best batch size",
        unit="tokens",
        factor=0.2920 * 6**0.3271,
        of_parameters=0.3271,
        of_tokens=0.3271,
        parameters=_DEEPSEEK_PARAMETERS,
        tokens=_DEEPSEEK_TOKENS,
    ),
    Law(
        name="Step Law",
        source=_STEP_LAW,
        what="learning rate",
        unit="",
        factor=1.79,
        of_parameters=-0.713,
        of_tokens=0.307,
        parameters=_STEP_PARAMETERS,
        tokens=_STEP_TOKENS,
    ),
    Law(
        name="DeepSeek",
        source=_DEEPSEEK,
        what="learning rate",
        unit="",
        factor=0.3118 * 6**-0.1250,
        of_parameters=-0.1250,
        of_tokens=-0.1250,
        parameters=_DEEPSEEK_PARAMETERS,
        tokens=_DEEPSEEK_TOKENS,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRun:
    """One's own measurement: the best or critical batch size, in tokens, of a small model."""

    parameters: float
    tokens: float
    batch_tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one law says.

    Attributes:
        value: as published, or moved to one's own runs.
        low, high: around it, by how far it lies outside of what it was fitted on, and by how one's
            own runs scatter about it.
        doublings_outside: of what it was fitted on.
        errors: by what factor it is above each of one's own runs, as published.
    """

    law: Law
    value: float
    low: float
    high: float
    doublings_outside: float
    errors: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """What it says as JSON."""
        return {
            "law": self.law.name,
            "source": self.law.source,
            "what": self.law.what,
            "unit": self.law.unit,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "doublings_outside": self.doublings_outside,
            "fitted_parameters": list(self.law.parameters),
            "fitted_tokens": list(self.law.tokens),
            "errors": list(self.errors),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Extrapolation:
    """What all laws say of one training, and how far they are apart.

    Attributes:
        batch_size: in tokens; from the lowest law's low end to the highest one's high end. If the
            truth were one more law like these, it would lie between these laws as often as its
            confidence says: of three laws one time in two, of two one time in three.
        learning_rate: the same, of Adam.
    """

    parameters: float
    tokens: float
    said: tuple[Said, ...]
    batch_size: Interval
    learning_rate: Interval
    is_anchored: bool

    def to_dict(self) -> dict[str, object]:
        """The extrapolation as JSON."""
        return {
            "parameters": self.parameters,
            "tokens": self.tokens,
            "batch_size": self.batch_size.to_dict(),
            "learning_rate": self.learning_rate.to_dict(),
            "is_anchored": self.is_anchored,
            "laws": [one.to_dict() for one in self.said],
        }

    def __str__(self) -> str:
        runs = ", moved to your own runs," if self.is_anchored else ""
        return (
            f"An extrapolation: batches{runs} of {self.batch_size}, a learning rate of "
            f"{self.learning_rate}; from the lowest law to the highest, a fifth wider for each "
            "doubling outside of what a law was fitted on, which is no 95% interval."
        )


def extrapolate(parameters: float, tokens: float, *, own: Sequence[OwnRun] = ()) -> Extrapolation:
    """What the published laws say, each moved by the mean factor by which it misses one's own runs.

    Own runs are of the batch size; what laws say of the learning rate stays as published.

    Raises:
        InvalidInput: a number is below 1, or a run's batch larger than all its tokens.

    Example:
        >>> found = extrapolate(1e9, 2e10)
        >>> found.batch_size.low < found.batch_size.value < found.batch_size.high
        True
    """
    for name, value in {"parameters": parameters, "tokens": tokens}.items():
        _check(name, value)
    for run in own:
        for name in run.__slots__:
            _check(name, getattr(run, name))
        if run.batch_tokens > run.tokens:
            raise InvalidInput(
                f"a batch of {write_number(run.batch_tokens)} tokens, "
                f"of {write_number(run.tokens)} in all",
                where="--measured",
                expected="parameters, all tokens and those of a batch, such as 1e8:2e9:65536",
                do="mend the order of the numbers",
            )
    said = [_ask(law, parameters, tokens, own) for law in LAWS]
    sizes = [one for one in said if one.law.unit == "tokens"]
    rates = [one for one in said if one.law.what == "learning rate"]
    return Extrapolation(
        parameters=parameters,
        tokens=tokens,
        said=tuple(said),
        batch_size=_span(sizes, "tokens"),
        learning_rate=_span(rates, ""),
        is_anchored=bool(own),
    )


def _ask(law: Law, parameters: float, tokens: float, own: Sequence[OwnRun]) -> Said:
    errors: tuple[float, ...] = ()
    log = math.log(law.at(parameters, tokens))
    outside = law.doublings_outside(parameters, tokens)
    variance = (_PER_DOUBLING * outside) ** 2
    if law.unit == "tokens" and own:
        errors = tuple(law.at(run.parameters, run.tokens) / run.batch_tokens for run in own)
        logs = list(map(math.log, errors))
        log -= statistics.fmean(logs)
        if len(logs) > 1:
            variance += statistics.variance(logs) * (1 + 1 / len(logs))
    around = math.sqrt(variance)
    return Said(
        law=law,
        value=math.exp(log),
        low=math.exp(log - around),
        high=math.exp(log + around),
        doublings_outside=outside,
        errors=errors,
    )


def _span(said: Sequence[Said], unit: str) -> Interval:
    """From the lowest to the highest; were the truth one more of its like, as often within."""
    low, high = min(one.low for one in said), max(one.high for one in said)
    middle = statistics.geometric_mean([one.value for one in said])
    return Interval(
        # Where all laws agree the mean rounds to beside them.
        value=min(max(middle, low), high),
        low=low,
        high=high,
        unit=unit,
        confidence=(len(said) - 1) / (len(said) + 1),
    )


def _check(name: str, value: float) -> None:
    if not 1 <= value < math.inf:
        raise InvalidInput(
            f"{name} of {write_number(value)}",
            where=name,
            expected="a number from 1 on, such as 1e9",
            do="mend the number",
        )
