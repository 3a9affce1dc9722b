"""The steps of a race's choice, timed again after its last run."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from batchscope.decisions.timings import are_apart
from batchscope.errors import BatchscopeError
from batchscope.instruments.speed.steps import FEWEST_STEPS
from batchscope.records import Run, StepTime
from batchscope.studies.cost import count_examples, race_allowance, timing_again_allowance
from batchscope.studies.design import StudyDesign
from batchscope.studies.progress import Watcher
from batchscope.studies.speed import time_again
from batchscope.studies.store import Store
from batchscope.verbs.preparing import Prepared


def time_choice_again(
    store: Store,
    name: str,
    design: StudyDesign,
    prepared: Prepared,
    runs: Sequence[Run],
    watcher: Watcher,
    *,
    first: Sequence[StepTime],
) -> int:
    """Time the choice of a race at a second time, and note it: a machine's speed drifts.

    Where the two are so far apart that one was disturbed, a third time tells which, if the examples
    that the race may process are not spent. What goes wrong is said, and does not take the answer
    away that the runs give.

    Args:
        first: as timed before the runs.

    Returns:
        The examples processed for it, now or when it was noted.
    """
    noted = (store.read_plan(name) or {}).get("timed_again")
    if isinstance(noted, Mapping):
        return int(cast(Mapping[str, Any], noted)["examples"])
    examples = timing_again_allowance(design.plan, design.task.train_size)
    size = None if examples is None else design.best_raced(runs)
    if examples is None or size is None or examples < FEWEST_STEPS * size:
        return 0
    seconds = {step.batch_size: step.seconds for step in first}
    left = race_allowance(design.plan, design.task.train_size) - design.spent
    left -= sum(map(count_examples, runs))

    def time_once() -> tuple[StepTime, int]:
        return time_again(
            prepared.task,
            prepared.source,
            size,
            precision=design.plan.precision,
            device_name=prepared.device_name,
            devices=design.plan.devices,
            examples=examples,
            watcher=watcher,
        )

    timed: dict[str, Any] = {"batch_size": size, "examples": 0}
    try:
        step, processed = time_once()
        timed |= {"seconds": list(step.seconds), "examples": processed}
        store.note(name, timed_again=timed)
        if left >= examples and step.seconds and are_apart(seconds[size], step.seconds):
            step, more = time_once()
            timed |= {"once_more": list(step.seconds), "examples": processed + more}
            store.note(name, timed_again=timed)
    except (BatchscopeError, MemoryError) as error:
        watcher.say(f"The steps of batch size {size} could not be timed again: {error}")
    return timed["examples"]
