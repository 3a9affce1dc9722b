"""Recurring jobs replayed from recorded runs: ours, Thompson sampling over arms, and a floor.

    python -m benchmarks.recurring ../shared/data [SEEDS]

The folder holds `zeus/summary_train.csv` and `zeus/summary_power_v100.csv`, as published with Zeus
(ml-energy/zeus, examples/research_reproducibility/zeus_nsdi23/trace). A run at a batch size is one
of the recorded repetitions, drawn evenly, the same for every policy of one seed. Cost is
eta x joules + (1 - eta) x 250 W x seconds; scores are cumulative cost over that of the best fixed
setting. The floor runs the default once, times every setting, and then knows the best.
"""

import functools
import json
import math
import multiprocessing
import sys
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl

from batchscope.verbs.advising import Advisor

HIGHEST_WATTS = 250.0
TIMING_EPOCHS = 0.02
TRIES = 20
CSV = {"infer_schema_length": 10_000, "null_values": ["nan", " "]}


@dataclass(frozen=True)
class Job:
    """One of the recorded jobs.

    Attributes:
        optimizer: of its runs.
        targets: of the metric, the published one first.
        defaults: batch sizes, the published one first.
        last: the largest batch size on offer.
    """

    name: str
    optimizer: str
    targets: tuple[float, float, float]
    max_epochs: int
    defaults: tuple[int, int, int]
    last: int


JOBS = (
    Job("cifar100", "adadelta", (0.6, 0.5, 0.55), 100, (1024, 256, 32), 4096),
    Job("librispeech", "adamw", (40.0, 45.0, 50.0), 16, (192, 48, 16), 192),
    Job("movielens-1m", "adam", (0.41, 0.4, 0.375), 100, (1024, 256, 4096), 16384),
)


@dataclass(frozen=True)
class Setting:
    """What is replayed.

    Attributes:
        eta: share of energy in the cost; 0 is time alone.
        default: batch size; 0 for the best one.
    """

    job: Job
    eta: float
    with_power: bool
    target: float
    default: int


@dataclass
class Recorded:
    """What was recorded of a job: epochs at levels per run, and costs per epoch."""

    runs: dict[int, list[dict[float, int]]]
    costs: dict[tuple[int, float], float]
    best: tuple[int, float]
    oracle: float
    default: int


@dataclass
class Ended:
    """What a run came to."""

    cost: float
    epochs: int
    reached: bool
    progress: list[tuple[float, float]]


class Policy(Protocol):
    """Chooses runs and hears of them."""

    def ask(self) -> tuple[int, float, float]:
        """Batch size, watts, and the cost at which to give up."""
        ...

    def tell(self, ended: Ended) -> None:
        """Take what the run came to."""
        ...


@functools.cache
def read(folder: Path, setting: Setting) -> Recorded:
    job = setting.job
    trained = pl.read_csv(folder / "zeus/summary_train.csv", **CSV).filter(
        (pl.col("dataset") == job.name)
        & (pl.col("optimizer") == job.optimizer)
        & (pl.col("batch_size") <= job.last)
    )
    runs: dict[int, list[dict[float, int]]] = {}
    for (size, _), rows in sorted(trained.group_by("batch_size", "run")):
        passed = zip(rows["target_metric"], rows["target_epoch"], strict=True)
        runs.setdefault(int(size), []).append({a: e for a, e in passed if e is not None})
    powers = pl.read_csv(folder / "zeus/summary_power_v100.csv").filter(
        (pl.col("dataset") == job.name) & (pl.col("optimizer") == job.optimizer)
    )
    columns = ("batch_size", "power_limit", "time_per_epoch", "average_power")
    costs = {
        (size, float(limit)): setting.eta * time * watts + (1 - setting.eta) * HIGHEST_WATTS * time
        for size, limit, time, watts in powers.select(columns).iter_rows()
        if size in runs and (setting.with_power or limit == HIGHEST_WATTS)
    }
    expected: dict[tuple[int, float], float] = {}
    for (size, limit), cost in costs.items():
        needed = [run.get(setting.target, math.inf) for run in runs[size]]
        reached = [epochs for epochs in needed if epochs <= job.max_epochs]
        if reached:
            failures = len(needed) / len(reached) - 1
            expected[size, limit] = cost * (float(np.mean(reached)) + failures * job.max_epochs)
    best = min(expected, key=lambda key: expected[key])
    return Recorded(runs, costs, best, expected[best], setting.default or best[0])


