"""Further seeds, as many as show the difference that is asked for."""

from collections.abc import Sequence
from dataclasses import replace

from batchscope.findings.curves import read_curves, tabulate_runs
from batchscope.findings.plateau import pooled_deviation
from batchscope.findings.power import count_seeds
from batchscope.findings.tuning import TunedSize, tune_sizes
from batchscope.records import Configuration, Run
from batchscope.studies.configuring import RunMaker


def seeds_to_detect(maker: RunMaker, runs: Sequence[Run]) -> tuple[int | None, float] | None:
    """How many seeds show the difference asked for, and the deviation that says so.

    No number where it takes more than are ever trained. The deviation is of the first seeds alone,
    so that further ones do not change the answer.

    Returns:
        None where no difference was asked for, or fewer than two sizes have two seeds.
    """
    return _count(maker, _tune_first_seeds(maker, runs))


def wanted_to_detect(maker: RunMaker, runs: Sequence[Run]) -> list[Configuration]:
    """The further seeds of the best settings; some of them may be finished."""
    tuned = _tune_first_seeds(maker, runs)
    found = _count(maker, tuned)
    if found is None or found[0] is None:
        return []
    of_run = {run.key: run.configuration for run in runs}
    return [
        replace(
            of_run[size.curves[0].run],
            seed=maker.plan.seed + extra,
            fingerprint=maker.fingerprint,
        )
        for size in tuned
        for extra in range(maker.plan.seeds, found[0])
    ]


def _tune_first_seeds(maker: RunMaker, runs: Sequence[Run]) -> list[TunedSize]:
    """The batch sizes at their best rates, by the seeds that are trained in any case."""
    plan = maker.plan
    first = [run for run in runs if run.configuration.seed < maker.seeds.stop]
    curves = read_curves(tabulate_runs(first, {}, budget=plan.budget, tuned=plan.tune))
    return [size for size in tune_sizes(curves, plan.ranking(maker.task)) if len(size.curves) > 1]


def _count(maker: RunMaker, tuned: Sequence[TunedSize]) -> tuple[int | None, float] | None:
    if maker.plan.detect is None:
        return None
    metric = maker.plan.ranking(maker.task).quality
    finals = {
        size.batch_size: {c.seed: float(c.columns[metric][-1]) for c in size.curves}
        for size in tuned
        if all(c.finished for c in size.curves)
    }
    if len(finals) < 2:
        return None
    deviation, _ = pooled_deviation(finals)
    return count_seeds(maker.plan.detect, deviation), deviation
