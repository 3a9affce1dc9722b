"""The noise scale of somebody's own training loop, in three lines."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, cast

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from batchscope.errors import CannotTell
from batchscope.instruments.noise.moments import (
    MomentSamples,
    jackknife_weighted_moments,
    separate_weighted_moments,
)
from batchscope.instruments.noise.pace import Pace
from batchscope.instruments.noise.reading import (
    MeasuredStep,
    NoiseReading,
    optimizer_memory,
    read_blocks,
)
from batchscope.instruments.noise.refusals import is_batch_norm
from batchscope.training.seeding import keep_randomness

_PARTS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gathering:
    """What ranks were asked for at a step, and may not have answered yet."""

    step: int
    scale: float
    work: Any
    table: list[torch.Tensor]
    norm: torch.Tensor


class NoiseMeter:
    """Watches a training loop, and tells its gradient noise scale.

    Micro-batches are taken where the loop has them: the passes that are accumulated into a step, or
    the ranks of a DistributedDataParallel model. A loop with neither is asked at one step in many
    for the gradients of four parts of its batch, from the gradient of the model's output: a tensor
    with a row per example, or the mean loss. All of them are taken before clipping. It times
    itself, and measures as rarely as it must to stay under its share.

    The loss must be a mean over its batch, and the passes of a step weigh by their rows.

    Args:
        model: whose parameters are trained; its batches come first in its inputs.
        optimizer: whose steps are counted.
        every: a fixed number of steps between measurements.
        share: of the training time that measuring may take, in (0, 1).
        scaler: of mixed precision; the gradients are divided by its scale.
        unit: what a row is called.
        allow_coupled: measure in spite of batch norms in training mode.

    Raises:
        CannotTell: a batch norm couples the examples of a batch.

    Example:
        >>> model = nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        >>> with NoiseMeter(model, optimizer, every=1) as meter:
        ...     for _ in range(100):
        ...         optimizer.zero_grad()
        ...         model(torch.randn(16, 4)).square().mean().backward()
        ...         optimizer.step()
        >>> meter.read().measured
        99
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        every: int | None = None,
        share: float = 0.015,
        scaler: torch.amp.GradScaler | None = None,
        unit: str = "examples",
        allow_coupled: bool = False,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._scaler = scaler
        self._unit = unit
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        if not allow_coupled and any(is_batch_norm(module) for module in model.modules()):
            raise CannotTell(
                "a batch norm in training mode couples the examples of a batch, and its noise "
                "depends on the micro-batch",
                where="NoiseMeter",
                expected="examples whose losses do not depend on one another",
                do="allow_coupled=True measures at this micro-batch all the same",
            )
        self._ranks = (
            distributed.get_world_size() if isinstance(model, DistributedDataParallel) else 1
        )
        self._pace = Pace(share=share, every=every)
        self._measured: list[MeasuredStep] = []
        self._handles: list[Any] = []
        self._watches: list[Any] = []
        self._rows: list[int] = []
        self._passes = 0
        self._is_measuring = False
        self._began = 0.0
        self._plain_seconds = 0.0
        self._source = "no step that was measured"
        self._widest_gap = 1.0
        self._pending: _Gathering | None = None
        self._reset()
        if self._ranks > 1:
            cast(Any, model).register_comm_hook(None, self._on_bucket)

    def __enter__(self) -> "NoiseMeter":
        self._handles = [
            self._model.register_forward_pre_hook(self._on_forward, with_kwargs=True),
            self._optimizer.register_step_pre_hook(self._on_step),
            self._optimizer.register_step_post_hook(self._after_step),
        ]
        self._began = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._plain_seconds += time.perf_counter() - self._began
        for handle in (*self._handles, *self._watches):
            handle.remove()
        self._handles, self._watches = [], []
        self._is_measuring = False

    def read(self) -> NoiseReading:
        """What was seen so far."""
        self._settle()
        ratio, signal, noise, blocks = read_blocks(
            self._measured, memory=optimizer_memory(self._optimizer), unit=self._unit
        )
        running = time.perf_counter() - self._began if self._handles else 0.0
        plain = self._plain_seconds + running - self._pace.clock.seconds
        return NoiseReading(
            source=self._source,
            unit=self._unit,
            noise_scale=ratio,
            gradient_squared=signal,
            noise_trace=noise,
            blocks=blocks,
            measured=self._pace.clock.measured,
            steps=self._pace.clock.steps,
            share_of_time=self._pace.clock.seconds / plain if plain > 0 else 0.0,
        )

    def _reset(self) -> None:
        self._rows = []
        self._squares: list[torch.Tensor] = []
        self._sum: torch.Tensor | None = None
        self._is_pass_ending = False
        self._inputs: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self._output_gradient: torch.Tensor | None = None

    def _on_forward(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any) -> None:
        if not torch.is_grad_enabled():
            return
        began = time.perf_counter()
        if not self._rows and self._pace.is_due and self._passes:
            self._is_measuring = True
            self._watch()
        self._rows.append(_count_rows(args, kwargs))
        self._inputs = (args, kwargs)
        if self._is_measuring:
            self._pace.clock.charge(time.perf_counter() - began)

    def _watch(self) -> None:
        """Listen to the output of a step of one pass, and to the gradients of one of several."""
        if self._ranks > 1:
            return
        if self._passes == 1:
            self._watches = [self._model.register_forward_hook(self._on_output)]
            return
        self._watches = [
            parameter.register_post_accumulate_grad_hook(self._on_accumulated)
            for parameter in self._parameters
        ]

    def _on_output(self, module: nn.Module, args: object, output: object) -> None:
        tensor = _find_output(output)
        if tensor is not None and tensor.requires_grad:
            self._watches.append(tensor.register_hook(self._keep_output_gradient))

    def _keep_output_gradient(self, gradient: torch.Tensor) -> None:
        self._output_gradient = gradient

    def _on_accumulated(self, parameter: torch.Tensor) -> None:
        if not self._is_pass_ending:
            self._is_pass_ending = True
            _after_backward(self._on_pass)

    def _on_pass(self) -> None:
        began = time.perf_counter()
        self._is_pass_ending = False
        whole = self._whole_gradient()
        own = whole if self._sum is None else whole - self._sum
        self._squares.append(own.dot(own))
        self._sum = whole
        self._pace.clock.charge(time.perf_counter() - began)

    def _on_bucket(
        self,
        state: object,
        bucket: distributed.GradBucket,  # pyright: ignore[reportPrivateImportUsage]
    ) -> torch.futures.Future[torch.Tensor]:
        """All-reduce as DDP does, and look at the gradients before and after."""
        from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

        group = cast(Any, self._model).process_group
        if not self._is_measuring:
            return default_hooks.allreduce_hook(group, bucket)
        began = time.perf_counter()
        local: torch.Tensor = bucket.buffer()
        self._squares.append(local.dot(local))
        if not self._is_pass_ending:
            self._is_pass_ending = True
            # DDP's own last callback, which leaves the mean in .grad, is queued after the first.
            _after_backward(lambda: _after_backward(self._on_mean))
        self._pace.clock.charge(time.perf_counter() - began)
        return default_hooks.allreduce_hook(group, bucket)

    def _on_mean(self) -> None:
        began = time.perf_counter()
        self._is_pass_ending = False
        self._sum = self._whole_gradient()
        self._pace.clock.charge(time.perf_counter() - began)

    def _whole_gradient(self) -> torch.Tensor:
        return torch.cat(
            [
                (torch.zeros_like(p) if p.grad is None else p.grad.detach()).flatten()
                for p in self._parameters
            ]
        )

    def _on_step(self, optimizer: object, args: object, kwargs: object) -> None:
        if not self._is_measuring:
            return
        began = time.perf_counter()
        self._settle()
        scale = 1.0 if self._scaler is None else self._scaler.get_scale()
        step = self._pace.clock.steps + 1
        if self._ranks > 1:
            self._gather(step, scale)
        else:
            self._keep(
                step, self._take_passes() if len(self._squares) > 1 else self._take_parts(), scale
            )
        for watch in self._watches:
            watch.remove()
        self._watches = []
        self._pace.clock.charge(time.perf_counter() - began)

    def _after_step(self, optimizer: object, args: object, kwargs: object) -> None:
        self._pace.end_step(is_measured=self._is_measuring)
        if self._is_measuring:
            self._pace.plan(self._widest_gap if self._ranks > 1 else self._pace.gap)
        self._is_measuring = False
        self._passes = len(self._rows)
        self._reset()

    def _keep(self, step: int, found: tuple[MomentSamples, float] | None, scale: float) -> None:
        """Add the moments of a step and the rows behind them, unless there are none."""
        if found is None:
            return
        samples, rows = found
        if not (np.isfinite(samples.noise).all() and np.isfinite(samples.signal).all()):
            return
        unscaled = MomentSamples(noise=samples.noise / scale**2, signal=samples.signal / scale**2)
        self._measured.append(MeasuredStep(step=step, samples=unscaled, weight=rows))

    def _take_passes(self) -> tuple[MomentSamples, float] | None:
        rows = np.array(self._rows, dtype=np.float64)
        if self._sum is None or len(rows) != len(self._squares):
            return None
        self._source = f"{len(rows)} accumulated passes of {rows[0]:.0f} rows"
        # What was accumulated are shares of the step's mean; each pass's own mean is larger.
        own = np.array([float(s) for s in self._squares]) * (rows.sum() / rows) ** 2
        return _one_sample(own, float(self._sum.dot(self._sum)), rows), float(rows.sum())

    def _gather(self, step: int, scale: float) -> None:
        """Ask all ranks for their part of this step, without waiting for the slowest."""
        if self._sum is None:
            return
        square = torch.stack(self._squares).sum()
        own = torch.stack(
            [square, square.new_tensor(sum(self._rows)), square.new_tensor(self._pace.gap)]
        )
        table = [torch.zeros_like(own) for _ in range(self._ranks)]
        work = cast(Any, distributed.all_gather)(table, own, async_op=True)
        self._pending = _Gathering(
            step=step, scale=scale, work=work, table=table, norm=self._sum.dot(self._sum)
        )

    def _settle(self) -> None:
        """Read what was asked of the ranks before."""
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        pending.work.wait()
        table = torch.stack(pending.table).double().cpu().numpy()
        self._source = f"{self._ranks} ranks of {table[0, 1]:.0f} rows"
        # All ranks must measure the same steps: those of the one that needs the widest gap.
        self._widest_gap = float(table[:, 2].max())
        sample = _one_sample(table[:, 0], float(pending.norm), table[:, 1])
        self._keep(pending.step, (sample, float(table[:, 1].sum())), pending.scale)

    def _take_parts(self) -> tuple[MomentSamples, float] | None:
        """Gradients of parts of the batch, each from its rows of the output's gradient."""
        gradient, inputs = self._output_gradient, self._inputs
        rows = self._rows[0] if self._rows else 0
        if gradient is None or inputs is None or rows < _PARTS:
            return None
        if gradient.ndim and len(gradient) % rows:
            return None
        parts = [part.tolist() for part in np.array_split(np.arange(rows), _PARTS)]
        self._source = f"one step's {rows} rows in {_PARTS} parts"
        with keep_randomness():
            found = [self._differentiate(part, rows, gradient, inputs) for part in parts]
        table = torch.stack(found)
        products = (table @ table.T).double().cpu().numpy()
        weights = np.array([len(part) for part in parts], dtype=np.float64)
        return jackknife_weighted_moments(products, weights=weights), float(rows)

    def _differentiate(
        self,
        part: Sequence[int],
        rows: int,
        gradient: torch.Tensor,
        inputs: tuple[tuple[Any, ...], dict[str, Any]],
    ) -> torch.Tensor:
        low, high = part[0], part[-1] + 1
        args, kwargs = inputs
        with torch.enable_grad():
            output = _find_output(
                self._model.forward(
                    *(_slice(value, rows, low, high) for value in args),
                    **{name: _slice(value, rows, low, high) for name, value in kwargs.items()},
                )
            )
        assert output is not None
        if gradient.ndim:
            each = len(gradient) // rows
            gradient = gradient[low * each : high * each] * (rows / len(part))
        found = torch.autograd.grad(
            output, self._parameters, grad_outputs=gradient, materialize_grads=True
        )
        return torch.cat([g.flatten() for g in found])


