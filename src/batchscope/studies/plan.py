"""What a study is to find out, and how much may be spent on it."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, TypeVar, get_args

import torch

from batchscope.budget import Budget, Target, until_target
from batchscope.errors import InvalidInput
from batchscope.findings.power import check_difference
from batchscope.findings.tuning import Ranking
from batchscope.records import Configuration, HyperParameters, Precision, count_devices, name_kind
from batchscope.studies.constants import check_tuned
from batchscope.studies.plan_checks import (
    check_also_read,
    check_base,
    check_evaluate_every,
    check_noise_scale,
    check_own_rates,
    check_rates,
    check_sizes,
    check_warmup,
)
from batchscope.studies.racing.race import RACES
from batchscope.studies.rules import FITTED, check_rule, parse_rule
from batchscope.studies.weighing import Weighing
from batchscope.task import Task
from batchscope.training.devices import count_cores
from batchscope.training.schedules import parse_schedule

Effort = Literal["frugal", "quick", "standard", "thorough"]
Objective = Literal["time", "examples", "quality"]
# That every batch size is trained at, or batch size -> those that it alone is trained at.
Rates = Sequence[float] | Mapping[int, Sequence[float]]

_Choice = TypeVar("_Choice", bound=str)
# Of the grid that a search is compared with; its own seeds are a study's as many as that has.
GRID_RATES, GRID_SEEDS = 5, 3
_BASE = 32
_SMALLEST = 8
_LARGEST = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is spent at each batch size.

    Attributes:
        rates: tried first, half a decade apart, around the task's own.
        extensions: further rates at most, where the best lies on the edge.
        refinements: rates proposed between the best one's neighbours, where no extension was
            needed.
        seeds: in all at the best rate.
        confirmed: rates at most that get all seeds, each the best by its mean so far; under
            "frugal" settings of any batch size.
    """

    rates: int
    extensions: int
    refinements: int
    seeds: int
    confirmed: int


