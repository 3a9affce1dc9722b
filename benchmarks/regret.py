"""What a recommendation costs beside the exhaustive grid's pick, and beside Optuna's.

    python -m benchmarks.regret [TASK ...]

For each built-in task and two targets, one near the end of the budget and one easy, the setting
recommended and the grid's pick are trained afresh with ten unseen paired seeds. Regret is the
geometric mean of the ratios of steps to the target times seconds per step, less one; seconds per
step are of one interleaved measurement. A training that misses the target counts as the larger of
twice the horizon's time and four times the reference.
"""

import json
import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import psutil
import torch
from scipy import stats

import batchscope as bs
from batchscope.estimate import Interval
from batchscope.findings.analysis import analyze_curves
from batchscope.findings.comparison import compare_settings
from batchscope.findings.curves import Curve, read_curves, tabulate_runs
from batchscope.findings.to_target import reach_target
from batchscope.gallery import BUILT_IN, module_of
from batchscope.studies.plan import configure, default_batch_sizes, make_plan
from batchscope.task import Task
from batchscope.training.loop import train
from batchscope.workers.travel import ModuleTask, load_task
from benchmarks.fresh import SEEDS, train_afresh

OPTUNA_SEED = 500
EFFORTS = ("quick", "standard")
EASY_SHARE = 0.25
DEVICE = torch.device("cpu")
RESULT = Path(__file__).parent / "results" / "studies" / "regret.json"


@dataclass(frozen=True, kw_only=True)
class Pick:
    """A setting, and what finding it took.

    Attributes:
        predicted: seconds of one fresh training, 95%; None where nobody predicts.
    """

    batch_size: int
    learning_rate: float
    examples: int
    predicted: tuple[float, float] | None = None


def main(names: Sequence[str]) -> None:
    known = json.loads(RESULT.read_text())["rows"] if RESULT.exists() else []
    rows = [row for row in known if row["task"] not in names]
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            for row in measure(name, folder):
                rows.append(row)
                print(json.dumps(row), flush=True)
        document = {
            "summary": {who: summarize(rows, who) for who in (*EFFORTS, "optuna")},
            "rows": rows,
            "load_average": psutil.getloadavg()[0],
            "command": "python -m benchmarks.regret",
        }
        RESULT.write_text(json.dumps(document, indent=1) + "\n")


def summarize(rows: Sequence[Mapping[str, Any]], who: str) -> dict[str, object]:
    """What is asked of an effort, over all tasks and targets."""
    mine = [row for row in rows if row["who"] == who]
    picked = [row for row in mine if row["regret"] is not None]
    if not picked:
        return {"without a pick": len(mine)}
    widths = [row["high_over_low"] for row in picked if row["high_over_low"] is not None]
    by_task: dict[str, list[float]] = {}
    for row in picked:
        by_task.setdefault(row["task"], []).append(row["regret"])
    return {
        "without a pick": len(mine) - len(picked),
        "mean regret": float(np.mean([np.mean(regrets) for regrets in by_task.values()])),
        "highest lower end": max(row["low"] for row in picked),
        "highest share": max(row["share"] for row in picked),
        "inside": sum(row["inside"] or 0 for row in picked),
        "predicted": SEEDS * len(widths),
        "median high over low": float(np.median(widths)) if widths else None,
        "attainable": float(np.median([row["attainable_high_over_low"] for row in picked])),
    }


