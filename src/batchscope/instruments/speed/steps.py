"""Seconds per step at each batch size."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from batchscope.records import Precision, StepTime
from batchscope.task import Task
from batchscope.training.batches import Batches, MicroBatch
from batchscope.training.devices import is_out_of_memory, synchronize
from batchscope.training.ranks import ALONE, Ranks
from batchscope.training.seeding import draw_order, keep_randomness, seed_everything
from batchscope.training.stepper import Stepper

_ROUNDS = 3
_WARM_UP_STEPS = 3
_LEAST_STEPS = 7
_ROUND_SECONDS = 0.15
# Timed of a size at least, unless examples are rationed.
WHOLE_STEPS = _ROUNDS * _LEAST_STEPS
# Of a size of which hardly any fit into the examples that there are, the first only to warm up.
FEWEST_STEPS = 3


def time_steps(
    task: Task,
    batch_sizes: Sequence[int],
    precision: Precision,
    device: torch.device,
    *,
    report: Callable[[object], None],
    examples: float | None = None,
    ranks: Ranks = ALONE,
) -> tuple[tuple[StepTime, ...], int]:
    """Time training steps, loading and optimizer included, at each batch size.

    Sizes take turns in three rounds, so that a machine whose speed drifts does not favour one; in
    each round 3 steps warm up and at least 7 are timed, the device synchronised around each. Where
    examples are rationed, sizes that do not go into their share so often are timed less.

    Args:
        batch_sizes: in examples, each at most the training set.
        ranks: that share each step; all of them call this at once.
        report: told how many sizes are done, as (done, all).
        examples: to process, about; None for as many as a good median takes.

    Returns:
        The step times by batch size, none where memory ran out, and the examples processed.
    """
    batches = Batches(task, task.datasets["train"], device)
    seconds: dict[int, list[float]] = {size: [] for size in batch_sizes}
    processed, too_large = 0, math.inf
    share = None if examples is None else examples / len(batch_sizes)
    with keep_randomness():
        for done, size in enumerate(_ROUNDS * list(batch_sizes), start=1):
            looks = _plan_round(size, share, is_first=done <= len(batch_sizes))
            if size >= too_large or looks is None:
                continue
            try:
                timed = _time_round(
                    task, batches, size, looks, precision=precision, device=device, ranks=ranks
                )
            except (RuntimeError, MemoryError) as error:
                # Of several ranks the others would wait for this one.
                if not is_out_of_memory(error) or ranks.size > 1:
                    raise
                too_large = size
                continue
            seconds[size] += timed
            processed += size * (len(timed) + looks.warm_up)
            report((done, _ROUNDS * len(batch_sizes)))
    times = tuple(
        StepTime(batch_size=b, seconds=tuple(s) if b < too_large else ())
        for b, s in seconds.items()
    )
    return times, processed


def smallest_efficient(times: Sequence[StepTime], *, share: float = 0.95) -> int:
    """The smallest batch size whose examples per second reach this share of the best."""
    rates = {t.batch_size: t.batch_size / statistics.median(t.seconds) for t in times if t.seconds}
    best = max(rates.values())
    return min(size for size, rate in rates.items() if rate >= share * best)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looks:
    """How one round times a size: so many steps at least, and for so long."""

    warm_up: int
    timed: int
    seconds: float


def _plan_round(size: int, share: float | None, *, is_first: bool) -> _Looks | None:
    """None where the examples of a size are spent by its first round."""
    if share is None:
        return _Looks(warm_up=_WARM_UP_STEPS, timed=_LEAST_STEPS, seconds=_ROUND_SECONDS)
    steps = int(share / size)
    if steps >= _ROUNDS * (_WARM_UP_STEPS + _LEAST_STEPS):
        return _Looks(warm_up=_WARM_UP_STEPS, timed=_LEAST_STEPS, seconds=0.0)
    if steps >= _ROUNDS * FEWEST_STEPS:
        return _Looks(warm_up=1, timed=steps // _ROUNDS - 1, seconds=0.0)
    return _Looks(warm_up=1, timed=max(steps, FEWEST_STEPS) - 1, seconds=0.0) if is_first else None


def _time_round(
    task: Task,
    batches: Batches,
    size: int,
    looks: _Looks,
    *,
    precision: Precision,
    device: torch.device,
    ranks: Ranks,
) -> list[float]:
    seed_everything(0)
    spec = task.optimizer_spec
    lr = spec.lr if spec.lr is not None else 1e-4
    stepper = Stepper(
        task,
        task.model().to(device),
        hyper_parameters=spec.hyper_parameters(batch_size=size, lr=lr),
        precision=precision,
        device=device,
        ranks=ranks,
    )
    seconds: list[float] = []
    count = 0
    stream = _full_batches(batches, size, ranks)

    def is_short() -> bool:
        return len(seconds) < looks.timed or sum(seconds) < looks.seconds

    while ranks.on_first(is_short):
        began = time.perf_counter()
        stepper.accumulate(next(stream), after_each=lambda _: None)
        stepper.apply()
        synchronize(device)
        count += 1
        if count > looks.warm_up:
            seconds.append(time.perf_counter() - began)
    return seconds


def _full_batches(batches: Batches, size: int, ranks: Ranks) -> Iterator[list[MicroBatch]]:
    epoch = 0
    while True:
        order = draw_order(len(batches), seed=0, epoch=epoch)
        whole = math.floor(len(order) / size) * size
        yield from batches.stream(order[:whole], batch_size=size, micro_batch=size, ranks=ranks)
        epoch += 1
