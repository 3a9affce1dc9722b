"""Where a replication trains: ordinary studies in one store, and what it reads of their runs."""

import hashlib
import inspect
import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import cloudpickle
import numpy as np
import torch

from batchscope import replications
from batchscope.budget import Target
from batchscope.errors import CannotTell, InvalidInput
from batchscope.findings.claims import Seen
from batchscope.findings.curves import read_curves, tabulate_runs
from batchscope.findings.to_target import reach_target
from batchscope.records import Run
from batchscope.studies.fingerprint import fingerprint
from batchscope.studies.plan import Rates
from batchscope.studies.progress import Watcher
from batchscope.studies.store import Store
from batchscope.task import Task
from batchscope.training.devices import count_cores
from batchscope.verbs.analyzing import analyze
from batchscope.verbs.studying import Study, study
from batchscope.workers.calls import TaskFunction
from batchscope.workers.keeping import open_processes
from batchscope.workers.travel import TaskSource, pack_task

# Workers need not load this package to train what it trains.
cloudpickle.register_pickle_by_value(replications)

# The log of a ratio, or an exponent, of which nothing is known.
ANYTHING = Seen(-10.0, 10.0)

# Batch size, learning rate, seed.
Arm = tuple[int, float, int]


@dataclass(frozen=True, slots=True)
class Ends:
    """A number, or where its run was censored both ends of what it can be."""

    low: float
    high: float

    def minus(self, other: "Ends") -> Seen:
        """The difference of two."""
        return Seen(self.low - other.high, self.high - other.low)

    def over(self, other: "Ends") -> Seen:
        """The log of the ratio of two above 0."""
        low, high, least, most = map(math.log, (self.low, self.high, other.low, other.high))
        return Seen(low - most, high - least)


def add_up(weights: Sequence[float], numbers: Sequence[Ends]) -> Ends:
    """The weighted sum of numbers of which some are censored."""
    parts = [(w, number) for w, number in zip(weights, numbers, strict=True) if w]
    return Ends(
        sum(w * (number.low if w > 0 else number.high) for w, number in parts),
        sum(w * (number.high if w > 0 else number.low) for w, number in parts),
    )


def fit_leading(x: Sequence[float], numbers: Sequence[Ends], *, degree: int) -> Ends:
    """The leading coefficient of a polynomial through numbers of which some are censored."""
    # It is linear in them.
    weights = np.polyfit(x, np.eye(len(x)), degree)[0]
    return add_up(weights.tolist(), numbers)


@dataclass(frozen=True, slots=True)
class Trained:
    """Runs by their arm, and the study that they belong to."""

    study: Study
    runs: Mapping[Arm, Run]

    def last(
        self, arm: Arm, column: str, *, censored: tuple[float, float], after: float | None = None
    ) -> Ends:
        """A column at the end of a run; of one that did not finish the ends that are declared.

        Args:
            after: steps, interpolated; None for the end.
        """
        run = self.runs.get(arm)
        if run is None or run.status != "finished":
            return Ends(*censored)
        value = run.trajectory.last(column)
        if after is not None:
            columns = run.trajectory.columns
            value = float(np.interp(after, columns["step"], columns[column]))
        return Ends(value, value) if math.isfinite(value) else Ends(*censored)

    def column(self, arm: Arm, column: str) -> Sequence[float]:
        """A column over the whole run."""
        return self.runs[arm].trajectory.columns[column]

    def choose_fastest(
        self, size: int, rates: Sequence[float], seeds: range, target: Target
    ) -> float:
        """The rate that gets to a target first over seeds; where none does, the one nearest."""
        sign = 1 if target.direction == "<=" else -1

        def slowness(rate: float) -> tuple[int, float, float]:
            arms = [(size, rate, seed) for seed in seeds]
            found = [self.reach(arm, target, "step") for arm in arms]
            there = [steps for steps in found if steps is not None]
            ends = [self.last(arm, target.metric, censored=(0.0, math.inf)).high for arm in arms]
            return -len(there), sum(map(math.log, there)), sign * sum(ends)

        return min(rates, key=slowness)

    def explain(self, small: int, large: int) -> str:
        """Why the larger batch is worse, by the findings; empty where they have no verdict.

        Findings compare with the best batch size: where that is another one, it is named.
        """
        try:
            found = analyze(self.study)
        except CannotTell:
            return ""
        said = {v.small: v.verdict.replace("_", " ") for v in found.verdicts if v.large == large}
        if small in said or not said:
            return said.get(small, "")
        other = min(said)
        return f"{said[other]} (of {other:,} and {large:,})"

    def reach(self, arm: Arm, target: Target, column: str) -> float | None:
        """A column where a target is first reached, interpolated; None where it never is."""
        run = self.runs.get(arm)
        if run is None:
            return None
        (curve,) = read_curves(tabulate_runs([run], {}))
        value = reach_target(curve, target, column)
        return value if math.isfinite(value) else None


