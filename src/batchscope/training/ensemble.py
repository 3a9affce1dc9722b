"""Many runs of one batch size as one batched program: stacked weights, one update for all."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from batchscope.records import Configuration, Status, Trajectory
from batchscope.task import Task, tensors_of
from batchscope.training.devices import synchronize
from batchscope.training.evaluation import (
    Evaluator,
    horizon_examples,
    marks_of,
)
from batchscope.training.loop import Outcome
from batchscope.training.schedules import parse_schedule
from batchscope.training.seeding import draw_order, keep_randomness, seed_everything
from batchscope.training.stacked_models import STEPS_BEFORE_TRACING, StackedModels
from batchscope.training.stacked_optimizers import StackedOptimizer, pace_of, stack_optimizer

# A run by its place, its model and what it scores.
Show = Callable[[int, nn.Module, Mapping[str, float]], None]

# As for a run alone: a third of an epoch of 300 examples is 100, whatever floating point says.
_ROUNDING = 1e-6


def train_together(
    task: Task,
    configurations: Sequence[Configuration],
    *,
    device: torch.device,
    report: Callable[[float, float | None], None] | None = None,
    show: Show | None = None,
    trace_after: int | None = STEPS_BEFORE_TRACING,
) -> list[Outcome]:
    """Train runs that share all but their learning rate, weight decay and seed.

    Each has its own weights, rate and example order, and is what it would be alone up to the order
    of floating-point sums. One that diverges leaves the others untouched.

    Args:
        configurations: that `why_not_together` has nothing against.
        report: is told the share of the budget that is spent, and the lowest training loss.
        show: is shown each run at its evaluations: its place in `configurations`, its model, which
            is the next one's afterwards, and what its trajectory gained. Where a model turns out to
            change as it is trained all begin anew, with step 0.
        trace_after: steps of one shape, from which on they are a list of operations; None for
            never. The runs are the same.

    Returns:
        What became of each, in order; `seconds` are its part of the program's.
    """
    report = report or _ignore
    places = sort_by_pace(configurations)
    ordered = [configurations[place] for place in places]

    def show_ordered(place: int, model: nn.Module, row: Mapping[str, float]) -> None:
        if show is not None:
            show(places[place], model, row)

    def run(trace_after: int | None) -> list[Outcome]:
        ensemble = _Ensemble(task, ordered, device, report, show_ordered, trace_after=trace_after)
        return ensemble.run()

    with keep_randomness():
        try:
            found = run(trace_after)
        except _ChangedModel:
            found = run(None)
    outcomes = dict(zip(places, found, strict=True))
    return [outcomes[place] for place in range(len(found))]


def sort_by_pace(configurations: Sequence[Configuration]) -> list[int]:
    """The places of runs, those of one rate and decay side by side."""
    return sorted(
        range(len(configurations)),
        key=lambda place: pace_of(configurations[place].hyper_parameters),
    )


class _ChangedModel(Exception):
    """A model does not do at every step what it did at one."""


def _ignore(share: float, loss: float | None) -> None:
    """For callers who do not watch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Left:
    """How a run ended."""

    status: Status
    steps: int
    seconds: float