def _after_backward(callback: Callable[[], None]) -> None:
    """Call when the backward pass that goes on is through, before the loop can clip."""
    cast(Any, torch.autograd.Variable)._execution_engine.queue_callback(callback)


def _one_sample(squares: Any, norm_of_mean: float, weights: Any) -> MomentSamples:
    noise, signal = separate_weighted_moments(squares, norm_of_mean, weights=weights)
    return MomentSamples(noise=np.array([noise]), signal=np.array([signal]))


def _tensors(args: Sequence[Any], kwargs: dict[str, Any]) -> Iterator[torch.Tensor]:
    for value in (*args, *kwargs.values()):
        if isinstance(value, torch.Tensor) and value.ndim:
            yield value


def _count_rows(args: Sequence[Any], kwargs: dict[str, Any]) -> int:
    return next((len(tensor) for tensor in _tensors(args, kwargs)), 1)


def _slice(value: Any, rows: int, low: int, high: int) -> Any:
    is_batch = isinstance(value, torch.Tensor) and value.ndim and len(value) == rows
    return value[low:high] if is_batch else value


def _find_output(output: Any) -> torch.Tensor | None:
    """The tensor that the loss is computed from, or the mean loss that the model itself returns."""
    if isinstance(output, torch.Tensor):
        return output
    if isinstance(output, (tuple, list)) and output:
        return _find_output(cast(Sequence[Any], output)[0])
    named = cast(dict[Any, Any], output) if isinstance(output, dict) else None
    for name in ("loss", "logits"):
        found: Any = getattr(cast(object, output), name, None) if named is None else named.get(name)
        if isinstance(found, torch.Tensor):
            return found
    return None