@dataclass(slots=True)
class Lab:
    """What a study is measured with.

    Attributes:
        is_quick: whether only the batch sizes that the claims need are run.
        first_seed, count: of the paired seeds.
        is_control: whether the mechanism is removed.
        data: the folder of the original data; None for what stands in for them.
        limit: of what is read of it; None for all.
        seconds: of each run that was read, by its key, as it took beside others.
        store: of all runs; those that it has are not trained again.
        beta2: of Adam, by batch size, where it was trained with.
    """

    is_quick: bool
    first_seed: int
    count: int
    is_control: bool
    store: str
    watcher: Watcher
    data: Path | None = None
    limit: int | None = None
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    beta2: dict[int, float] = field(default_factory=dict[int, float])

    @property
    def seeds(self) -> range:
        """The paired seeds."""
        return range(self.first_seed, self.first_seed + self.count)

    @property
    def pilot(self) -> range:
        """Four seeds that no claim is judged on, for what has to be chosen first."""
        return range(self.first_seed + 10_000, self.first_seed + 10_004)

    @property
    def short_pilot(self) -> range:
        """Its first two, for what few tell: a rate half a decade off, the best of some sizes."""
        return self.pilot[:2]

    def ask(
        self,
        task: Task,
        function: TaskFunction,
        calls: Sequence[tuple[object, ...]],
        *,
        words: str,
    ) -> list[object]:
        """What function(task, *call, report=...) returns for each call, made on all cores.

        The store keeps each answer: a call that it has, of the same task, source of the function's
        module and version of this package, is not made again.

        Args:
            function: returns what JSON holds, lists rather than tuples and finite numbers.
            words: on what is done, for whoever watches.

        Raises:
            BatchscopeError: what a call raised.
        """
        source = pack_task(task)
        digest = fingerprint(task, source).digest
        keys = [_name_call(digest, function, call) for call in calls]
        with closing(Store(self.store, create=True)) as store:
            found = store.read_answers(digest)
            waiting = {key: call for key, call in zip(keys, calls, strict=True) if key not in found}
            if waiting:
                self.watcher.begin(words)
                with closing(self._call_all(source, function, waiting)) as answers:
                    for key, answer in answers:
                        store.save_answer(key, task=task.name, fingerprint=digest, answer=answer)
                        found[key] = answer
                        self.watcher.advance(words, 1.0)
                        self.watcher.expect(float(sum(key not in found for key in waiting)))
                self.watcher.end(words)
        return [found[key] for key in keys]

    def _call_all(
        self,
        source: TaskSource,
        function: TaskFunction,
        calls: Mapping[str, tuple[object, ...]],
    ) -> Generator[tuple[str, object]]:
        """Answers by their keys, as they come."""
        waiting = list(calls.items())[::-1]
        with open_processes(source, count=count_cores(), threads=1) as pool:
            for _ in calls:
                while waiting and pool.free:
                    key, call = waiting.pop()
                    pool.submit(key, function, *call)
                answer = pool.wait_for_result()
                yield answer.label, answer.value

    def train(
        self,
        task: Task,
        batch_sizes: Sequence[int],
        *,
        rates: Rates,
        budget: str,
        seeds: range | None = None,
        also_read: Sequence[str] = (),
        evaluate_every: str | None = None,
        schedule: str = "constant",
        warmup: float = 0.0,
        rule: str | None = None,
        base: int = 32,
    ) -> Trained:
        """Train every batch size at every rate with every seed, through an ordinary study.

        Args:
            rates: of all batch sizes, or of each its own.
            warmup: examples over which the rate rises.
            rule: that moves the rates from the batch size `base`; None where they are every size's.

        Raises:
            InvalidInput: the original data have too little for the largest batch.
        """
        if self.data is not None and max(batch_sizes) > task.train_size:
            raise InvalidInput(
                f"{self.data}: {task.train_size:,} {task.unit} to train on",
                where="--data, --limit",
                expected=f"at least {max(batch_sizes):,}, one batch of the largest",
                do="add data, or raise --limit",
            )
        seeds = seeds or self.seeds
        done = study(
            task,
            batch_sizes=batch_sizes,
            learning_rates=rates,
            budget=budget,
            seed=seeds.start,
            seeds=len(seeds),
            objective="quality",
            also_read=also_read,
            evaluate_every=evaluate_every,
            schedule=schedule,
            warmup=warmup,
            rule=rule,
            base=base,
            store=self.store,
            watcher=self.watcher,
        )
        # `reproduce` repeats it; dozens of such files would hide its page.
        Path(done.settings).unlink(missing_ok=True)
        self.seconds |= {run.key: run.provenance.seconds for run in done.runs}
        self.beta2 |= {
            run.configuration.batch_size: float(run.configuration.hyper_parameters["beta2"])
            for run in done.runs
            if "beta2" in run.configuration.hyper_parameters
        }
        return Trained(
            done,
            {
                (
                    run.configuration.batch_size,
                    float(run.configuration.hyper_parameters["lr"]),
                    run.configuration.seed,
                ): run
                for run in done.runs
            },
        )


def _name_call(digest: str, function: TaskFunction, call: tuple[object, ...]) -> str:
    """The same for the same call of the same source on the same task."""
    module = inspect.getmodule(function)
    source = inspect.getsource(function if module is None else module)
    versions = version("batchscope"), torch.__version__
    said = digest, source, getattr(function, "__qualname__", ""), call, versions
    return hashlib.sha256(repr(said).encode()).hexdigest()[:24]
