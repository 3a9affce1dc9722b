"""Seconds per step at each batch size."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

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


def time_steps(
    task: Task,
    batch_sizes: Sequence[int],
    precision: Precision,
    device: torch.device,
    *,
    report: Callable[[object], None],
    ranks: Ranks = ALONE,
) -> tuple[tuple[StepTime, ...], int]:
    """Time training steps, loading and optimizer included, at each batch size.

    Sizes take turns in three rounds, so that a machine whose speed drifts does not favour one; in
    each round 3 steps warm up and at least 7 are timed, the device synchronised around each.

    Args:
        batch_sizes: in examples, each at most the training set.
        ranks: that share each step; all of them call this at once.
        report: told how many sizes are done, as (done, all).

    Returns:
        The step times by batch size, none where memory ran out, and the examples processed.
    """
    batches = Batches(task, task.datasets["train"], device)
    seconds: dict[int, list[float]] = {size: [] for size in batch_sizes}
    examples, too_large = 0, math.inf
    with keep_randomness():
        for done, size in enumerate(_ROUNDS * list(batch_sizes), start=1):
            if size >= too_large:
                continue
            try:
                timed = _time_round(
                    task, batches, size, precision=precision, device=device, ranks=ranks
                )
            except (RuntimeError, MemoryError) as error:
                # Of several ranks the others would wait for this one.
                if not is_out_of_memory(error) or ranks.size > 1:
                    raise
                too_large = size
                continue
            seconds[size] += timed
            examples += size * (len(timed) + _WARM_UP_STEPS)
            report((done, _ROUNDS * len(batch_sizes)))
    times = tuple(
        StepTime(batch_size=b, seconds=tuple(s) if b < too_large else ())
        for b, s in seconds.items()
    )
    return times, examples


def smallest_efficient(times: Sequence[StepTime], *, share: float = 0.95) -> int:
    """The smallest batch size whose examples per second reach this share of the best."""
    rates = {t.batch_size: t.batch_size / statistics.median(t.seconds) for t in times if t.seconds}
    best = max(rates.values())
    return min(size for size, rate in rates.items() if rate >= share * best)


def _time_round(
    task: Task,
    batches: Batches,
    size: int,
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
        return len(seconds) < _LEAST_STEPS or sum(seconds) < _ROUND_SECONDS

    while ranks.on_first(is_short):
        began = time.perf_counter()
        stepper.accumulate(next(stream), after_each=lambda _: None)
        stepper.apply()
        synchronize(device)
        count += 1
        if count > _WARM_UP_STEPS:
            seconds.append(time.perf_counter() - began)
    return seconds


def _full_batches(batches: Batches, size: int, ranks: Ranks) -> Iterator[list[MicroBatch]]:
    epoch = 0
    while True:
        order = draw_order(len(batches), seed=0, epoch=epoch)
        whole = math.floor(len(order) / size) * size
        yield from batches.stream(order[:whole], batch_size=size, micro_batch=size, ranks=ranks)
        epoch += 1