def replay(
    recorded: Recorded, setting: Setting, policy: Policy, seed: int, times: int
) -> np.ndarray:
    """Cumulative cost after each recurrence, over the oracle's of one."""
    draws = {size: np.random.default_rng([seed, size]) for size in recorded.runs}
    total, totals = 0.0, []
    for _ in range(times):
        for _ in range(TRIES):
            size, limit, stop = policy.ask()
            run = recorded.runs[size][draws[size].integers(len(recorded.runs[size]))]
            each = recorded.costs[size, limit]
            needed = run.get(setting.target, math.inf)
            reached = needed <= setting.job.max_epochs
            epochs = needed if reached else setting.job.max_epochs
            if epochs * each > stop + 1e-9:
                epochs, reached = math.floor(stop / each + 1e-9), False
            progress = sorted(
                ((level, float(epoch)) for level, epoch in run.items() if epoch <= epochs),
                key=lambda pair: pair[1],
            )
            total += epochs * each
            policy.tell(Ended(epochs * each, int(epochs), reached, progress))
            if reached:
                break
        totals.append(total)
    return np.array(totals) / recorded.oracle


class Ours:
    def __init__(self, recorded: Recorded, setting: Setting, seed: int, times: int) -> None:
        limits = sorted({limit for _, limit in recorded.costs})
        self._advisor = Advisor(
            sorted(recorded.runs),
            default=recorded.default,
            power_limits=limits,
            max_epochs=setting.job.max_epochs,
            target=setting.target,
            direction="min" if setting.job.name == "librispeech" else "max",
            recurrences=times,
            state=None,
            seed=seed,
        )
        for (size, limit), cost in recorded.costs.items():
            self._advisor.timed(size, cost, limit)

    def ask(self) -> tuple[int, float, float]:
        self._trial = self._advisor.ask()
        stop = self._trial.stop_cost
        limit = self._trial.power_limit
        assert limit is not None
        return self._trial.batch_size, limit, math.inf if stop is None else stop

    def tell(self, ended: Ended) -> None:
        self._advisor.tell(self._trial, **vars(ended))


class Thompson:
    """As Zeus has it: two rounds that prune, then Gaussian Thompson sampling over arms.

    A run is given up at twice the cheapest recurrence so far (You et al., NSDI 2023).
    """

    def __init__(self, recorded: Recorded, setting: Setting, seed: int, times: int) -> None:
        del setting, times
        self._rng = np.random.default_rng([seed, 1])
        self._limits: dict[int, float] = {}
        # Of each batch size the cheapest comes last.
        for size, limit in sorted(recorded.costs, key=lambda key: -recorded.costs[key]):
            self._limits[size] = limit
        self._costs: dict[int, list[float]] = {}
        self._least = math.inf
        self._asked = self._explore(sorted(recorded.runs), recorded.default)
        self._size = next(self._asked)

    def _explore(self, sizes: list[int], start: int) -> Generator[int, bool, None]:
        for _ in range(2):
            kept = [start] if (yield start) else []
            smaller = [size for size in reversed(sizes) if size < start]
            for side in (smaller, [size for size in sizes if size > start]):
                for size in side:
                    if not (yield size):
                        break
                    kept.append(size)
            sizes = sorted(kept)
            start = min(kept, key=lambda size: min(self._costs[size]))
        while True:
            yield min(sizes, key=self._draw)

    def _draw(self, size: int) -> float:
        costs = self._costs[size]
        spread = float(np.std(costs, ddof=1)) if len(costs) > 1 else 0.0
        return float(self._rng.normal(np.mean(costs), spread / math.sqrt(len(costs))))

    def ask(self) -> tuple[int, float, float]:
        return self._size, self._limits[self._size], 2 * self._least

    def tell(self, ended: Ended) -> None:
        if ended.reached:
            self._costs.setdefault(self._size, []).append(ended.cost)
            self._least = min(self._least, ended.cost)
        self._size = self._asked.send(ended.reached)


