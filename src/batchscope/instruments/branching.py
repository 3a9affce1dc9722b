"""The critical batch size by branching: one checkpoint, several batch sizes, equal examples."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import stats

from batchscope.budget import Budget
from batchscope.errors import CannotTell, InvalidInput
from batchscope.estimate import Estimate, Interval, NotIdentified
from batchscope.findings.seeds import estimate_over_seeds
from batchscope.instruments.checkpoint import Checkpoint, configure_alone
from batchscope.records import Precision
from batchscope.task import Task
from batchscope.training.hooks import Hook, RunState
from batchscope.training.loop import train

_CONFIDENCE = 0.95
_LEAST_SEEDS = 3
_RATES = (0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """What the branches of one batch size came to.

    Attributes:
        learning_rate: the best of those tried, by the mean loss over seeds.
        losses: on validation data, at equal examples, one per seed; infinite where it diverged.
        loss: their median with its interval.
        verdict: "as good" as every smaller one, "worse", or "cannot tell".
    """

    batch_size: int
    learning_rate: float
    losses: tuple[float, ...]
    loss: Estimate
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Branching:
    """The critical batch size at a checkpoint.

    Attributes:
        critical_batch_size: from the largest batch size shown to be as good as every smaller one,
            to the first shown to be worse.
        margin: by which a loss may be higher and still be as good: twice the standard deviation
            between seeds of the smallest batch size.
        examples: that each branch trained on.
    """

    task: str
    unit: str
    where: str
    critical_batch_size: Estimate
    margin: float
    branches: tuple[Branch, ...]
    examples: float
    examples_in_all: int

    def to_dict(self) -> dict[str, object]:
        """The measurement as JSON."""
        return {
            "task": self.task,
            "unit": self.unit,
            "where": self.where,
            "critical_batch_size": self.critical_batch_size.to_dict(),
            "margin": self.margin,
            "branches": [
                {
                    "batch_size": branch.batch_size,
                    "learning_rate": branch.learning_rate,
                    "loss": branch.loss.to_dict(),
                    "verdict": branch.verdict,
                }
                for branch in self.branches
            ],
            "examples": self.examples,
            "examples_in_all": self.examples_in_all,
        }

    def __repr__(self) -> str:
        return f"critical batch size of {self.task} {self.where}: {self.critical_batch_size}"


def branch_from(
    task: Task,
    checkpoint: Checkpoint,
    *,
    length: Budget,
    precision: Precision,
    device: torch.device,
    multipliers: Sequence[int] = (1, 2, 4, 8, 16),
    seeds: int = 5,
    report: Callable[[float], None] = lambda _: None,
) -> Branching:
    """Train branches at multiples of the checkpoint's batch size, three learning rates each.

    The rate is moved linearly for SGD and by the square root for others, then halved and doubled,
    so that a misfit of the rate is not read as an effect of the batch. Branches of one seed see the
    same examples in the same order.

    Args:
        length: of every branch, in epochs or examples.
        multipliers: of the batch size, the smallest first.
        seeds: orders of the examples, at least 3.

    Raises:
        InvalidInput: a budget in steps or seconds, too few seeds, or batches beyond the data.
        CannotTell: the smallest branch diverged.

    Source: Merrill et al. 2025 (arXiv 2505.23971), with a margin from seed noise instead of 0.01.
    """
    sizes = [k * checkpoint.batch_size for k in multipliers if k >= 1]
    examples_each = _check(task, length, seeds)
    # A branch of a single step would be no training.
    sizes = [size for size in sizes if 2 * size <= examples_each and size <= task.train_size]
    if len(sizes) < 2:
        raise InvalidInput(
            f"{examples_each:,.0f} {task.unit} allow {len(sizes)} of the batch sizes two steps",
            where="branching",
            expected="two batch sizes or more",
            do="begin at a smaller --batch-size, or give a longer --length",
        )
    losses: dict[tuple[int, float], list[float]] = {}
    jobs = [
        (size, rate, seed)
        for size in sizes
        for rate in _rates(task, checkpoint, size)
        for seed in range(seeds)
    ]
    examples = 0
    for done, (size, rate, seed) in enumerate(jobs, start=1):
        loss, used = _train_branch(
            task, checkpoint, size, rate, seed, length=length, precision=precision, device=device
        )
        losses.setdefault((size, rate), []).append(loss)
        examples += used
        report(done / len(jobs))
    best = _choose_rates(losses)
    margin = find_margin(best[sizes[0]][1])
    verdicts = judge_branches([np.array(best[size][1]) for size in sizes], margin=margin)
    return Branching(
        task=task.name,
        unit=task.unit,
        where=checkpoint.words,
        critical_batch_size=bracket(sizes, verdicts, unit=task.unit),
        margin=margin,
        branches=tuple(
            Branch(
                batch_size=size,
                learning_rate=best[size][0],
                losses=tuple(best[size][1]),
                loss=estimate_over_seeds(best[size][1], unit="loss"),
                verdict=verdict,
            )
            for size, verdict in zip(sizes, verdicts, strict=True)
        ),
        examples=examples_each,
        examples_in_all=examples + checkpoint.examples,
    )


def find_margin(losses: Sequence[float]) -> float:
    """Twice the standard deviation between seeds.

    Raises:
        CannotTell: one of them is not finite.
    """
    if not all(map(math.isfinite, losses)):
        raise CannotTell(
            "a branch of the smallest batch size diverged",
            where="branching",
            expected="a checkpoint from which training goes on",
            do="give a lower --learning-rate",
        )
    return 2 * float(np.std(losses, ddof=1))


def judge_branches(losses: Sequence[Any], *, margin: float) -> list[str]:
    """Each batch size against every smaller one that was as good, in pairs of seeds.

    As good: the upper 95% bound of each mean difference is within the margin. Worse: the lower 95%
    bound of one is beyond it. Once a size is not as good, no larger one is called so.

    Args:
        losses: one array over seeds per batch size, the smallest first.
    """
    verdicts = ["as good"]
    for place in range(1, len(losses)):
        bounds = [
            _bounds(losses[place] - losses[smaller])
            for smaller in range(place)
            if verdicts[smaller] == "as good"
        ]
        if any(low > margin for low, _ in bounds):
            verdicts.append("worse")
        elif all(high <= margin for _, high in bounds) and verdicts[-1] == "as good":
            verdicts.append("as good")
        else:
            verdicts.append("cannot tell")
    return verdicts


def bracket(sizes: Sequence[int], verdicts: Sequence[str], *, unit: str) -> Estimate:
    """From the largest size that is as good to the first that is worse: their geometric mean."""
    good = max(size for size, verdict in zip(sizes, verdicts, strict=True) if verdict == "as good")
    worse = [s for s, v in zip(sizes, verdicts, strict=True) if v == "worse" and s > good]
    if not worse:
        return NotIdentified(
            reason="no batch size was shown to be worse",
            remedy="branch at larger batch sizes, or with more seeds",
            unit=unit,
            low=float(good),
            confidence=_CONFIDENCE,
        )
    value = math.sqrt(good * worse[0])
    return Interval(value=value, low=float(good), high=float(worse[0]), unit=unit)


def _bounds(differences: Any) -> tuple[float, float]:
    """One-sided 95% bounds of a mean of paired differences; a diverged branch is worse."""
    if not np.isfinite(differences).all():
        return math.inf, math.inf
    half = stats.t.ppf(_CONFIDENCE, len(differences) - 1) * np.std(differences, ddof=1)
    half /= math.sqrt(len(differences))
    mean = float(differences.mean())
    return mean - float(half), mean + float(half)


def _rates(task: Task, checkpoint: Checkpoint, size: int) -> list[float]:
    kappa = size / checkpoint.batch_size
    power = 1.0 if task.optimizer_spec.name == "SGD" else 0.5
    return [checkpoint.learning_rate * kappa**power * factor for factor in _RATES]


def _choose_rates(
    losses: Mapping[tuple[int, float], list[float]],
) -> dict[int, tuple[float, list[float]]]:
    best: dict[int, tuple[float, list[float]]] = {}
    for (size, rate), values in losses.items():
        if size not in best or np.mean(values) < np.mean(best[size][1]):
            best[size] = (rate, values)
    return best


def _train_branch(
    task: Task,
    checkpoint: Checkpoint,
    size: int,
    rate: float,
    seed: int,
    *,
    length: Budget,
    precision: Precision,
    device: torch.device,
) -> tuple[float, int]:
    """The validation loss after a branch, infinite where it diverged, and its examples."""
    branch = replace(task, model=lambda: copy.deepcopy(checkpoint.model))
    configuration = configure_alone(
        branch,
        batch_size=size,
        learning_rate=rate,
        seed=seed + 1,
        budget=length,
        precision=precision,
        device=device,
    )
    outcome = train(branch, configuration, device=device, hooks=[_GoOn(checkpoint)])
    used = outcome.steps * size
    if outcome.status != "finished":
        return math.inf, used
    return outcome.trajectory.last("val_loss"), used


class _GoOn(Hook):
    """Gives a branch what the checkpoint's optimizer remembers, with the branch's own constants."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._memory = None if checkpoint.optimizer is None else checkpoint.optimizer.state_dict()

    def on_start(self, state: RunState) -> None:
        if self._memory is None:
            return
        own = [
            {name: value for name, value in group.items() if name != "params"}
            for group in state.optimizer.param_groups
        ]
        state.optimizer.load_state_dict(copy.deepcopy(self._memory))
        for group, constants in zip(state.optimizer.param_groups, own, strict=True):
            group.update(constants)


def _check(task: Task, length: Budget, seeds: int) -> float:
    """The examples of a branch."""
    if length.kind not in ("epochs", "examples"):
        raise InvalidInput(
            f"branches of {length} would see unequal examples",
            where="--length",
            expected="epochs or examples",
            do="give for example 1ep or 20000ex",
        )
    if seeds < _LEAST_SEEDS:
        raise InvalidInput(
            f"{seeds} seeds show no spread",
            where="--seeds",
            expected=f"at least {_LEAST_SEEDS}",
            do="leave it out for 5",
        )
    return length.amount * (task.train_size if length.kind == "epochs" else 1)
