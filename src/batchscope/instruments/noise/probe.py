"""The gradient noise scale at a frozen checkpoint."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from batchscope.budget import Budget
from batchscope.errors import CannotTell, InvalidInput
from batchscope.estimate import Estimate, Interval
from batchscope.instruments.checkpoint import Checkpoint
from batchscope.instruments.loss_gradients import LossGradients
from batchscope.instruments.noise.draws import GroupedDraws, choose_groups
from batchscope.instruments.noise.moments import (
    GroupedGradients,
    estimate_mean,
    jackknife_moments,
)
from batchscope.instruments.noise.preconditioning import explain_absence, find_weightings
from batchscope.instruments.noise.refusals import refuse_coupled_examples
from batchscope.instruments.noise.stopping import WHOLE, draw_until, estimate_noise_scale
from batchscope.records import Precision
from batchscope.task import Task
from batchscope.training.batches import split_indices
from batchscope.training.seeding import keep_randomness, seed_everything

# Every gradient below a hundredth of its length at the start: there is nothing left to estimate.
_VANISHED = 1e-4
_LAYER = "layer:"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseScale:
    """The gradient noise scale of a task at one place of its training.

    It is a local statistic: it says how many examples make the gradient's signal as large as its
    noise there, and not which batch size to use.

    Attributes:
        where: the checkpoint, in words.
        noise_scale: tr(Sigma) / abs(G)^2, in examples.
        gradient_squared: abs(G)^2, of the mean loss.
        noise_trace: tr(Sigma), per example.
        preconditioned: variant -> the noise scale as an Adam-type optimizer sees it; empty for
            other optimizers. How far they lie from one another is the model's uncertainty.
        layers: layer -> its own noise scale.
        micro_batch: examples behind each gradient that was drawn.
        micro_batches: how many were drawn.
        examples: that it took, the training to the checkpoint included.
        coupled: an example's loss depends on the others of its micro-batch.
    """

    task: str
    unit: str
    where: str
    noise_scale: Estimate
    gradient_squared: Estimate
    noise_trace: Estimate
    preconditioned: Mapping[str, Estimate]
    layers: Mapping[str, Estimate]
    micro_batch: int
    micro_batches: int
    examples: int
    coupled: bool

    @property
    def spread(self) -> tuple[float, float] | None:
        """The lowest and highest of the plain and preconditioned values; None where one lacks."""
        found = (self.noise_scale, *self.preconditioned.values())
        values = [estimate.value for estimate in found if isinstance(estimate, Interval)]
        known = len(values) == len(found) and len(found) > 1
        return (min(values), max(values)) if known else None

    def to_dict(self) -> dict[str, object]:
        """The measurement as JSON."""
        return {
            "task": self.task,
            "method": "probe",
            "unit": self.unit,
            "where": self.where,
            "noise_scale": self.noise_scale.to_dict(),
            "gradient_squared": self.gradient_squared.to_dict(),
            "noise_trace": self.noise_trace.to_dict(),
            "preconditioned": {n: e.to_dict() for n, e in self.preconditioned.items()},
            "spread": None if self.spread is None else list(self.spread),
            "layers": {name: estimate.to_dict() for name, estimate in self.layers.items()},
            "micro_batch": self.micro_batch,
            "micro_batches": self.micro_batches,
            "examples": self.examples,
            "coupled": self.coupled,
        }

    def __repr__(self) -> str:
        return f"noise scale of {self.task} {self.where}: {self.noise_scale}"


def measure_noise(
    task: Task,
    checkpoint: Checkpoint,
    *,
    precision: Precision,
    device: torch.device,
    micro_batch: int,
    width: float,
    budget: Budget,
    seed: int,
    allow_coupled: bool = False,
    report: Callable[[float], None] = lambda _: None,
) -> NoiseScale:
    """Draw micro-batch gradients with replacement until the noise scale is known well enough.

    Args:
        micro_batch: examples behind each gradient.
        width: of the 95% interval over its value that is narrow enough, above 0.
        budget: what may be drawn, in epochs, steps (micro-batches), examples or seconds.
        report: told which share of the budget is spent.

    Raises:
        CannotTell: the notion does not exist here: coupled examples, or interpolated data.
        InvalidInput: the budget allows too little, or the width is none.
    """
    refuse_coupled_examples(task, checkpoint.model, allow=allow_coupled)
    _check(width, micro_batch)
    gradients = LossGradients(task, checkpoint.model, precision=precision, device=device)
    limit = _Limit(budget, len(gradients), micro_batch, choose_groups(gradients))
    limit.check()
    weightings = find_weightings(checkpoint.optimizer, [p for _, p in gradients.named])
    source = GroupedDraws(
        gradients,
        micro_batch=micro_batch,
        generator=torch.Generator().manual_seed(seed),
        weightings={WHOLE: None, **weightings},
    )
    with keep_randomness():
        seed_everything(seed)
        groups = draw_until(
            source,
            width=width,
            most=limit.per_group,
            is_spent=limit.is_spent,
            report=lambda drawn: report(limit.share(drawn)),
        )
        _refuse_interpolation(task, groups[WHOLE], precision=precision, device=device)
    unit = task.unit
    moments = jackknife_moments(groups[WHOLE])
    return NoiseScale(
        task=task.name,
        unit=unit,
        where=checkpoint.words,
        noise_scale=estimate_noise_scale(groups[WHOLE], unit=unit),
        gradient_squared=estimate_mean(moments.signal, unit="squared gradient"),
        noise_trace=estimate_mean(moments.noise, unit="squared gradient"),
        preconditioned={name: estimate_noise_scale(groups[name], unit=unit) for name in weightings}
        or explain_absence(task.optimizer_spec.name, unit=unit),
        layers={
            name.removeprefix(_LAYER): estimate_noise_scale(part, unit=unit)
            for name, part in groups.items()
            if name.startswith(_LAYER)
        },
        micro_batch=micro_batch,
        micro_batches=source.examples // micro_batch,
        examples=source.examples + checkpoint.examples,
        coupled=allow_coupled,
    )


class _Limit:
    """A budget, counted in micro-batches per group and on the clock."""

    def __init__(self, budget: Budget, size: int, micro_batch: int, groups: int) -> None:
        examples = {
            "epochs": budget.amount * size,
            "steps": budget.amount * micro_batch,
            "examples": budget.amount,
            "seconds": float("inf"),
        }[budget.kind]
        self._seconds = budget.amount if budget.kind == "seconds" else float("inf")
        self._began = time.perf_counter()
        self._least = 2 * groups * micro_batch
        self.per_group = int(min(examples, 2.0**60) // (groups * micro_batch))

    def check(self) -> None:
        """See that it allows two micro-batches for each group."""
        if self.per_group < 2:
            raise InvalidInput(
                "the budget allows too few gradients for an interval",
                where="--budget of the noise scale",
                expected=f"at least {self._least:,} examples at this micro-batch",
                do="give a larger --budget, or a smaller --micro-batch",
            )

    def is_spent(self) -> bool:
        return time.perf_counter() - self._began > self._seconds

    def share(self, drawn: int) -> float:
        seconds = (time.perf_counter() - self._began) / self._seconds
        return min(1.0, max(seconds, drawn / self.per_group))


def _check(width: float, micro_batch: int) -> None:
    if not width > 0 or micro_batch < 1:
        raise InvalidInput(
            f"a width of {width} with micro-batches of {micro_batch}",
            where="--width, --micro-batch",
            expected="a width above 0, such as 0.6, and at least 1 example",
            do="leave them out for the defaults",
        )


def _refuse_interpolation(
    task: Task, groups: GroupedGradients, *, precision: Precision, device: torch.device
) -> None:
    """See that the examples' own gradients have not vanished."""
    seed_everything(0)
    start = LossGradients(task, task.model().to(device), precision=precision, device=device)
    count = min(len(start), len(groups.squares) * groups.micro_batch)
    first = [
        sum(float(part.dot(part)) for part in start.at(piece))
        for piece in split_indices(torch.arange(count), groups.micro_batch)
    ]
    now, then = float(groups.squares.mean()), sum(first) / len(first)
    if now < _VANISHED * then:
        raise CannotTell(
            "the model interpolates its training data: the gradient of every example has "
            f"vanished, to {(now / then) ** 0.5:.2g} of its length at the initial weights",
            where=task.name,
            expected="examples that still pull at the weights",
            do="measure earlier in the training: --after 1ep",
        )
