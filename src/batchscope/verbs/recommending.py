"""Recommend a batch size."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from batchscope.budget import Budget, Target, parse_budget
from batchscope.decisions.cost import Prices
from batchscope.decisions.memory import MemoryNeed
from batchscope.decisions.recommendation import (
    Recommendation,
    Spent,
    recommend_from,
)
from batchscope.decisions.terms import Terms, parse_deadline
from batchscope.optimizers import constants_to_paste
from batchscope.records import Measurement, PowerReading, Run
from batchscope.studies.cost import count_examples
from batchscope.studies.plan import GRID_RATES, GRID_SEEDS, Rates
from batchscope.studies.progress import Unwatched, Watcher
from batchscope.studies.store import DEFAULT_STORE, Store
from batchscope.studies.weighing import Weighing
from batchscope.task import Task
from batchscope.training.evaluation import horizon_examples
from batchscope.verbs.analyzing import analyze_row
from batchscope.verbs.asking import keep_asked, read_asked
from batchscope.verbs.fitting import predict_need
from batchscope.verbs.next_command import write_next_command
from batchscope.verbs.opening import find_row, open_study
from batchscope.verbs.powering import check_powerless, find_watts_here
from batchscope.verbs.studying import Study, study
from batchscope.verbs.timings import read_timings


def recommend(
    task: Task | str,
    *,
    objective: str = "time",
    target: Target | str | None = None,
    batch_sizes: Sequence[int] | None = None,
    budget: Budget | str | None = None,
    effort: str = "standard",
    seed: int = 0,
    seeds: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    learning_rates: Rates | None = None,
    exhaustive: bool = False,
    schedule: str = "constant",
    warmup: float = 0.0,
    rule: str | None = None,
    base: int = 32,
    noise_scale: float | None = None,
    detect: float | None = None,
    also_read: Sequence[Budget | str] = (),
    tune: Sequence[str] = (),
    devices: int = 1,
    executor: str = "local",
    jobs: int | None = None,
    store: str = DEFAULT_STORE,
    reuse_changed: bool = False,
    deadline: float | str | None = None,
    max_cost: float | None = None,
    memory: str | int | None = None,
    prices: Prices | None = None,
    watts: float | Mapping[int, float] | None = None,
    watcher: Watcher | None = None,
) -> Recommendation:
    """Say which batch size to use, and why. Its other arguments are those of `study`.

    Args:
        objective: "time", "cost", "energy", "carbon", "examples" or "quality"; or a weighting of
            the first four, such as "time=2,energy=1".
        deadline: what one training may take in seconds, or as text such as "2h"; the choice is
            among the batch sizes that are predicted to keep to it. None for no limit.
        max_cost: the same in money.
        memory: that a training step may take, in bytes or as text such as "8GiB"; None for no
            limit. Larger batches are accumulated over parts that fit.
        prices: of device-hours and electricity, and the carbon of that; None where nothing is paid.
        watts: of each device while it trains, as `energy` measures it; where that differs from
            batch size to batch size, those at some of them, such as {32: 180.0, 512: 290.0}. None
            for what `energy` has kept in the store from this machine, where power matters.

    Raises:
        InvalidInput: also where an objective or a limit needs a price or watts that are not given.
        CannotTell: nothing reached the target, or no batch size keeps to the limits.
    """
    done = search(
        task,
        objective=objective,
        batch_sizes=batch_sizes,
        device=device,
        precision=precision,
        devices=devices,
        deadline=deadline,
        max_cost=max_cost,
        memory=memory,
        prices=prices,
        watts=watts,
        store=store,
        watcher=watcher,
        target=target,
        budget=budget,
        effort=effort,
        seed=seed,
        seeds=seeds,
        learning_rates=learning_rates,
        exhaustive=exhaustive,
        schedule=schedule,
        warmup=warmup,
        rule=rule,
        base=base,
        noise_scale=noise_scale,
        detect=detect,
        also_read=also_read,
        tune=tune,
        executor=executor,
        jobs=jobs,
        reuse_changed=reuse_changed,
    )
    return done.read()


@dataclass(frozen=True, slots=True)
class Searched:
    """A study that was made for a recommendation, and what was asked of it."""

    study: Study
    terms: Terms
    memory: MemoryNeed | None

    def read(self) -> Recommendation:
        """The recommendation, whatever else is asked of the same study meanwhile.

        Raises:
            CannotTell: the runs do not allow one.
        """
        with open_study(self.study) as store:
            row = find_row(store, self.study, None)
            return _recommend(store, row, self.terms, self.memory)


def search(
    task: Task | str,
    *,
    objective: str,
    batch_sizes: Sequence[int] | None,
    device: str | None,
    precision: str | None,
    devices: int,
    deadline: float | str | None,
    max_cost: float | None,
    memory: str | int | None,
    prices: Prices | None,
    watts: float | Mapping[int, float] | None,
    store: str,
    watcher: Watcher | None,
    **others: Any,
) -> Searched:
    """Train what is to be chosen from, and keep with the study what was asked.

    Args:
        others: arguments of `study`.

    Raises:
        InvalidInput: as of `recommend`.
    """
    watcher = watcher or Unwatched()
    prices = prices or Prices()
    counts_power = max(prices.kilowatt_hour, prices.grams_per_kilowatt_hour) > 0
    if watts is None and (counts_power or any(name in objective for name in ("energy", "carbon"))):
        watts = find_watts_here(store, task, device=device, precision=precision, watcher=watcher)
        if watts is None:
            check_powerless(prices)
    terms = Terms(
        objective=objective,
        prices=prices,
        watts=watts,
        deadline=parse_deadline(deadline) if isinstance(deadline, str) else deadline,
        max_cost=max_cost,
        devices=devices,
    )
    need, batch_sizes = predict_need(
        task,
        memory,
        batch_sizes=batch_sizes,
        devices=devices,
        precision=precision,
        watcher=watcher,
    )
    done = study(
        task,
        objective=terms.ranked_by,
        batch_sizes=batch_sizes,
        device=device,
        precision=precision,
        devices=devices,
        race=True,
        weighing=_weigh_seconds(terms),
        store=store,
        watcher=watcher,
        **others,
    )
    keep_asked(done, terms, need)
    return Searched(done, terms, need)


def _weigh_seconds(terms: Terms) -> Weighing | None:
    """What a second counts in a search on these terms; None where all count alike."""
    if terms.is_alike:
        return None
    return Weighing(second_cost=terms.second_cost, terms=terms.to_dict())


def read_recommendation(study: Study | str, *, which: str | None = None) -> Recommendation:
    """The recommendation that the finished runs of a study lead to, on the terms last asked for.

    Args:
        study, which: as for `analyze`.

    Raises:
        StoreError: there is no such store or study.
        CannotTell: its runs do not allow one.
    """
    with open_study(study) as store:
        row = find_row(store, study, which)
        return _recommend(store, row, *read_asked(row["plan"]))


def _recommend(
    store: Store, row: sa.RowMapping, terms: Terms, memory: MemoryNeed | None
) -> Recommendation:
    plan = row["plan"]
    runs = store.read_study(row["id"])
    return recommend_from(
        analyze_row(store, row),
        terms=terms,
        timings=read_timings(store, row, memory),
        spent=_count(
            runs,
            [*store.read_measurements(row["fingerprint"]), *store.read_powers(row["fingerprint"])],
            plan,
            store.read_task(row["fingerprint"])["facts"],
        ),
        script_for={run.key: _script(run, memory) for run in runs},
        next_command=write_next_command(store, row, terms, memory),
        memory=memory,
    )


def _count(
    runs: Sequence[Run],
    measurements: Sequence[Measurement | PowerReading],
    plan: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> Spent:
    budget = parse_budget(plan["budget"])
    each = [horizon_examples(budget, facts["train_size"], size) for size in plan["batch_sizes"]]
    grid = GRID_RATES * GRID_SEEDS * sum(each)
    # Examples that were tried together belong to the study; timings, to the task.
    trained = sum(map(count_examples, runs)) + plan.get("trial_examples", 0)
    trained += plan.get("timed_again", {}).get("examples", 0)
    timed = sum(measurement.examples for measurement in measurements)
    is_known = math.isfinite(grid)
    # Older stores do not say how many examples a look takes.
    a_look = facts.get("evaluated")
    return Spent(
        runs=len(runs),
        examples=trained + timed,
        seconds=sum(run.provenance.seconds for run in runs),
        evaluated=None if a_look is None else a_look * sum(len(run.trajectory) for run in runs),
        full_runs=(trained + timed) * len(each) / sum(each) if is_known else None,
        share_of_grid=(trained + timed) / grid if is_known else None,
    )


def _script(run: Run, memory: MemoryNeed | None) -> str:
    """Lines to paste for the setting of a run."""
    configuration = run.configuration
    constants = constants_to_paste(configuration.hyper_parameters)
    given = ", ".join(f"{name}={value!r}" for name, value in constants.items())
    size = configuration.batch_size
    accumulation = 1 if memory is None else memory.split(size)[1]
    lines = [f"batch_size = {size}", f"accumulation = {accumulation}"]
    name = configuration.optimizer
    if name in ("SGD", "Adam", "AdamW"):
        lines.append(f"optimizer = torch.optim.{name}(\n    model.parameters(), {given}\n)")
    else:
        lines.append(f"lr = {configuration.learning_rate!r}")
    if configuration.schedule != "constant":
        lines.append(f"# with the schedule {configuration.schedule}, as in the study")
    clip = configuration.hyper_parameters.get("clip_norm")
    if clip is not None:
        lines.append(f"torch.nn.utils.clip_grad_norm_(model.parameters(), {clip!r})")
    return "\n".join(lines)