def measure(name: str, folder: str) -> list[dict[str, object]]:
    task = load_task(ModuleTask(module=module_of(name), name="task", label=name))
    sizes = default_batch_sizes(task.train_size)
    grid = bs.study(name, exhaustive=True, seeds=3, store=f"{folder}/grid.db")
    assert grid.grid_examples is not None
    curves = read_curves(tabulate_runs(grid.runs, {}))
    seconds = {
        size.batch_size: size.step_seconds.value
        # Not the times that the grid was planned by, which what ran beside it then may have marred.
        for size in bs.profile(name, store=f"{folder}/profile.db").sizes
        if isinstance(size.step_seconds, Interval)
    }
    rows: list[dict[str, object]] = []
    for kind, target in find_targets(curves, task).items():
        reference = pick_of_grid(curves, target, seconds)
        picks = {effort: recommend(name, target, effort, folder) for effort in EFFORTS}
        asked = [pick for pick in picks.values() if pick is not None]
        if not asked:
            continue
        picks["optuna"] = ask_optuna(task, target, asked[-1].examples, seconds, OPTUNA_SEED)
        for who, pick in picks.items():
            row: dict[str, object] = {"task": name, "kind": kind, "target": str(target), "who": who}
            row["reference"] = [reference.batch_size, reference.learning_rate]
            if pick is None:
                rows.append(row | {"regret": None})
                continue
            row |= asdict(pick)
            row["share"] = pick.examples / grid.grid_examples
            row["full_runs"] = pick.examples / (grid.grid_examples / len(sizes) / 15)
            rows.append(row | compare(task, name, pick, reference, target, folder))
    return rows


def find_targets(curves: Sequence[Curve], task: Task) -> dict[str, bs.Target]:
    """Near the end: the target that an analysis derives. Easy: what its best is at a quarter."""
    analysis = analysis_of(curves, task)
    near = analysis.target
    assert near is not None
    best = min(
        (size for size in analysis.tuned),
        key=lambda size: np.mean([reach_target(c, near, "examples") for c in size.curves]),
    )
    sign = 1 if near.direction == "<=" else -1
    early = [
        float(c.columns[near.metric][int(np.sum(c.columns["examples"] <= EASY_SHARE * last)) - 1])
        for c in best.curves
        if (last := float(c.columns["examples"][-1]))
    ]
    worst = max(sign * value for value in early)
    level = sign * max(worst, sign * near.value)
    easy = replace(near, value=float(f"{level * 1.2**sign:.3g}"))
    return {"near the end": near, "easy": easy}


def analysis_of(curves: Sequence[Curve], task: Task) -> bs.Analysis:
    return analyze_curves(
        curves,
        study="grid",
        task=task.name,
        quality=task.quality,
        higher=task.is_higher_better(task.quality),
        target=None,
        unit=task.unit,
    )


def pick_of_grid(
    curves: Sequence[Curve],
    target: bs.Target,
    seconds: Mapping[int, float],
) -> Pick:
    """The least geometric mean of seconds, of the settings whose every seed reached the target."""
    found: dict[tuple[int, float], list[float]] = {}
    for curve in curves:
        needed = reach_target(curve, target, "step") if curve.finished else math.inf
        place = (curve.batch_size, curve.learning_rate)
        found.setdefault(place, []).append(needed * seconds[curve.batch_size])
    best = min(found, key=lambda s: (float(np.mean(np.log(np.maximum(found[s], 1e-9)))), s))
    return Pick(batch_size=best[0], learning_rate=best[1], examples=0)


def recommend(name: str, target: bs.Target, effort: str, folder: str) -> Pick | None:
    store = f"{folder}/{effort}-{target.value:g}.db"
    try:
        found = bs.recommend(name, target=target, effort=effort, store=store)
    except bs.CannotTell as error:
        print(error, flush=True)
        return None
    took = found.predicted.seconds
    return Pick(
        batch_size=found.batch_size,
        learning_rate=found.learning_rate,
        examples=found.spent.examples,
        predicted=(took.low, took.high) if isinstance(took, Interval) else None,
    )


