"""The noise scale of a run as it goes on: fresh examples at one step in many."""

import statistics
import time

import numpy as np
import torch

from batchscope.instruments.loss_gradients import LossGradients
from batchscope.instruments.noise.moments import jackknife_weighted_moments
from batchscope.instruments.noise.pace import StepClock
from batchscope.instruments.noise.portions import Portions
from batchscope.instruments.noise.reading import (
    MeasuredStep,
    NoiseReading,
    optimizer_memory,
    read_blocks,
)
from batchscope.instruments.noise.refusals import refuse_coupled_examples
from batchscope.records import Precision
from batchscope.task import Task
from batchscope.training.devices import synchronize
from batchscope.training.hooks import Hook, RunState
from batchscope.training.seeding import keep_randomness

# With the step's own four gradients: enough to leave one out, few enough to be cheap.
_FRESH = 3
# Eight blocks are needed, and one measurement may find no time.
_WANTED = 9


class NoiseHook(Hook):
    """Measures while a run trains, without touching its trajectory.

    At a measured step three gradients on fresh examples are taken at the step's weights, beside the
    step's own before clipping. Nine measurements are spread over the run, as large as the share of
    its time allows.

    Args:
        share: of the training time that it may take, in (0, 1).
        every: a fixed number of steps between measurements of the batch's own size instead.
        seed: of the examples drawn.
    """

    def __init__(
        self,
        task: Task,
        *,
        precision: Precision,
        device: torch.device,
        share: float = 0.016,
        every: int | None = None,
        seed: int = 0,
        allow_coupled: bool = False,
    ) -> None:
        self._task = task
        self._precision: Precision = precision
        self._device = device
        self._allow_coupled = allow_coupled
        self._generator = torch.Generator().manual_seed(seed)
        self._clock = StepClock()
        self._share = share
        self._every = every
        self._planned_steps = 0.0
        self._measured: list[MeasuredStep] = []
        self._sizes: list[int] = []
        self._is_measured = False
        self._memory = 1.0
        self._seconds = 0.0
        self.examples = 0

    def on_start(self, state: RunState) -> None:
        refuse_coupled_examples(self._task, state.model, allow=self._allow_coupled)
        self._gradients = LossGradients(
            self._task, state.model, precision=self._precision, device=self._device
        )
        self._portions = Portions(
            share=self._share,
            count=_WANTED,
            calls=_FRESH,
            step_size=state.batch_size,
            largest=len(self._gradients),
        )
        self._memory = optimizer_memory(state.optimizer)

    def on_gradient(self, state: RunState) -> None:
        size = self._choose_size(state)
        self._is_measured = size is not None
        if size is None:
            return
        synchronize(self._device)
        began = time.perf_counter()
        with keep_randomness():
            measured = self._measure(state, size)
        if measured is not None:
            self._measured.append(measured)
            self._sizes.append(size)
        synchronize(self._device)
        seconds = time.perf_counter() - began
        self._clock.charge(seconds)
        self._portions.charge(seconds)

    def on_step(self, state: RunState) -> None:
        self._clock.end_step(is_measured=self._is_measured)

    def on_evaluation(self, state: RunState, row: object) -> None:
        self._clock.pause()
        if state.horizon > 0:
            self._planned_steps = state.step / state.horizon

    def on_end(self, state: RunState) -> None:
        self._seconds = state.seconds

    def read(self) -> NoiseReading:
        """What was seen so far."""
        clock = self._clock
        ratio, signal, noise, blocks = read_blocks(
            self._measured, memory=self._memory, unit=self._task.unit
        )
        plain = self._seconds - clock.seconds
        size = round(statistics.median(self._sizes)) if self._sizes else 0
        return NoiseReading(
            source=f"{_FRESH} x {size} fresh {self._task.unit} at a time",
            unit=self._task.unit,
            noise_scale=ratio,
            gradient_squared=signal,
            noise_trace=noise,
            blocks=blocks,
            measured=clock.measured,
            steps=clock.steps,
            share_of_time=clock.seconds / plain if plain > 0 else 0.0,
        )

    def _choose_size(self, state: RunState) -> int | None:
        """Examples of each fresh gradient at this step; None for a step that is not measured."""
        if self._every is not None:
            is_due = (state.step + 1) % self._every == 0
            return min(state.batch_size, len(self._gradients)) if is_due else None
        steps = self._planned_steps
        if not self._portions.is_due(state.step, steps=steps) or not self._clock.is_warm:
            return None
        each = self._clock.step_seconds
        return self._portions.take(state.step, run_seconds=steps * each, step_seconds=each)

    def _measure(self, state: RunState, size: int) -> MeasuredStep | None:
        """The moments at this step's weights; None where they are not finite."""
        drawn = [_flatten(self._gradients)]
        for _ in range(_FRESH):
            indices = torch.randint(len(self._gradients), (size,), generator=self._generator)
            drawn.append(torch.cat(self._gradients.at(indices)))
        self.examples += _FRESH * size
        table = torch.stack(drawn)
        products = (table @ table.T).double().cpu().numpy()
        if not np.isfinite(products).all():
            return None
        weights = np.array([state.step_size, *(_FRESH * [size])], dtype=np.float64)
        samples = jackknife_weighted_moments(products, weights=weights)
        return MeasuredStep(step=state.step + 1, samples=samples, weight=float(weights.sum()))


def _flatten(gradients: LossGradients) -> torch.Tensor:
    """The gradient that the step has left, in one piece."""
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for _, p in gradients.named]
    return torch.cat([part.flatten() for part in parts])