EFFORTS: dict[Effort, Limits] = {
    "frugal": Limits(rates=3, extensions=4, refinements=0, seeds=3, confirmed=2),
    "quick": Limits(rates=3, extensions=3, refinements=0, seeds=2, confirmed=1),
    "standard": Limits(rates=3, extensions=4, refinements=1, seeds=3, confirmed=2),
    "thorough": Limits(rates=5, extensions=4, refinements=3, seeds=5, confirmed=3),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A study before its first run.

    Attributes:
        batch_sizes: in increasing order.
        seed, seeds: the first seed, and how many at the best rate.
        target: given by the user or the task; None to derive one from the runs.
        device_kind: "cpu", "cuda" or "mps"; "cuda x4" where four share each step.
        learning_rates: that every batch size is trained at, in increasing order; empty for a
            search, or where each has its own.
        own_rates: batch size and the rates that it is trained at, both in increasing order; empty
            where all are trained at the same, or searched.
        exhaustive: five rates around the task's own, all seeds at each, instead of a search.
        schedule: of the learning rate, as `parse_schedule` reads it.
        rule: that moves the rates from the batch size `base` instead of a search, as `parse_rule`
            reads it; None to search.
        noise_scale: in examples, that rates are moved by in a race or a frugal search until three
            batch sizes are known; None for the usual exponent.
        detect: the smallest difference in quality that the seeds are to show, with a power of 80%;
            None for `seeds`.
        also_read: smaller budgets that the same runs are to be read at.
        evaluate_every: epochs or examples between two evaluations; None for often at first and
            less often later.
        tune: constants of the optimizer that are searched beside the rate.
        race: look for the setting that gets to the target first alone, and give up what cannot win.
        second_costs: batch size and what a second counts there in a race, as a multiple of the
            smallest size's; empty where all count alike.
        terms: that these were worked out of, as JSON; empty likewise.
    """

    batch_sizes: tuple[int, ...]
    budget: Budget
    target: Target | None
    objective: Objective
    effort: Effort
    seed: int
    seeds: int
    precision: Precision
    device_kind: str
    learning_rates: tuple[float, ...] = ()
    own_rates: tuple[tuple[int, tuple[float, ...]], ...] = ()
    exhaustive: bool = False
    schedule: str = "constant"
    rule: str | None = None
    base: int = _BASE
    noise_scale: float | None = None
    detect: float | None = None
    also_read: tuple[Budget, ...] = ()
    evaluate_every: Budget | None = None
    tune: tuple[str, ...] = ()
    race: bool = False
    second_costs: tuple[tuple[int, float], ...] = ()
    terms: Mapping[str, object] = field(default_factory=dict[str, object])

    def step_costs(self, seconds: Mapping[int, float]) -> dict[int, float]:
        """What a step at each batch size takes of what is to be little.

        Args:
            seconds: batch size -> of one step.
        """
        if self.objective != "time":
            return {size: float(size) for size in self.batch_sizes}
        counts = dict(self.second_costs)
        return {size: took * counts.get(size, 1.0) for size, took in seconds.items()}

    @property
    def devices(self) -> int:
        """How many share each step."""
        return count_devices(self.device_kind)

    @property
    def limits(self) -> Limits:
        """How much is spent at each batch size."""
        return EFFORTS[self.effort]

    def ranking(self, task: Task) -> Ranking:
        """What learning rates are ranked by."""
        target = None if self.objective == "quality" else self.target
        metric = task.quality if self.target is None else self.target.metric
        return Ranking(quality=metric, higher=task.is_higher_better(metric), target=target)

    def to_dict(self) -> dict[str, object]:
        """The plan as JSON."""
        return {
            **asdict(self),
            "batch_sizes": list(self.batch_sizes),
            "learning_rates": list(self.learning_rates),
            "own_rates": [[size, list(rates)] for size, rates in self.own_rates],
            "budget": str(self.budget),
            "also_read": [str(budget) for budget in self.also_read],
            "evaluate_every": None if self.evaluate_every is None else str(self.evaluate_every),
            "tune": list(self.tune),
            "second_costs": [list(pair) for pair in self.second_costs],
            "terms": dict(self.terms),
            "target": None if self.target is None else asdict(self.target),
        }

    def study_id(self, fingerprint: str, earlier: str | None = None) -> str:
        """The name of the study of this plan on a task, and on an earlier version that counts."""
        # So that a study from before these could be asked for keeps its name.
        later = (
            *("also_read", "evaluate_every", "tune", "race", "second_costs", "noise_scale"),
            "own_rates",
        )
        said = {name: value for name, value in self.to_dict().items() if value or name not in later}
        # Only what follows from them leads the runs.
        del said["terms"]
        text = json.dumps([fingerprint, earlier, torch.__version__, said], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def make_plan(
    task: Task,
    *,
    device: torch.device,
    batch_sizes: Sequence[int] | None = None,
    budget: Budget | None = None,
    target: Target | None = None,
    objective: str = "time",
    effort: str = "standard",
    seed: int = 0,
    seeds: int | None = None,
    precision: str | None = None,
    learning_rates: Rates | None = None,
    exhaustive: bool = False,
    schedule: str = "constant",
    warmup: float = 0.0,
    rule: str | None = None,
    base: int = _BASE,
    noise_scale: float | None = None,
    detect: float | None = None,
    also_read: Sequence[Budget] = (),
    evaluate_every: Budget | None = None,
    tune: Sequence[str] = (),
    devices: int = 1,
    race: bool = False,
    weighing: Weighing | None = None,
) -> Plan:
    """Fill in what was not said.

    Args:
        race: where the rest allows it.
        weighing: of seconds in a race for the least of what they take; None where all count alike.

    Raises:
        InvalidInput: an objective or effort that there is not, a count below 1, or a rate that is
            not above 0.
    """
    own_rates = ()
    if isinstance(learning_rates, Mapping):
        own_rates = check_own_rates(
            learning_rates, batch_sizes=batch_sizes, exhaustive=exhaustive, rule=rule
        )
        batch_sizes = [size for size, _ in own_rates]
    else:
        check_rates(learning_rates, exhaustive=exhaustive, rule=rule)
    if rule is not None:
        check_rule(rule, base)
    if base != _BASE:
        check_base(base, rule)
    chosen_schedule = parse_schedule(schedule)
    chosen_budget = resolve_budget(task, budget or task.budget)
    check_also_read(also_read, chosen_budget, chosen_schedule, task.train_size)
    check_evaluate_every(evaluate_every, task.train_size)
    if detect is not None:
        check_difference(detect, where="--detect")
    if warmup:
        chosen_schedule = replace(chosen_schedule, warmup=check_warmup(warmup))
    chosen_objective = _choose("--objective", objective, get_args(Objective))
    chosen_effort = _choose("--effort", effort, get_args(Effort))
    constants = task.optimizer_spec.hyper_parameters(batch_size=1, lr=1.0)
    chosen_constants = check_tuned(tune, constants, chosen_effort)
    if chosen_constants and (learning_rates or exhaustive or rule):
        raise InvalidInput(
            "constants to tune, and learning rates that are not searched",
            where="--tune",
            expected="a search of the rate",
            do="leave --learning-rates, --exhaustive and --rule out",
        )
    chosen_precision = _choose("--precision", precision or task.precision, get_args(Precision))
    if (seeds is not None and seeds < 1) or seed < 0:
        raise InvalidInput(
            f"--seed {seed}" if seed < 0 else f"--seeds {seeds}",
            where="--seeds, --seed",
            expected="at least 1 seed, numbered from 0 or above",
            do="leave them out for the defaults",
        )
    is_race = (
        race
        and chosen_objective != "quality"
        and chosen_effort in RACES
        and not (learning_rates or exhaustive or rule or detect or chosen_constants or also_read)
        and evaluate_every is None
        and chosen_budget.kind != "seconds"
        and chosen_budget.until is None
        and not chosen_schedule.needs_horizon
    )
    is_frugal = chosen_effort == "frugal" and not (learning_rates or exhaustive or rule)
    if noise_scale is not None:
        check_noise_scale(noise_scale, leads_rates=is_race or is_frugal)
    sizes = check_sizes(
        default_batch_sizes(task.train_size) if batch_sizes is None else batch_sizes
    )
    second_costs = ()
    if weighing is not None and is_race and chosen_objective == "time":
        second_costs = weighing.compare(sizes)
    wanted = target or task.target
    return Plan(
        batch_sizes=sizes,
        budget=chosen_budget,
        target=None if wanted is None else task.resolve_target(wanted),
        objective=chosen_objective,
        effort=chosen_effort,
        seed=seed,
        seeds=seeds or (RACES if is_race else EFFORTS)[chosen_effort].seeds,
        precision=chosen_precision,
        device_kind=_spread(task, device, devices, sizes),
        learning_rates=() if own_rates else tuple(sorted(set(learning_rates or ()))),
        own_rates=own_rates,
        exhaustive=exhaustive,
        schedule=str(chosen_schedule),
        rule=rule,
        base=base,
        noise_scale=None if noise_scale is None else float(noise_scale),
        detect=detect,
        tune=chosen_constants,
        also_read=tuple(resolve_budget(task, also) for also in also_read),
        evaluate_every=evaluate_every,
        race=is_race,
        second_costs=second_costs,
        terms=weighing.terms if weighing is not None and second_costs else {},
    )


def resolve_budget(task: Task, budget: Budget) -> Budget:
    """A budget whose target has its direction, checked against the task's metrics.

    Raises:
        InvalidInput: there is no such metric.
    """
    if not isinstance(budget.until, Target):
        return budget
    return until_target(budget, task.resolve_target(budget.until))


def default_batch_sizes(train_size: int) -> list[int]:
    """Powers of two from 8 to 2048, at least two batches to an epoch.

    Example:
        >>> default_batch_sizes(300)
        [8, 16, 32, 64, 128]
    """
    largest = max(1, min(_LARGEST, train_size // 2))
    smallest = min(_SMALLEST, largest)
    low, high = math.ceil(math.log2(smallest)), math.floor(math.log2(largest))
    return [2**power for power in range(min(low, high), high + 1)]


def configure(
    task: Task,
    plan: Plan,
    fingerprint: str,
    *,
    batch_size: int,
    lr: float,
    seed: int,
    tuned: Mapping[str, float] | None = None,
) -> Configuration:
    """One run of a plan; `tuned` constants take the place of the task's own."""
    constants = task.optimizer_spec.hyper_parameters(batch_size=batch_size, lr=lr)
    if plan.rule is not None and plan.rule != FITTED:
        at_base = task.optimizer_spec.hyper_parameters(batch_size=plan.base, lr=lr)
        moved = parse_rule(plan.rule, plan.base).apply(at_base, batch_size)
        # Unless the rule says otherwise, beta2 keeps its half-life.
        constants = {**moved, "beta2": constants["beta2"]} if _keeps_beta2(moved, plan) else moved
    constants = {**constants, **(tuned or {})}
    if task.ghost_batch is not None:
        constants = {**constants, "ghost_batch": task.ghost_batch}
    if task.clip_norm is not None:
        constants = {**constants, "clip_norm": task.clip_norm}
    return Configuration(
        fingerprint=fingerprint,
        batch_size=batch_size,
        micro_batch=batch_size,
        optimizer=task.optimizer_spec.name,
        hyper_parameters=constants,
        seed=seed,
        budget=plan.budget,
        precision=plan.precision,
        device_kind=plan.device_kind,
        torch_version=torch.__version__,
        schedule=plan.schedule,
        also_read=tuple(map(str, plan.also_read)),
        evaluate_every="" if plan.evaluate_every is None else str(plan.evaluate_every),
    )


def _spread(task: Task, device: torch.device, devices: int, sizes: Sequence[int]) -> str:
    """The kind of so many devices, which share each step.

    Raises:
        InvalidInput: there are not so many, or a step cannot be shared.
    """
    there = {"cuda": torch.cuda.device_count, "cpu": count_cores}.get(device.type, lambda: 1)()
    if not 1 <= devices <= there:
        raise InvalidInput(
            f"{devices} devices",
            where="--devices",
            expected=f"from 1 to {there}, as many as this machine has of {device.type}",
            do="leave it out to train each run on one",
        )
    if devices > 1 and task.batch_coupled:
        raise InvalidInput(
            "the loss depends on the whole batch, so devices cannot share it",
            where="--devices",
            expected="a loss that is a mean over examples",
            do="leave --devices out",
        )
    if sizes[0] < devices:
        raise InvalidInput(
            f"a batch of {sizes[0]} cannot be shared by {devices} devices",
            where="--devices, --batch-sizes",
            expected=f"batch sizes of at least {devices}",
            do="leave the smaller sizes out",
        )
    return name_kind(device.type, devices)


def _keeps_beta2(constants: HyperParameters, plan: Plan) -> bool:
    return "beta2" in constants and plan.rule != "sde"


def _choose(where: str, value: str, choices: tuple[_Choice, ...]) -> _Choice:
    for choice in choices:
        if choice == value:
            return choice
    raise InvalidInput(
        f"{where} {value!r} is not known",
        where=where,
        expected=f"one of {', '.join(choices)}",
        do="choose one of these",
    )