def ask_optuna(
    task: Task, target: bs.Target, budget: int, seconds: Mapping[int, float], seed: int
) -> Pick:
    """Its default sampler over batch size and log rate, with the same stop and the same cap."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    rate = task.optimizer_spec.lr or 1e-3
    spent, best = 0, math.inf
    while spent < budget:
        trial = study.ask()
        size = trial.suggest_categorical("batch_size", list(seconds))
        lr = trial.suggest_float("lr", rate / 10, rate * 10, log=True)
        plan = make_plan(task, device=DEVICE, batch_sizes=[size])
        whole = configure(task, plan, "0" * 16, batch_size=size, lr=lr, seed=seed)
        horizon = task.budget.steps(task.train_size, size) or 1
        most = min(horizon, 1.25 * best / seconds[size], max(1, (budget - spent) // size))
        capped = bs.until_target(bs.steps(max(1, math.ceil(most))), target)
        outcome = train(task, replace(whole, budget=capped), device=DEVICE)
        columns = outcome.trajectory.columns
        cost = outcome.steps * seconds[size]
        spent += outcome.steps * size
        is_there = target.is_met(columns[target.metric])
        best = min(best, cost) if is_there else best
        # Of those that miss it, the ones that end nearer to it are better.
        study.tell(trial, cost if is_there else 1e3 * (1 + outcome.trajectory.last("val_loss")))
    found = study.best_params
    return Pick(batch_size=found["batch_size"], learning_rate=found["lr"], examples=spent)


def compare(
    task: Task, name: str, pick: Pick, reference: Pick, target: bs.Target, folder: str
) -> dict[str, object]:
    """Both trained afresh, and timed in turns."""
    sizes = sorted({pick.batch_size, reference.batch_size})
    place = f"{folder}/timing-{'-'.join(map(str, sizes))}.db"
    timed = bs.profile(name, batch_sizes=sizes, store=place).sizes
    seconds = {
        size.batch_size: size.step_seconds.value
        for size in timed
        if isinstance(size.step_seconds, Interval)
    }
    steps = {
        who: _train_afresh(name, one, target, folder)
        for who, one in (("mine", pick), ("theirs", reference))
    }
    mean = float(np.mean([s for s in steps["theirs"].values() if math.isfinite(s)]))
    costs: dict[str, dict[int, float]] = {}
    for who, one in (("mine", pick), ("theirs", reference)):
        horizon = task.budget.steps(task.train_size, one.batch_size) or 1
        reference_seconds = mean * seconds[reference.batch_size]
        missed = max(2 * horizon * seconds[one.batch_size], 4 * reference_seconds)
        costs[who] = {
            seed: needed * seconds[one.batch_size] if math.isfinite(needed) else missed
            for seed, needed in steps[who].items()
        }
    logs = {who: {seed: math.log(c) for seed, c in found.items()} for who, found in costs.items()}
    difference = compare_settings(logs["theirs"], logs["mine"], margin=0.1).difference
    ratio = math.exp(np.mean(list(logs["mine"].values())) - np.mean(list(logs["theirs"].values())))
    low, high = ratio, ratio
    if isinstance(difference, Interval):
        low, high = math.exp(difference.low), math.exp(difference.high)
    # What an interval from all ten of these seeds would be: nothing predicts them more narrowly.
    own = list(logs["mine"].values())
    spread = float(np.std(own, ddof=1)) * math.sqrt(1 + 1 / len(own))
    attainable = math.exp(2 * float(stats.t.ppf(0.975, len(own) - 1)) * spread)
    inside = None
    if pick.predicted is not None:
        inside = sum(pick.predicted[0] <= c <= pick.predicted[1] for c in costs["mine"].values())
    return {
        "regret": ratio - 1,
        "low": low - 1,
        "high": high - 1,
        "reached": sum(map(math.isfinite, steps["mine"].values())),
        "reference_reached": sum(map(math.isfinite, steps["theirs"].values())),
        "seconds": float(np.exp(np.mean(list(logs["mine"].values())))),
        "inside": inside,
        "attainable_high_over_low": attainable,
        "high_over_low": None if pick.predicted is None else pick.predicted[1] / pick.predicted[0],
    }


def _train_afresh(name: str, pick: Pick, target: bs.Target, folder: str) -> dict[int, float]:
    runs = train_afresh(name, pick.batch_size, pick.learning_rate, folder)
    curves = read_curves(tabulate_runs(runs, {}))
    return {c.seed: reach_target(c, target, "step") if c.finished else math.inf for c in curves}


if __name__ == "__main__":
    main(sys.argv[1:] or list(BUILT_IN))