class _Member:
    """What is known of one run."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.columns: dict[str, list[float]] = {}
        self.left: _Left | None = None


class _Ensemble:
    """The state of all runs between their steps."""

    def __init__(
        self,
        task: Task,
        configurations: Sequence[Configuration],
        device: torch.device,
        report: Callable[[float, float | None], None],
        show: Show,
        *,
        trace_after: int | None,
    ) -> None:
        self._task = task
        self._report = report
        self._show = show
        self._device = device
        self._configurations = configurations
        first = configurations[0]
        tensors = tensors_of(task.datasets["train"])
        assert tensors is not None
        self._tensors = tuple(tensor.to(device) for tensor in tensors)
        self._size = len(self._tensors[0])
        self._batch_size = first.batch_size
        models: list[nn.Module] = []
        for configuration in configurations:
            seed_everything(configuration.seed)
            models.append(task.model().to(device))
        self._model = models[0]
        self._stacked = StackedModels(task.loss, models, trace_after=trace_after)
        self._optimizer: StackedOptimizer = stack_optimizer(
            [c.hyper_parameters for c in configurations], first.optimizer, self._stacked.weights
        )
        self._evaluator = Evaluator(task, precision=first.precision, device=device)
        self._members = [_Member(c.seed) for c in configurations]
        self._alive = list(self._members)
        self._budget = first.budget
        self._schedule = parse_schedule(first.schedule)
        self._horizon = horizon_examples(self._budget, self._size, self._batch_size)
        self._marks = marks_of(first, self._size, self._horizon)
        self._next_mark = next(self._marks)
        self._step = 0
        self._examples = 0
        self._seconds = 0.0

    def run(self) -> list[Outcome]:
        self._evaluate(None)
        epoch = 0
        while not self._is_over():
            self._run_epoch(epoch)
            epoch += 1
        if self._alive and self._alive[0].columns["step"][-1] < self._step:
            self._evaluate(None)
        return [self._outcome(member) for member in self._members]

    def _run_epoch(self, epoch: int) -> None:
        orders = {m.seed: draw_order(self._size, seed=m.seed, epoch=epoch) for m in self._alive}
        order = torch.stack([orders[m.seed] for m in self._alive]).to(self._device)
        began = time.perf_counter()
        for start in range(0, self._size, self._batch_size):
            index = order[:, start : start + self._batch_size]
            batch = tuple(tensor[index] for tensor in self._tensors)
            gradients, losses = self._stacked.gradients(batch)
            factor = self._rate_factor()
            self._step += 1
            self._examples += index.shape[1]
            looks = self._examples >= self._next_mark or self._is_spent()
            if looks and not self._stacked.still_holds():
                raise _ChangedModel
            norms = gradients.square().sum(1).sqrt() if looks else None
            self._optimizer.step(self._stacked.weights, gradients, factor=factor)
            left = self._keep(losses.isfinite(), "diverged")
            if left is not None:
                order = order[left]
                norms = None if norms is None else norms[left]
            if looks:
                synchronize(self._device)
                self._seconds += (time.perf_counter() - began) * self._share
                self._evaluate(norms)
                losses = [member.columns["train_loss"][-1] for member in self._alive]
                self._report(min(1.0, self._examples / self._horizon), min(losses, default=None))
                if self._alive:
                    order = torch.stack([orders[m.seed] for m in self._alive]).to(self._device)
                began = time.perf_counter()
            if self._is_over():
                break
        synchronize(self._device)
        self._seconds += (time.perf_counter() - began) * self._share

    @property
    def _share(self) -> float:
        """Of the program's time that one run has."""
        return 1 / max(1, len(self._alive))

    def _keep(self, goes_on: torch.Tensor, ending: Status) -> torch.Tensor | None:
        """Go on without those that have come to an end; returns the places of the others."""
        if bool(goes_on.all()):
            return None
        # Their batches since the last look can only be asked again with all that had a part.
        if not self._stacked.still_holds():
            raise _ChangedModel
        stays = [bool(one) for one in goes_on]
        for member, one in zip(self._alive, stays, strict=True):
            if not one:
                member.left = self._leave(ending)
        self._alive = [m for m, one in zip(self._alive, stays, strict=True) if one]
        left = goes_on.nonzero()[:, 0]
        self._stacked.keep(left)
        self._optimizer.keep(left)
        return left

    def _leave(self, ending: Status) -> _Left:
        return _Left(status=ending, steps=self._step, seconds=self._seconds)

    def _evaluate(self, norms: torch.Tensor | None) -> None:
        finite: list[bool] = []
        rate_factor = self._rate_factor()
        for place, member in enumerate(self._alive):
            self._stacked.copy_into(self._model, place)
            scores = self._evaluator.evaluate(self._model)
            finite.append(all(math.isfinite(scores[n]) for n in ("train_loss", "val_loss")))
            if not finite[-1]:
                continue
            row = {
                "step": float(self._step),
                "examples": float(self._examples),
                "seconds": self._seconds,
                "gradient_norm": math.nan if norms is None else float(norms[place]),
                "learning_rate": rate_factor * self._configuration_of(member).learning_rate,
                **scores,
            }
            for name, value in row.items():
                member.columns.setdefault(name, []).append(value)
            self._show(self._members.index(member), self._model, row)
        self._keep(torch.tensor(finite, dtype=torch.bool, device=self._device), "diverged")
        goes_on = [not self._budget.ends_early(m.columns, self._size) for m in self._alive]
        self._keep(torch.tensor(goes_on, dtype=torch.bool, device=self._device), "finished")
        while self._next_mark <= self._examples:
            self._next_mark = next(self._marks)

    def _rate_factor(self) -> float:
        """Of the highest rate, at the step that comes next."""
        return self._schedule.factor_of_step(
            self._step,
            batch_size=self._batch_size,
            steps=self._budget.steps(self._size, self._batch_size),
        )

    def _configuration_of(self, member: _Member) -> Configuration:
        return self._configurations[self._members.index(member)]

    def _is_over(self) -> bool:
        return not self._alive or self._is_spent()

    def _is_spent(self) -> bool:
        if self._budget.kind == "steps":
            return self._step >= max(1, round(self._budget.amount))
        return self._examples >= self._horizon - _ROUNDING

    def _outcome(self, member: _Member) -> Outcome:
        columns = {name: tuple(values) for name, values in member.columns.items()}
        left = member.left or self._leave("finished")
        return Outcome(
            status=left.status,
            steps=left.steps,
            trajectory=Trajectory(columns=columns),
            seconds=left.seconds,
        )
