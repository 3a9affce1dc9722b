"""What a training step's tensors hold at batch sizes that were never run."""

import math
from collections.abc import Sequence

from batchscope.errors import InvalidInput
from batchscope.estimate import NotIdentified
from batchscope.instruments.memory.predicting import predict_peak
from batchscope.studies.progress import Unwatched
from batchscope.task import Task
from batchscope.training.seeding import keep_randomness
from batchscope.verbs.preparing import prepare


def foresee_memory(
    task: Task | str,
    batch_sizes: Sequence[int],
    *,
    studied: str | None,
    fingerprint: str | None,
    precision: str | None,
    devices: int,
) -> dict[int, NotIdentified]:
    """The bytes on each device, by batch size; nothing is run, so that they are the least.

    Args:
        studied, fingerprint: of the task that it should be, by the one or the other; None where
            nobody knows.
        devices: that share each batch.

    Raises:
        InvalidInput: it is another task.
        CannotTell: the task asks a tensor for its value, which one without data has not.
    """
    prepared = prepare(
        task,
        watcher=Unwatched(),
        device="cpu",
        batch_sizes=batch_sizes,
        precision=precision,
        compute=False,
    )
    made, chosen = prepared.task, prepared.plan.precision
    known = fingerprint == prepared.fingerprint.digest
    if not known and studied not in (None, made.name):
        raise InvalidInput(
            f"the task is {made.name}, and the study is of {studied}",
            where="forecast, --task",
            expected=f"the task that was studied, {studied}",
            do="name that one, or another study with --study",
        )
    with keep_randomness():
        return {
            size: NotIdentified(
                reason="tensors alone, predicted without data: allocators and libraries take more",
                remedy=f"batchscope fit {made.name}",
                unit="bytes",
                low=float(
                    predict_peak(made, math.ceil(size / devices), mode="training", precision=chosen)
                ),
            )
            for size in batch_sizes
        }