class Floor:
    """The default once, then what nobody could know."""

    def __init__(self, recorded: Recorded, setting: Setting, seed: int, times: int) -> None:
        del setting, seed, times
        own = {k[1]: cost for k, cost in recorded.costs.items() if k[0] == recorded.default}
        self._next = (recorded.default, min(own, key=lambda limit: own[limit]))
        self._best = recorded.best

    def ask(self) -> tuple[int, float, float]:
        return *self._next, math.inf

    def tell(self, _: Ended) -> None:
        self._next = self._best


POLICIES = {"ours": Ours, "thompson": Thompson, "floor": Floor}


def score(
    folder: Path, setting: Setting, name: str, seed: int, *, only: Sequence[int] | None = None
) -> list[float]:
    """Cumulative cost over the oracle's: at 1, 3, 5, 10, once, twice and all recurrences.

    Args:
        only: positions of those that are asked for.
    """
    recorded = read(folder, setting)
    sizes, limits = len(recorded.runs), len({limit for _, limit in recorded.costs})
    all_limits = 7
    # Each of these is announced beforehand; what is not is the same run further on.
    every = (1, 3, 5, 10, sizes, 2 * sizes, 2 * sizes * all_limits)
    counts = [every[at] for at in only] if only else every
    # Where one power limit is on offer its price per epoch is what Thompson sampling knows too.
    timings = 0.0 if name == "thompson" and limits == 1 else len(recorded.costs)
    charge = timings * TIMING_EPOCHS * recorded.costs[recorded.default, HIGHEST_WATTS]
    make = POLICIES[name]
    if name == "ours":
        ends = [
            replay(recorded, setting, make(recorded, setting, seed, n), seed, n)[-1] for n in counts
        ]
    else:
        policy = make(recorded, setting, seed, counts[-1])
        all_ends = replay(recorded, setting, policy, seed, counts[-1])
        ends = [all_ends[n - 1] for n in counts]
    extra = charge / recorded.oracle
    return [(float(end) + extra) / n for end, n in zip(ends, counts, strict=True)]


def settings() -> list[Setting]:
    """As published, with power too, at other targets and defaults, and with the best as default."""
    plain = [
        Setting(job, eta, power, job.targets[0], job.defaults[0])
        for power in (False, True)
        for eta in (0.5, 0.0, 1.0)
        for job in JOBS
    ]
    others = [
        Setting(job, 0.5, False, target, default)
        for job in JOBS
        for target, default in [
            *((target, job.defaults[0]) for target in job.targets[1:]),
            *((job.targets[0], default) for default in (*job.defaults[1:], 0)),
        ]
    ]
    return [*plain, *others]


def main(folder: Path, seeds: int) -> None:
    found = []
    with ProcessPoolExecutor(
        max_workers=2, mp_context=multiprocessing.get_context("spawn")
    ) as workers:
        for setting in settings():
            row: dict[str, object] = {
                key: value for key, value in asdict(setting).items() if key != "job"
            } | {"job": setting.job.name}
            each = {}
            for name in POLICIES:
                jobs = [workers.submit(score, folder, setting, name, seed) for seed in range(seeds)]
                each[name] = np.array([job.result() for job in jobs])
                row[name] = np.round(each[name].mean(axis=0), 4).tolist()
            worse = each["ours"] - each["thompson"]
            error = worse.std(axis=0, ddof=1) / math.sqrt(seeds)
            row["worse_than_thompson"] = bool((worse.mean(axis=0)[4:] > 2 * error[4:]).any())
            if setting.default == 0:
                # Runs more than always using the best: at as many recurrences as batch sizes.
                sizes = len(read(folder, setting).runs)
                row["excess_runs"] = round(sizes * (float(each["ours"][:, 4].mean()) - 1), 3)
            found.append(row)
            print(json.dumps(row), flush=True)
    path = Path(__file__).parent / "results" / "studies" / "recurring.json"
    path.write_text(json.dumps({"seeds": seeds, "settings": found}, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100)
