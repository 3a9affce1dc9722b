"""What a frugal study picks, against the exhaustive grid's pick and Optuna's own pruner.

Picks are made on validation alone and trained afresh with ten unseen seeds, the same for all.
"""

import json
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
import psutil
import torch
from scipy import stats

import batchscope as bs
from batchscope.gallery.digits_cnn import task
from batchscope.records import Configuration
from batchscope.studies.plan import configure, default_batch_sizes, make_plan
from batchscope.training.hooks import Hook, RunState
from batchscope.training.loop import train
from batchscope.verbs.recommending import read_recommendation
from benchmarks.fresh import train_afresh

STUDY_SEEDS = (0, 10, 20, 30, 40)
MARGIN = 0.01
RESULT = Path(__file__).parent / "results" / "studies" / "frugal.json"
DEVICE = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Pick:
    batch_size: int
    learning_rate: float
    examples: int


def main() -> None:
    load = psutil.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        grid, grid_examples = _pick_exhaustive(folder)
        reference = _test_errors(grid, folder)
        rows: list[dict[str, object]] = []
        for seed in STUDY_SEEDS:
            frugal = _pick_frugal(seed, folder)
            theirs = _pick_by_optuna(seed, budget=frugal.examples)
            for name, pick in (("frugal", frugal), ("optuna", theirs)):
                gap = _difference(_test_errors(pick, folder), reference)
                rows.append(
                    {
                        "who": name,
                        "study_seed": seed,
                        "batch_size": pick.batch_size,
                        "learning_rate": pick.learning_rate,
                        "share_of_grid": pick.examples / grid_examples,
                        **gap,
                        "within_a_point": gap["upper_bound"] <= MARGIN,
                    }
                )
                print(rows[-1], flush=True)
    document = {
        "task": task.name,
        "grid_pick": {"batch_size": grid.batch_size, "learning_rate": grid.learning_rate},
        "grid_test_error": statistics.fmean(reference),
        "rows": rows,
        "load_average": load,
        "command": "python -m benchmarks.frugal",
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(document, indent=2) + "\n")


def _pick_exhaustive(folder: str) -> tuple[Pick, int]:
    done = bs.study(task, exhaustive=True, seeds=3, objective="quality", store=f"{folder}/grid.db")
    assert done.grid_examples is not None
    return _picked(done), done.grid_examples


def _pick_frugal(seed: int, folder: str) -> Pick:
    return _picked(
        bs.study(
            task,
            effort="frugal",
            seed=seed,
            objective="quality",
            store=f"{folder}/frugal-{seed}.db",
        )
    )


def _picked(done: bs.Study) -> Pick:
    chosen = read_recommendation(done)
    return Pick(
        batch_size=chosen.batch_size,
        learning_rate=chosen.learning_rate,
        examples=done.examples,
    )


def _pick_by_optuna(seed: int, *, budget: int) -> Pick:
    """Optuna's sampler and its successive halving, until as many examples are spent."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.SuccessiveHalvingPruner(),
    )
    rate = task.optimizer_spec.lr
    assert rate is not None
    spent = 0
    while spent < budget:
        trial = study.ask()
        size = trial.suggest_categorical("batch_size", default_batch_sizes(task.train_size))
        lr = trial.suggest_float("lr", rate / 10, rate * 10, log=True)
        watching = _Pruning(trial)
        try:
            outcome = train(task, _configuration(size, lr, seed), device=DEVICE, hooks=[watching])
        except optuna.TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            diverged = outcome.status == "diverged"
            study.tell(trial, 1.0 if diverged else outcome.trajectory.last("error"))
        spent += watching.examples
    best = study.best_params
    return Pick(batch_size=best["batch_size"], learning_rate=best["lr"], examples=spent)


class _Pruning(Hook):
    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial
        self.examples = 0

    def on_step(self, state: RunState) -> None:
        self.examples = state.examples

    def on_evaluation(self, state: RunState, row: Mapping[str, float]) -> None:
        self._trial.report(row["error"], state.examples)
        if self._trial.should_prune():
            raise optuna.TrialPruned


def _configuration(size: int, lr: float, seed: int) -> Configuration:
    plan = make_plan(task, device=DEVICE, batch_sizes=[size])
    return configure(task, plan, "0" * 16, batch_size=size, lr=lr, seed=seed)


def _test_errors(pick: Pick, folder: str) -> list[float]:
    runs = train_afresh(task, pick.batch_size, pick.learning_rate, folder)
    return [run.trajectory.last("test_error") for run in runs]


def _difference(mine: list[float], theirs: list[float]) -> dict[str, float]:
    """Of paired seeds: the mean, its two-sided 95% interval and its one-sided 95% upper bound."""
    gaps = np.array(mine) - np.array(theirs)
    mean, error = float(gaps.mean()), float(stats.sem(gaps))
    of = stats.t(len(gaps) - 1)
    two_sided = float(of.ppf(0.975)) * error
    return {
        "worse_by": mean,
        "low": mean - two_sided,
        "high": mean + two_sided,
        "upper_bound": mean + float(of.ppf(0.95)) * error,
    }


if __name__ == "__main__":
    main()
