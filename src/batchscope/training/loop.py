"""One run: from a configuration to a trajectory."""

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from batchscope.budget import Budget
from batchscope.errors import InvalidInput
from batchscope.records import Configuration, Status, Trajectory
from batchscope.task import Task
from batchscope.training.batches import Batches, MicroBatch
from batchscope.training.devices import is_out_of_memory, synchronize
from batchscope.training.evaluation import (
    Evaluator,
    horizon_examples,
    marks_of,
)
from batchscope.training.hooks import Hook, RunState, find_listeners
from batchscope.training.ranks import ALONE, Ranks
from batchscope.training.schedules import make_average, make_scheduler, parse_schedule
from batchscope.training.seeding import draw_order, keep_randomness, seed_everything
from batchscope.training.stepper import Stepper

# On a device that works behind the program's back, each look at a loss is a wait.
_STEPS_BETWEEN_LOOKS = 32
# A third of an epoch of 300 examples is 100, whatever floating point says.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended.

    Attributes:
        steps: taken; for a diverged run the step whose loss was not finite.
        seconds: of training, evaluation not counted.
    """

    status: Status
    steps: int
    trajectory: Trajectory
    seconds: float


def train(
    task: Task,
    configuration: Configuration,
    *,
    device: torch.device,
    hooks: Sequence[Hook] = (),
    ranks: Ranks = ALONE,
    looks: bool = True,
) -> Outcome:
    """Train once.

    Args:
        ranks: that share each step; all of them call this at once.
        looks: whether the run is evaluated before its end, as a budget up to a target needs.

    Raises:
        InvalidInput: accumulation would change a loss that depends on the batch.
        InvalidTask: the loss is not a scalar.
    """
    if task.batch_coupled and configuration.micro_batch < configuration.batch_size:
        raise InvalidInput(
            "the loss depends on the whole batch, so accumulation would change it",
            where="micro_batch",
            expected=f"a micro-batch of {configuration.batch_size}",
            do="choose a batch that fits in memory at once",
        )
    with keep_randomness():
        training = _Training(task, configuration, device, hooks, ranks, looks=looks)
        try:
            status = training.run()
        except (RuntimeError, MemoryError) as error:
            # Of several ranks the others would wait for this one.
            if not is_out_of_memory(error) or ranks.size > 1:
                raise
            status = "out_of_memory"
    return training.outcome(status)


class _Training:
    """The state of one run between its steps."""

    def __init__(
        self,
        task: Task,
        configuration: Configuration,
        device: torch.device,
        hooks: Sequence[Hook],
        ranks: Ranks,
        *,
        looks: bool,
    ) -> None:
        self._ranks = ranks
        self._configuration = configuration
        self._budget: Budget = configuration.budget
        self._device = device
        self._listeners = find_listeners(hooks)
        seed_everything(configuration.seed)
        model = task.model().to(device)
        seed_everything(ranks.seed(configuration.seed))
        self._stepper = Stepper(
            task,
            model,
            hyper_parameters=configuration.hyper_parameters,
            precision=configuration.precision,
            device=device,
            ranks=ranks,
        )
        self._batches = Batches(task, task.datasets["train"], device)
        self._evaluator = Evaluator(task, precision=configuration.precision, device=device)
        self._state = RunState(
            model=model,
            optimizer=self._stepper.optimizer,
            batch_size=configuration.batch_size,
            micro_batch=configuration.micro_batch,
        )
        size = len(self._batches)
        self._horizon = horizon_examples(self._budget, size, configuration.batch_size)
        self._looks = looks
        self._marks = (
            marks_of(configuration, size, self._horizon) if looks else itertools.repeat(math.inf)
        )
        self._next_mark = next(self._marks)
        schedule = parse_schedule(configuration.schedule)
        self._scheduler = make_scheduler(
            self._stepper.optimizer,
            schedule,
            batch_size=configuration.batch_size,
            steps=self._budget.steps(size, configuration.batch_size),
        )
        self._average = None
        if schedule.kind == "averaged":
            self._average = make_average(
                model, batch_size=configuration.batch_size, train_size=size
            )
        self._columns: dict[str, list[float]] = {}
        self._losses: list[torch.Tensor] = []
        self._diverged_at: int | None = None
        self._ends_early = False

    def run(self) -> Status:
        self._tell("on_start", self._state)
        if self._looks:
            self._evaluate(gradient_norm=math.nan)
        while not self._is_over():
            self._run_epoch()
            self._state.epoch += 1
        if self._diverged_at is None and self._last_look() < self._state.step:
            self._evaluate(gradient_norm=math.nan)
        self._tell("on_end", self._state)
        return "finished" if self._diverged_at is None else "diverged"

    def _last_look(self) -> float:
        steps = self._columns.get("step")
        return steps[-1] if steps else -1.0

    def outcome(self, status: Status) -> Outcome:
        steps = self._state.step if self._diverged_at is None else self._diverged_at
        columns = {name: tuple(values) for name, values in self._columns.items()}
        return Outcome(
            status=status,
            steps=steps,
            trajectory=Trajectory(columns=columns),
            seconds=self._state.seconds,
        )

    def _run_epoch(self) -> None:
        order = draw_order(
            len(self._batches), seed=self._configuration.seed, epoch=self._state.epoch
        )
        start = 0
        while start < len(order) and not self._is_over():
            start += self._run_steps(order[start:])

    def _run_steps(self, order: torch.Tensor) -> int:
        """Take steps of one batch size; returns how many examples of the order were used."""
        state, used = self._state, 0
        batch_size = state.batch_size
        stream = self._batches.stream(
            order,
            batch_size=batch_size,
            micro_batch=min(state.micro_batch, batch_size),
            ranks=self._ranks,
        )
        began = time.perf_counter()
        for micro_batches in stream:
            count = state.step_size = min(batch_size, len(order) - used)
            used += count
            done = state.examples + count
            looks = done >= self._next_mark or self._is_spent(steps=state.step + 1, examples=done)
            gradient_norm = self._step(micro_batches, measure=looks)
            state.step += 1
            state.examples += count
            self._tell("on_step", state)
            self._find_divergence(now=looks)
            if looks or self._budget.kind == "seconds":
                synchronize(self._device)
                passed = state.seconds + time.perf_counter() - began
                state.seconds = self._ranks.on_first(lambda at=passed: at)
                if looks and self._diverged_at is None:
                    self._evaluate(gradient_norm=gradient_norm)
                began = time.perf_counter()
            if self._is_over() or state.batch_size != batch_size:
                break
        synchronize(self._device)
        state.seconds += time.perf_counter() - began
        return used

    def _step(self, micro_batches: list[MicroBatch], *, measure: bool) -> float:
        state = self._state
        loss = self._stepper.accumulate(
            micro_batches,
            after_each=lambda share: self._tell("on_micro_batch", state, share),
        )
        self._losses.append(loss)
        self._tell("on_gradient", state)
        norm = self._stepper.gradient_norm() if measure else math.nan
        self._stepper.apply()
        if self._scheduler is not None:
            self._scheduler.step()
        if self._average is not None:
            self._average.update_parameters(state.model)
        return norm

    def _find_divergence(self, *, now: bool) -> None:
        every = 1 if self._device.type == "cpu" else _STEPS_BETWEEN_LOOKS
        if len(self._losses) < every and not now:
            return
        values = [float(loss) for loss in self._losses]
        self._losses.clear()
        first = self._state.step - len(values) + 1
        bad = (step for step, value in enumerate(values, first) if not math.isfinite(value))
        self._diverged_at = next(bad, None)

    def _evaluate(self, *, gradient_norm: float) -> None:
        state = self._state
        judged = state.model if self._average is None else self._average.module
        scores = self._ranks.on_first(lambda: self._evaluator.evaluate(judged))
        losses = (scores["train_loss"], scores["val_loss"])
        if not all(map(math.isfinite, losses)):
            self._diverged_at = state.step
            return
        row = {
            "step": float(state.step),
            "examples": float(state.examples),
            "seconds": state.seconds,
            "gradient_norm": gradient_norm,
            "learning_rate": float(state.optimizer.param_groups[0]["lr"]),
            **scores,
        }
        for name, value in row.items():
            self._columns.setdefault(name, []).append(value)
        while self._next_mark <= state.examples:
            self._next_mark = next(self._marks)
        state.horizon = self._spent()
        self._tell("on_evaluation", state, row)
        self._ends_early = self._budget.ends_early(self._columns, len(self._batches))

    def _spent(self) -> float:
        if self._budget.kind == "seconds":
            return min(1.0, self._state.seconds / self._budget.amount)
        if self._budget.kind == "steps":
            return min(1.0, self._state.step / self._budget.amount)
        return min(1.0, self._state.examples / self._horizon)

    def _is_over(self) -> bool:
        if self._diverged_at is not None or self._ends_early:
            return True
        if self._budget.kind == "seconds":
            return self._state.seconds >= self._budget.amount
        return self._is_spent(steps=self._state.step, examples=self._state.examples)

    def _is_spent(self, *, steps: int, examples: int) -> bool:
        """Whether a budget that is not in seconds would be spent by then."""
        if self._budget.kind == "steps":
            return steps >= max(1, round(self._budget.amount))
        return examples >= self._horizon - _ROUNDING

    def _tell(self, moment: str, *arguments: object) -> None:
        for listen in self._listeners[moment]:
            listen(*arguments)
