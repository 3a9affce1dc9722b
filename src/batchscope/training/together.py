"""Whether runs can share one batched program, and whether that is faster."""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from batchscope.optimizers import SGD, Adam
from batchscope.records import Configuration
from batchscope.task import Task, tensors_of
from batchscope.training.batches import Batches
from batchscope.training.devices import synchronize
from batchscope.training.ensemble import sort_by_pace
from batchscope.training.schedules import parse_schedule
from batchscope.training.seeding import draw_order, keep_randomness, seed_everything
from batchscope.training.stacked_models import STEPS_BEFORE_TRACING, StackedModels
from batchscope.training.stacked_optimizers import PER_MEMBER, stack_optimizer
from batchscope.training.stepper import Stepper

_TRIAL_STEPS = 3
_WARM_UP_STEPS = 2
_TIMED_STEPS = 6
# Of the time apart, beyond which a step of all is not timed more than twice.
_TOO_LONG = 1.25
# Seconds of a step alone: in longer ones, asking the model is a small part.
_SHORT_STEP = 0.005
# Of all members, as many as writing a step down and checking it are, at most.
_WRITING_STEPS = 7
# Weights that moved by d may differ by this share of d after the trial's steps.
_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """What sharing a program does for runs of one batch size.

    Attributes:
        gain: seconds of the runs one after another over seconds together; 0 where they cannot.
        reason: why they cannot; None where nothing is against it.
        examples: processed to find out.
    """

    gain: float
    reason: str | None = None
    examples: int = 0


def trial_examples(members: int, batch_size: int) -> int:
    """Examples that `measure_together` processes at most for so many runs.

    Of runs whose steps it also writes down up to two and a half times as many: little to so long
    runs.
    """
    # Timed are all members and, alone, one; compared all and, alone, two.
    timed = (_WARM_UP_STEPS + _TIMED_STEPS) * (members + 1)
    return (timed + _TRIAL_STEPS * (members + 2)) * batch_size


def why_not_together(task: Task, configurations: Sequence[Configuration]) -> str | None:
    """What stands against one program for these runs, as far as it shows without running them."""
    first = configurations[0]
    spec = task.optimizer_spec
    constants = [
        {k: v for k, v in c.hyper_parameters.items() if k not in PER_MEMBER} for c in configurations
    ]
    unlike = [replace(c, seed=0, hyper_parameters=first.hyper_parameters) for c in configurations]
    checks = (
        (tensors_of(task.datasets["train"]) is None, "its examples are not rows of tensors"),
        (task.collate is not None, "it collates its batches itself"),
        (task.length is not None, "its examples differ in length"),
        (task.clip_norm is not None, "it clips its gradients"),
        (not isinstance(spec, (SGD, Adam)), f"its optimizer is {spec.name}"),
        (first.precision != "float32", f"it trains in {first.precision}"),
        (first.devices > 1, "several devices share its steps"),
        (first.micro_batch != first.batch_size, "it accumulates gradients"),
        (first.budget.kind == "seconds", "its budget is in seconds"),
        (parse_schedule(first.schedule).kind == "averaged", "its weights are averaged"),
        (len({c.key for c in unlike}) > 1, "the runs differ in more than rate, decay and seed"),
        (any(c != constants[0] for c in constants), "the runs differ in the optimizer's constants"),
    )
    return next((reason for stands_against, reason in checks if stands_against), None)


def measure_together(
    task: Task,
    configurations: Sequence[Configuration],
    *,
    device: torch.device,
    least_gain: float = 0.0,
) -> Together:
    """Try some steps alone and together: sooner, and the same weights must come out.

    Args:
        configurations: runs of one batch size, at least 2.
        least_gain: below which nobody asks for the weights.
    """
    reason = why_not_together(task, configurations)
    if reason is not None:
        return Together(gain=0.0, reason=reason)
    with keep_randomness(), warnings.catch_warnings():
        # Where an operation is batched slowly, the times tell.
        warnings.filterwarnings("ignore", message=".*batching rule")
        if not all(weight.requires_grad for weight in task.model().parameters()):
            return Together(gain=0.0, reason="some of its weights are not trained")
        ordered = [configurations[place] for place in sort_by_pace(configurations)]
        trial = _Trial(task, ordered, device)
        try:
            gain = trial.measure_gain(enough=least_gain)
            reason = None if gain < least_gain else trial.compare()
        except Exception as error:  # whatever a model does that cannot be batched
            gain = 0.0
            said = str(error).strip() or type(error).__name__
            reason = f"its model cannot be batched: {said.splitlines()[0]}"
        examples = trial.steps * configurations[0].batch_size
        return Together(gain=0.0 if reason else gain, reason=reason, examples=examples)


