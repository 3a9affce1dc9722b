"""What a run may spend and what it must reach."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

from batchscope.errors import InvalidInput

BudgetKind = Literal["epochs", "steps", "examples", "seconds"]
Direction = Literal["<=", ">="]

_SUFFIXES: dict[str, tuple[BudgetKind, float]] = {
    "ep": ("epochs", 1),
    "epoch": ("epochs", 1),
    "epochs": ("epochs", 1),
    "step": ("steps", 1),
    "steps": ("steps", 1),
    "ex": ("examples", 1),
    "examples": ("examples", 1),
    "s": ("seconds", 1),
    "seconds": ("seconds", 1),
    "min": ("seconds", 60),
    "h": ("seconds", 3600),
}
_SHORT: dict[BudgetKind, str] = {
    "epochs": "ep",
    "steps": "steps",
    "examples": "ex",
    "seconds": "s",
}


@dataclass(frozen=True, slots=True)
class Budget:
    """What one run may spend.

    Attributes:
        amount: above 0, in epochs, steps, examples or seconds of training.
        kind: which of the four.
        until: what ends a run earlier: a target, or "plateau" where validation has stopped
            improving; None for nothing.

    Raises:
        InvalidInput: the amount is not a finite number above 0.

    Example:
        >>> str(epochs(25)), str(seconds(90)), str(until_plateau(epochs(100)))
        ('25ep', '90s', '100ep until plateau')
    """

    amount: float
    kind: BudgetKind
    until: "Target | Literal['plateau'] | None" = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.amount) and self.amount > 0):
            raise InvalidInput(
                f"a budget of {self.amount:g} {self.kind} trains nothing",
                where="budget",
                expected="a finite amount above 0",
                do='give for example "25ep", "2000steps", "1e6ex" or "90s"',
            )

    def __str__(self) -> str:
        ending = "" if self.until is None else f" until {self.until}"
        return f"{self.amount:.15g}{_SHORT[self.kind]}{ending}"

    def steps(self, train_size: int, batch_size: int) -> int | None:
        """Optimizer steps that the budget allows, at least 1; None where only the clock tells.

        An epoch is a pass in which the last batch may be short.
        """
        per_epoch = math.ceil(train_size / batch_size)
        if self.kind == "seconds":
            return None
        if self.kind == "steps":
            return max(1, round(self.amount))
        passes = self.amount if self.kind == "epochs" else self.amount / train_size
        whole, part = divmod(passes, 1)
        rest = math.ceil(round(part * train_size, 6) / batch_size)
        return max(1, int(whole) * per_epoch + rest)

    def ends_early(self, columns: Mapping[str, Sequence[float]], train_size: int) -> bool:
        """Whether a run ends at the last of its evaluations, its amount not spent.

        To a target: it is reached. To a plateau: the lowest validation loss is at least an epoch
        old, and half of the examples came after it.

        Args:
            columns: of its trajectory, so far.
        """
        if isinstance(self.until, Target):
            return self.until.is_met(columns[self.until.metric][-1:])
        if self.until is None:
            return False
        losses, examples = columns["val_loss"], columns["examples"]
        best = min(range(len(losses)), key=losses.__getitem__)
        since = examples[-1] - examples[best]
        return since >= max(train_size, examples[best])

    def first_end(
        self, columns: Mapping[str, Sequence[float]], train_size: int, *, within: int
    ) -> int | None:
        """The first of the evaluations below `within` at which a run ends early; None for none.

        Args:
            columns: of the whole trajectory.
        """
        for at in range(within):
            so_far = {name: values[: at + 1] for name, values in columns.items()}
            if self.ends_early(so_far, train_size):
                return at
        return None


def epochs(amount: float) -> Budget:
    """A budget of passes over the training set."""
    return Budget(float(amount), "epochs")


def steps(amount: float) -> Budget:
    """A budget of optimizer steps."""
    return Budget(float(amount), "steps")


def examples(amount: float) -> Budget:
    """A budget of examples seen."""
    return Budget(float(amount), "examples")


def seconds(amount: float) -> Budget:
    """A budget of training seconds, evaluation not counted."""
    return Budget(float(amount), "seconds")


def until_plateau(most: Budget) -> Budget:
    """A budget of which no more is spent once validation has stopped improving."""
    return replace(most, until="plateau")


def until_target(most: Budget, target: "Target") -> Budget:
    """A budget of which no more is spent once a target is reached."""
    return replace(most, until=target)


def parse_budget(text: str, *, where: str = "--budget") -> Budget:
    """Read a budget as it is written on the command line.

    Args:
        where: it was written, for the error.

    Raises:
        InvalidInput: the text is no amount with a known unit.

    Example:
        >>> str(parse_budget("1e6ex"))
        '1000000ex'
    """
    amount, _, ending = (part.strip() for part in text.partition(" until "))
    if ending == "plateau":
        return until_plateau(parse_budget(amount, where=where))
    if ending:
        if get_close_matches(ending, ["plateau"], cutoff=0.8):
            raise InvalidInput(
                f"a budget ends at a plateau or a target, not at {ending!r}",
                where=where,
                expected='"plateau", or a target such as "error<=0.05"',
                do="did you mean plateau?",
            )
        return until_target(parse_budget(amount, where=where), parse_target(ending, where=where))
    match = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-z]+)\s*", text.lower())
    if match is None or match[2] not in _SUFFIXES or not _is_number(match[1]):
        raise InvalidInput(
            f"{text!r} is not a budget",
            where=where,
            expected="a number and its unit: ep, steps, ex or s",
            do='write for example "25ep", "2000steps", "1e6ex", "90s" or "100ep until plateau"',
        )
    kind, factor = _SUFFIXES[match[2]]
    return Budget(float(match[1]) * factor, kind)


@dataclass(frozen=True, slots=True)
class Target:
    """A metric and the value that it must reach on the validation set.

    Attributes:
        metric: a name of the task's metrics, or "val_loss", or one that begins with "train_".
        value: finite.
        direction: "<=" or ">="; None for the direction in which the metric is better.

    Example:
        >>> str(reach("error", 0.05)), str(parse_target("accuracy>=0.95"))
        ('error 0.05', 'accuracy>=0.95')
    """

    metric: str
    value: float
    direction: Direction | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise InvalidInput(
                f"no run can reach {self.metric} {self.value}",
                where="target",
                expected="a finite value",
                do='write for example "error<=0.05"',
            )

    def is_met(self, values: Iterable[float]) -> bool:
        """Whether any of these is there."""
        return any(v >= self.value if self.direction == ">=" else v <= self.value for v in values)

    def towards(self, better: Direction, *, where: str) -> "Target":
        """The target with its direction.

        Args:
            better: the direction in which its metric is better.
            where: the target was said, for the error.

        Raises:
            InvalidInput: it asks for the other one.
        """
        if self.direction not in (None, better):
            raise InvalidInput(
                f"{self} asks for a worse {self.metric}",
                where=where,
                expected=f"{self.metric}{better}{self.value:g}",
                do="turn it round, or mark the metric with bs.higher where higher is better",
            )
        return replace(self, direction=better)

    def __str__(self) -> str:
        return f"{self.metric}{self.direction or ' '}{self.value:.15g}"


def reach(metric: str, value: float, direction: Direction | None = None) -> Target:
    """A target, in the direction in which the metric is better unless given."""
    return Target(metric, value, direction)


def parse_target(text: str, *, where: str = "--target") -> Target:
    """Read a target as it is written on the command line.

    Args:
        where: it was written, for the error.

    Raises:
        InvalidInput: the text is no metric, direction and value.
    """
    match = re.fullmatch(r"\s*(\S.*?)\s*(<=|>=|=<|=>|<|>)\s*(\S+)\s*", text)
    if match is None or not _is_number(match[3]):
        raise InvalidInput(
            f"{text!r} is not a target",
            where=where,
            expected="a metric, <= or >=, and a value",
            do='write for example "error<=0.05", with the quotes',
        )
    direction: Direction = "<=" if "<" in match[2] else ">="
    return Target(match[1], float(match[3]), direction)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
