"""The noise scale of a run as it goes on: fresh examples at one step in many."""

import math
import time
from typing import Any

import numpy as np
import torch
from scipy import stats

from batchscope.instruments.loss_gradients import LossGradients
from batchscope.instruments.noise.moments import jackknife_weighted_moments
from batchscope.instruments.noise.pace import Pace
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
# Eight blocks are needed, and the first measurements only find out what one costs.
_WANTED = 11
_GROWTH = 4


class NoiseHook(Hook):
    """Measures while a run trains, without touching its trajectory.

    At a measured step three gradients on fresh examples are taken at the step's weights, beside the
    step's own before clipping. Their size is found by their cost: as large as lets some eleven
    measurements fit into the share of time, since what a measurement tells grows with the square
    of its examples.

    Args:
        share: of the training time that it may take, in (0, 1).
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
        self._pace = Pace(share=share, every=every)
        self._measured: list[tuple[int, MeasuredStep]] = []
        self._every = every
        self._costs: dict[int, float] = {}
        self._micro_batch = 0
        self._is_measured = False
        self._memory = 1.0
        self._seconds = 0.0
        self.examples = 0

    def on_start(self, state: RunState) -> None:
        refuse_coupled_examples(self._task, state.model, allow=self._allow_coupled)
        self._gradients = LossGradients(
            self._task, state.model, precision=self._precision, device=self._device
        )
        self._micro_batch = min(state.batch_size, len(self._gradients))
        self._memory = optimizer_memory(state.optimizer)

    def on_gradient(self, state: RunState) -> None:
        knows_horizon = state.horizon > 0 or self._every is not None
        self._is_measured = self._pace.is_due and knows_horizon
        if not self._is_measured:
            return
        synchronize(self._device)
        began = time.perf_counter()
        with keep_randomness():
            self._measure(state)
        synchronize(self._device)
        seconds = time.perf_counter() - began
        self._pace.charge(seconds)
        known = self._costs.get(self._micro_batch, math.inf)
        self._costs[self._micro_batch] = min(seconds, known)

    def on_step(self, state: RunState) -> None:
        if self._is_measured:
            self._resize(state)
        self._pace.end_step(is_measured=self._is_measured)

    def on_evaluation(self, state: RunState, row: object) -> None:
        self._pace.pause()

    def on_end(self, state: RunState) -> None:
        self._seconds = state.seconds

    def read(self) -> NoiseReading:
        """What was seen so far."""
        pace = self._pace
        measured = [m for size, m in self._measured if 2 * size >= self._micro_batch]
        ratio, signal, noise, blocks = read_blocks(
            measured, memory=self._memory, unit=self._task.unit
        )
        plain = self._seconds - pace.seconds
        return NoiseReading(
            source=f"{_FRESH} x {self._micro_batch} fresh {self._task.unit} at a time",
            unit=self._task.unit,
            noise_scale=ratio,
            gradient_squared=signal,
            noise_trace=noise,
            blocks=blocks,
            measured=pace.measured,
            steps=pace.steps,
            share_of_time=pace.seconds / plain if plain > 0 else 0.0,
        )

    def _measure(self, state: RunState) -> None:
        size = self._micro_batch
        drawn = [_flatten(self._gradients)]
        for _ in range(_FRESH):
            indices = torch.randint(len(self._gradients), (size,), generator=self._generator)
            drawn.append(torch.cat(self._gradients.at(indices)))
        self.examples += _FRESH * size
        table = torch.stack(drawn)
        products = (table @ table.T).double().cpu().numpy()
        weights = np.array([state.step_size, *(_FRESH * [size])], dtype=np.float64)
        if np.isfinite(products).all():
            samples = jackknife_weighted_moments(products, weights=weights)
            step = MeasuredStep(step=state.step + 1, samples=samples, weight=float(weights.sum()))
            self._measured.append((size, step))

    def _resize(self, state: RunState) -> None:
        """Find the size whose measurements cost what the wanted number of them may."""
        if self._every is not None:
            return
        planned = state.step / state.horizon * self._pace.step_seconds
        allowed = self._pace.share * planned / _WANTED
        sizes = sorted(self._costs)
        if len(sizes) == 1:
            factor = _GROWTH if self._costs[sizes[0]] < allowed else 1 / _GROWTH
            wanted = sizes[0] * factor
        else:
            line: Any = stats.linregress(sizes, [self._costs[size] for size in sizes])
            # Where calling costs most of it, smaller gradients would be no cheaper.
            affordable = max(allowed, 1.5 * float(line.intercept))
            wanted = (affordable - float(line.intercept)) / max(float(line.slope), 1e-12)
        self._micro_batch = int(min(max(1, wanted), len(self._gradients)))


def _flatten(gradients: LossGradients) -> torch.Tensor:
    """The gradient that the step has left, in one piece."""
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for _, p in gradients.named]
    return torch.cat([part.flatten() for part in parts])
