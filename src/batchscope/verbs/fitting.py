"""Find the largest batch that fits in memory, or predict it where the device is not here."""

from collections.abc import Sequence

from batchscope.decisions.memory import MemoryNeed
from batchscope.errors import InvalidInput, InvalidTask
from batchscope.instruments.memory.largest import Fit, find_largest
from batchscope.instruments.memory.limits import MemoryLimit, find_limit, parse_bytes
from batchscope.instruments.memory.predicting import FitPrediction, predict_largest
from batchscope.instruments.memory.probing import ProbeReading
from batchscope.instruments.noise.refusals import is_batch_norm
from batchscope.studies.progress import Unwatched, Watcher
from batchscope.task import Task
from batchscope.training.devices import describe_device, is_absent
from batchscope.training.seeding import keep_randomness
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
) -> Fit | FitPrediction:
    """Find the largest batch to train on and to evaluate, each size tried in a process of its own.

    Nothing in this process changes: no weight, no gradient, no random number. For a device that is
    not here, with `memory` given, the answer is a prediction from tensors without data.

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
            f"a headroom of {headroom}"
            if not 0 <= headroom < 1
            else f"at most a batch of {largest}",
            where="--headroom, --largest",
            expected="a share from 0 to below 1, and at least 1 example",
            do="leave them out for no headroom and the data's own size",
        )
    if memory is not None and is_absent(device):
        return _predict(task, memory, headroom, largest, device or "", precision, watcher)
    if is_absent(device):
        raise InvalidInput(
            f"there is no {device} device here, and how much memory it has is not said",
            where="--device",
            expected="a device of this machine, or --memory for a prediction",
            do=f"add for example --memory 16GiB, or run this where there is a {device} device",
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


def predict_need(
    task: Task | str,
    memory: str | int | None,
    *,
    batch_sizes: Sequence[int] | None,
    devices: int,
    precision: str | None,
    watcher: Watcher,
) -> tuple[MemoryNeed | None, Sequence[int] | None]:
    """What a step takes of the memory given, and the batch sizes that can be trained with in it.

    Without a limit nothing is predicted, and the batch sizes are those given.

    Raises:
        CannotTell: not even one example fits, or none of the sizes does and they cannot be split.
        InvalidInput: an argument that there is not.
    """
    if memory is None:
        return None, batch_sizes
    prepared = prepare(
        task,
        watcher=watcher,
        device="cpu",
        batch_sizes=batch_sizes,
        precision=precision,
        compute=False,
    )
    limit = MemoryLimit(amount=parse_bytes(memory), kind="device", words="as given")
    sizes = prepared.plan.batch_sizes
    with keep_randomness():
        found = predict_largest(
            prepared.task,
            limit=limit,
            headroom=0.0,
            precision=prepared.plan.precision,
            device="cpu",
            largest=max(sizes),
        )
        splits = can_split(prepared.task)
    need = MemoryNeed(
        limit_bytes=limit.amount,
        fixed_bytes=found.fixed_bytes,
        bytes_per_example=found.bytes_per_example,
        at_most=found.at_most,
        can_split=splits,
        devices=devices,
    )
    return need, need.leave_out(sizes, task=prepared.task.name)


def can_split(task: Task) -> bool:
    """Whether accumulating over parts of a batch is the same as the whole: no example of it depends
    on the others.
    """
    return not (task.batch_coupled or any(map(is_batch_norm, task.model().modules())))


def _predict(
    task: Task | str,
    memory: str,
    headroom: float,
    largest: int | None,
    device: str,
    precision: str | None,
    watcher: Watcher,
) -> FitPrediction:
    prepared = prepare(task, watcher=watcher, device="cpu", precision=precision, compute=False)
    amount = parse_bytes(memory)
    watcher.say(f"There is no {device} device here: predicting from tensors without data.")
    with keep_randomness():
        return predict_largest(
            prepared.task,
            limit=MemoryLimit(amount=amount, kind="device", words="as given"),
            headroom=headroom,
            precision=prepared.plan.precision,
            device=device,
            largest=largest,
        )
