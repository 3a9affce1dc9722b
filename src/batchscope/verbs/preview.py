"""What a study would train, before anything is started."""

from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from batchscope.errors import CannotTell
from batchscope.instruments.memory.predicting import predict_peak
from batchscope.optimizers import starting_rate
from batchscope.studies.connection import path_of
from batchscope.studies.design import StudyDesign
from batchscope.studies.plan import Plan
from batchscope.studies.progress import Unwatched
from batchscope.studies.rules import MEASURED
from batchscope.studies.speed import find_measurement, median_seconds
from batchscope.studies.store import DEFAULT_STORE, Store
from batchscope.task import Task
from batchscope.verbs.preparing import Prepared, prepare


@dataclass(frozen=True, slots=True, kw_only=True)
class SizePreview:
    """What would be trained at one batch size.

    Attributes:
        runs: about how many.
        rates: of the first round; empty where it depends on what is measured or searched first.
        steps: of one run; None under a budget of seconds.
        seconds: of one run on a machine of its own; None where steps were never timed.
        peak_bytes: that the tensors of a step take, from tensors without data; None where the task
            asks them for their values.
    """

    batch_size: int
    runs: int
    rates: tuple[float, ...]
    steps: int | None
    seconds: float | None
    peak_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A study that was not started."""

    task: str
    plan: Plan
    sizes: tuple[SizePreview, ...]

    @property
    def runs(self) -> int:
        """About how many in all."""
        return sum(size.runs for size in self.sizes)

    @property
    def seconds(self) -> float | None:
        """Of one worker in all; None where a batch size was never timed."""
        each = [None if s.seconds is None else s.runs * s.seconds for s in self.sizes]
        known = [seconds for seconds in each if seconds is not None]
        return sum(known) if len(known) == len(each) else None

    def to_dict(self) -> dict[str, object]:
        """The preview as JSON."""
        return {
            "task": self.task,
            "plan": self.plan.to_dict(),
            "runs": self.runs,
            "seconds": self.seconds,
            "batch_sizes": [{**asdict(size), "rates": list(size.rates)} for size in self.sizes],
        }

    def __repr__(self) -> str:
        return f"Study of {self.task} that was not started: about {self.runs} runs"


def preview(task: Task | str, *, store: str = DEFAULT_STORE, **options: Any) -> Preview:
    """Say what `study` would train, and start nothing.

    Args:
        store: where step times are looked up; it is neither made nor changed.
        options: as for `study`, as far as they decide what is trained.

    Raises:
        InvalidInput: an argument that there is not.
        InvalidTask: the task cannot be loaded.
    """
    prepared = prepare(task, watcher=Unwatched(), compute=False, **options)
    seconds = _read_seconds(prepared, store)
    plan = prepared.plan
    design = StudyDesign(
        task=prepared.task,
        plan=plan,
        fingerprint=prepared.fingerprint.digest,
        earlier=None,
        start=starting_rate(prepared.task.optimizer_spec, prepared.task.model().parameters()),
    )
    # What has to be measured first moves the rates.
    first = [] if plan.rule == MEASURED else design.next_configurations([])

    def look(batch_size: int) -> SizePreview:
        steps = plan.budget.steps(prepared.task.train_size, batch_size)
        each = seconds.get(batch_size)
        timed = plan.budget.amount if steps is None else None if each is None else steps * each
        rates = {c.learning_rate for c in first if c.batch_size == batch_size}
        return SizePreview(
            batch_size=batch_size,
            runs=design.expected_runs(batch_size),
            rates=tuple(sorted(rates)),
            steps=steps,
            seconds=timed,
            peak_bytes=_predict(prepared, batch_size),
        )

    return Preview(task=prepared.task.name, plan=plan, sizes=tuple(map(look, plan.batch_sizes)))


def _read_seconds(prepared: Prepared, place: str) -> dict[int, float]:
    path = path_of(place)
    if path is not None and not Path(path).exists():
        return {}
    with closing(Store(place, create=False)) as store:
        measured = find_measurement(
            store,
            prepared.fingerprint.digest,
            precision=prepared.plan.precision,
            device_kind=prepared.plan.device_kind,
            batch_sizes=prepared.plan.batch_sizes,
        )
    return dict(median_seconds(measured))


def _predict(prepared: Prepared, batch_size: int) -> int | None:
    try:
        return predict_peak(
            prepared.task, batch_size, mode="training", precision=prepared.plan.precision
        )
    except CannotTell:
        return None
