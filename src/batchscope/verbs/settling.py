"""What a study finds out before its first run, and keeps for when it goes on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import cast

from batchscope.errors import CannotTell
from batchscope.estimate import Interval
from batchscope.instruments.noise.along import measure_along
from batchscope.records import Configuration
from batchscope.studies.design import StudyDesign
from batchscope.studies.grouping import find_together
from batchscope.studies.progress import Watcher
from batchscope.studies.rules import MEASURED
from batchscope.studies.store import Store
from batchscope.verbs.preparing import Prepared
from batchscope.workers.pool import Pool

# Of the noise scale along the run: enough for an interval, at a few percent of its examples.
_MEASUREMENTS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A study that can begin, or go on.

    Attributes:
        together: batch size -> how many of its runs share a program.
        examples: that were processed to find this out.
    """

    design: StudyDesign
    together: Mapping[int, int]
    examples: int


def settle(
    store: Store,
    name: str,
    design: StudyDesign,
    prepared: Prepared,
    pool: Pool,
    watcher: Watcher,
    *,
    cost: Callable[[Configuration], float],
) -> Settled:
    """Find out what a study needs to know, or read what it found when it began.

    Args:
        cost: predicted seconds of one run.

    Raises:
        CannotTell: the noise scale that the rule needs is not identified.
    """
    kept = store.read_plan(name)
    plan = design.plan.to_dict() if kept else _find_out(design, prepared, pool, watcher, cost)
    store.save_study(name, task=design.task.name, fingerprint=design.fingerprint, plan=plan)
    begun = store.read_plan(name) or plan
    return Settled(
        design=_as_begun(design, begun),
        together=dict(cast(list[tuple[int, int]], begun.get("programs", []))),
        examples=cast(int, begun.get("trial_examples", 0)),
    )


def _find_out(
    design: StudyDesign,
    prepared: Prepared,
    pool: Pool,
    watcher: Watcher,
    cost: Callable[[Configuration], float],
) -> dict[str, object]:
    design, examples = _measure_gain(design, prepared, watcher)
    plan = design.plan
    together: dict[int, int] = {}
    # The few runs of a race are hardly ever of one size.
    if not plan.race:
        first_round = design.next_configurations([])
        together, tried = find_together(
            pool,
            first_round,
            train_size=design.task.train_size,
            device_name=prepared.device_name,
            cost=cost,
            watcher=watcher,
        )
        examples += tried
    found = plan.to_dict() | {
        "programs": list(together.items()),
        "trial_examples": examples,
        "expected_runs": sum(map(design.expected_runs, plan.batch_sizes)),
    }
    if plan.race:
        found |= {"step_cost": list(design.step_cost.items()), "spent_before": design.spent}
    return found


def _measure_gain(
    design: StudyDesign, prepared: Prepared, watcher: Watcher
) -> tuple[StudyDesign, int]:
    """The rule with the noise scale of one run at its base, and the examples of that run."""
    plan = design.plan
    if plan.rule != MEASURED:
        return design, 0
    steps = plan.budget.steps(design.task.train_size, plan.base)
    rates = design.grid[plan.batch_sizes[0]]
    label = "measuring the noise scale"
    watcher.begin(label)
    along = measure_along(
        design.task,
        budget=plan.budget,
        batch_size=plan.base,
        learning_rate=rates[len(rates) // 2],
        precision=plan.precision,
        device=prepared.device,
        every=None if steps is None else max(1, steps // _MEASUREMENTS),
        seed=plan.seed,
    )
    watcher.end(label)
    found = along.reading.noise_scale
    if not isinstance(found, Interval):
        raise CannotTell(
            f"the noise scale is not identified: {found.reason}",
            where="--rule adascale",
            expected=f"a noise scale {along.where}",
            do="train longer with --budget, or take --rule adascale:NUMBER or another rule",
        )
    watcher.say(f"The noise scale {along.where} is {found}: its gain moves the rate.")
    measured = replace(plan, rule=f"{MEASURED}:{found.value:.6g}")
    return replace(design, plan=measured), along.examples


def _as_begun(design: StudyDesign, begun: Mapping[str, object]) -> StudyDesign:
    """With the rule's noise scale, and a race's step times: others would lead it elsewhere."""
    if design.plan.rule == MEASURED:
        design = replace(design, plan=replace(design.plan, rule=cast(str, begun["rule"])))
    if not design.plan.race or "step_cost" not in begun:
        return design
    costs = cast(list[tuple[int, float]], begun["step_cost"])
    return replace(design, step_cost=dict(costs), spent=cast(float, begun["spent_before"]))
