"""Find the largest batch that fits in memory."""

from batchscope.errors import InvalidInput, InvalidTask
from batchscope.instruments.memory.largest import Fit, find_largest
from batchscope.instruments.memory.limits import find_limit
from batchscope.instruments.memory.probing import ProbeReading
from batchscope.studies.progress import Unwatched, Watcher
from batchscope.task import Task
from batchscope.training.devices import describe_device
from batchscope.verbs.preparing import prepare


def fit(
    task: Task | str,
    *,
    memory: str | None = None,
    headroom: float = 0.0,
    largest: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    watcher: Watcher | None = None,
) -> Fit:
    """Find the largest batch to train on and to evaluate, each size tried in a fresh process.

    Nothing in this process changes: no weight, no gradient, no random number.

    Args:
        memory: that may be taken, such as "8GiB"; what there is by default.
        headroom: share of it that stays free, in [0, 1).
        largest: batch size that is tried; the data's size by default.

    Raises:
        CannotTell: not even one example fits.
        InvalidInput: an argument that there is not.
        InvalidTask: the task fails for another reason than memory, or cannot be sent to another
            process.
    """
    watcher = watcher or Unwatched()
    if not 0 <= headroom < 1 or (largest is not None and largest < 1):
        raise InvalidInput(
            f"a headroom of {headroom} up to a batch of {largest}",
            where="--headroom, --largest",
            expected="a share from 0 to below 1, and at least 1 example",
            do="leave them out for no headroom and the data's own size",
        )
    prepared = prepare(task, watcher=watcher, device=device, precision=precision, compute=False)
    if prepared.source is None:
        raise InvalidTask(
            "the task cannot be sent to another process, and a probe may end the one it runs in",
            where=prepared.task.name,
            expected="a task whose parts can be pickled, or one in a file",
            do="open files and locks inside the functions that use them",
        )
    label = "trying batch sizes"
    watcher.begin(label)

    def report(reading: ProbeReading) -> None:
        watcher.advance(label, 1.0)
        watcher.say(f"  {reading.mode} on {reading.batch_size}: {reading.outcome}")

    result = find_largest(
        prepared.task,
        prepared.source,
        limit=find_limit(prepared.device, memory),
        headroom=headroom,
        precision=prepared.plan.precision,
        device_name=prepared.device.type if device is None else device,
        device_words=describe_device(prepared.device),
        largest=largest,
        report=report,
    )
    watcher.end(label)
    return result