class _Trial:
    """A few steps of the first batch, alone and together.

    Attributes:
        steps: that were taken, those together as often as there are runs.
    """

    def __init__(
        self, task: Task, configurations: Sequence[Configuration], device: torch.device
    ) -> None:
        self._task = task
        self._configurations = configurations
        self._device = device
        self._batches = Batches(task, task.datasets["train"], device)
        size = configurations[0].batch_size
        orders = [
            draw_order(len(self._batches), seed=c.seed, epoch=0)[:size] for c in configurations
        ]
        self._orders = orders
        tensors = tensors_of(task.datasets["train"])
        assert tensors is not None
        index = torch.stack(orders)
        self._batch = tuple(tensor[index].to(device) for tensor in tensors)
        self._stacked = self._stack()
        self.steps = 0

    def compare(self) -> str | None:
        """Whether the first and the last member come out as they do alone; else why not."""
        self._stack_anew(trace_after=None)
        started = self._stacked.weights.clone()
        for _ in range(_TRIAL_STEPS):
            self._step_together()
        for place in (0, len(self._configurations) - 1):
            alone = self._stepper(place)
            for _ in range(_TRIAL_STEPS):
                self._step_alone(alone, place)
            weights = torch.cat([p.detach().flatten() for p in alone.parameters])
            moved, off = (
                float((weights - other[place]).square().sum().sqrt())
                for other in (started, self._stacked.weights)
            )
            if off > _TOLERANCE * moved:
                return "its runs come out otherwise than alone"
        return None

    def measure_gain(self, *, enough: float) -> float:
        """Seconds of a step of each, one after another, over those of one step of all.

        Of runs of many short steps most are a list of operations: where asking the model at every
        step gains less than `enough`, these are timed too, and the mean over the run counts.
        """
        members = len(self._orders)
        alone = self._stepper(0)
        apart = self._time(lambda: self._step_alone(alone, 0))
        asked = self._time(self._step_together, too_long=_TOO_LONG * members * apart)
        gain = members * apart / asked
        if gain >= enough or apart > _SHORT_STEP:
            return gain
        asks, others = self._count_steps()
        if others < asks:
            return gain
        began = time.perf_counter()
        self._stack_anew(trace_after=1)
        self._step_together()
        writing = time.perf_counter() - began
        self.steps += (_WRITING_STEPS - 1) * members
        if not self._stacked.is_written:
            return gain
        together = asks * asked + writing + others * self._time(self._step_together)
        return (asks + others) * members * apart / together

    def _count_steps(self) -> tuple[int, int]:
        """Of a run those at which the model is asked, and those that are a list of operations.

        A run that may end early may have none of these.
        """
        first, size = self._configurations[0], len(self._batches)
        steps = first.budget.steps(size, first.batch_size)
        # Budgets in seconds share no program.
        assert steps is not None
        if first.budget.until is not None:
            return steps, 0
        short = steps // math.ceil(size / first.batch_size) if size % first.batch_size else 0
        asks = sum(min(count, STEPS_BEFORE_TRACING) for count in (steps - short, short))
        return asks, steps - asks

    def _time(self, step: Callable[[], None], *, too_long: float = math.inf) -> float:
        """Seconds of a step; of large batches two that take too long have said enough."""
        for _ in range(_WARM_UP_STEPS):
            step()
        seconds: list[float] = []
        while len(seconds) < _TIMED_STEPS and (len(seconds) < 2 or min(seconds) <= too_long):
            synchronize(self._device)
            began = time.perf_counter()
            step()
            synchronize(self._device)
            seconds.append(time.perf_counter() - began)
        # What runs beside it only adds.
        return min(seconds)

    def _stack_anew(self, *, trace_after: int | None) -> None:
        # Of as many weights as there are runs, one table at a time.
        del self._stacked, self._optimizer
        self._stacked = self._stack(trace_after=trace_after)

    def _stack(self, *, trace_after: int | None = None) -> StackedModels:
        models: list[torch.nn.Module] = []
        for configuration in self._configurations:
            seed_everything(configuration.seed)
            models.append(self._task.model().to(self._device))
        stacked = StackedModels(self._task.loss, models, trace_after=trace_after)
        self._optimizer = stack_optimizer(
            [c.hyper_parameters for c in self._configurations],
            self._configurations[0].optimizer,
            stacked.weights,
        )
        return stacked

    def _step_together(self) -> None:
        self.steps += len(self._orders)
        gradients, _ = self._stacked.gradients(self._batch)
        self._optimizer.step(self._stacked.weights, gradients, factor=1.0)

    def _stepper(self, place: int) -> Stepper:
        configuration = self._configurations[place]
        seed_everything(configuration.seed)
        model = self._task.model().to(self._device)
        return Stepper(
            self._task,
            model,
            hyper_parameters=configuration.hyper_parameters,
            precision=configuration.precision,
            device=self._device,
        )

    def _step_alone(self, stepper: Stepper, place: int) -> None:
        self.steps += 1
        order = self._orders[place]
        (pieces,) = self._batches.stream(order, batch_size=len(order), micro_batch=len(order))
        stepper.accumulate(pieces, after_each=lambda _: None)
        stepper.apply()
