"""Gauge a task at one batch size: noise, branches, curvature, bottleneck."""

import sys
from contextlib import redirect_stdout
from typing import cast

from batchscope.budget import Budget, epochs, examples, parse_budget
from batchscope.errors import InvalidInput
from batchscope.instruments.branching import Branching, branch_from
from batchscope.instruments.checkpoint import Checkpoint, Weights, reach_checkpoint
from batchscope.instruments.curvature import Curvature, DistanceHook, measure_curvature
from batchscope.instruments.noise.along import NoiseAlong, measure_along
from batchscope.instruments.noise.line_search import LineSearch, search_lines
from batchscope.instruments.noise.probe import NoiseScale, measure_noise
from batchscope.instruments.noise.spread import GradientSpread, measure_spread
from batchscope.instruments.noise.surge import SignSurge, measure_surge
from batchscope.instruments.speed.bottleneck import Bottleneck, find_bottleneck
from batchscope.studies.progress import Unwatched, Watcher, showing
from batchscope.task import Task
from batchscope.training.hooks import Hook
from batchscope.verbs.preparing import Prepared, prepare

NOISE_METHODS = ("probe", "line", "sign", "spread", "training")
_BATCH_SIZE = 32
# Enough for an interval of a third either way where the noise scale is below some ten thousand.
_DRAWN = examples(65536)
_WIDTH = 0.6
_INITIAL = ("0", "0ep")

Place = Budget | str | None


def noise(
    task: Task | str,
    *,
    method: str = "probe",
    after: Place = "1ep",
    weights: Weights | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    micro_batch: int = 16,
    width: float = _WIDTH,
    budget: Budget | str | None = None,
    allow_coupled: bool = False,
    seed: int = 0,
    device: str | None = None,
    precision: str | None = None,
    watcher: Watcher | None = None,
) -> NoiseScale | LineSearch | SignSurge | GradientSpread | NoiseAlong:
    """Measure the gradient noise scale at one place of a training.

    Args:
        method: "probe" draws micro-batches at frozen weights; "line" finds the best step at several
            batch sizes, "sign" that against the gradient's sign; "spread" shows the gradient's
            deviation against batch size; "training" measures along a whole run.
        after: what the model is trained for first; "0" for its initial weights.
        weights: a state_dict, or a file with one, to look at instead.
        batch_size: of the training to that place; 32 by default.
        learning_rate: of that training; the task's own by default.
        micro_batch: examples behind each gradient that "probe" draws.
        width: of the interval over its value at which "probe" stops.
        budget: what "probe" may draw, 65,536 examples by default; how long the run of "training"
            is, by default as the task's.
        allow_coupled: measure although an example's loss depends on the others in its batch.

    Raises:
        CannotTell: the notion does not exist here, or the training to the place diverged.
        InvalidInput: an argument that there is not.
        InvalidTask: the task cannot be trained.
    """
    watcher = watcher or Unwatched()
    budget = parse_budget(budget) if isinstance(budget, str) else budget
    if method not in NOISE_METHODS:
        raise InvalidInput(
            f"the method {method!r} is not known",
            where="--method",
            expected=f"one of {', '.join(NOISE_METHODS)}",
            do="choose one of these",
        )
    prepared = prepare(task, watcher=watcher, device=device, precision=precision, seed=seed)
    chosen = prepared.plan.precision
    if method == "training":
        with showing(watcher, "measuring along a run"):
            return measure_along(
                prepared.task,
                budget=budget or prepared.task.budget,
                batch_size=batch_size or _BATCH_SIZE,
                learning_rate=learning_rate,
                precision=chosen,
                device=prepared.device,
                seed=seed,
                allow_coupled=allow_coupled,
            )
    place = _reach(
        prepared,
        watcher,
        after=after,
        weights=weights,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
    )
    with showing(watcher, "measuring the noise") as report, redirect_stdout(sys.stderr):
        if method in ("line", "sign"):
            search = search_lines if method == "line" else measure_surge
            return search(
                prepared.task,
                place,
                precision=chosen,
                device=prepared.device,
                seed=seed,
                allow_coupled=allow_coupled,
                report=report,
            )
        if method == "spread":
            return measure_spread(
                prepared.task,
                place,
                precision=chosen,
                device=prepared.device,
                seed=seed,
                report=report,
            )
        return measure_noise(
            prepared.task,
            place,
            precision=chosen,
            device=prepared.device,
            micro_batch=micro_batch,
            width=width,
            budget=budget or _DRAWN,
            seed=seed,
            allow_coupled=allow_coupled,
            report=report,
        )


def branch(
    task: Task | str,
    *,
    after: Place = "1ep",
    length: Budget | str | None = None,
    weights: Weights | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seeds: int = 5,
    seed: int = 0,
    device: str | None = None,
    precision: str | None = None,
    watcher: Watcher | None = None,
) -> Branching:
    """Find the critical batch size at one place, by training branches of equal examples from it.

    Args:
        after: what the model is trained for first; "0" for its initial weights.
        weights: a state_dict, or a file with one, to look at instead.
        batch_size: of the training to that place, 32 by default; branches take 1 to 16 times that.
        learning_rate: of that training, the task's own by default; branches move it with the batch
            size, and take half and twice that too.
        length: of every branch, in epochs or examples; one epoch by default.
        seeds: orders of the examples, at least 3.

    Raises:
        CannotTell, InvalidInput, InvalidTask: as for `noise`.
    """
    watcher = watcher or Unwatched()
    length = parse_budget(length, where="--length") if isinstance(length, str) else length
    prepared = prepare(task, watcher=watcher, device=device, precision=precision, seed=seed)
    place = _reach(
        prepared,
        watcher,
        after=after,
        weights=weights,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
    )
    with showing(watcher, "training branches") as report, redirect_stdout(sys.stderr):
        return branch_from(
            prepared.task,
            place,
            length=length or epochs(1),
            precision=prepared.plan.precision,
            device=prepared.device,
            seeds=seeds,
            report=report,
        )


def curvature(
    task: Task | str,
    *,
    after: Place = "5ep",
    weights: Weights | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
    device: str | None = None,
    precision: str | None = None,
    watcher: Watcher | None = None,
) -> Curvature:
    """Measure how sharp the loss is at one place, and how far the weights have come.

    Args:
        after: what the model is trained for first; "0" for its initial weights.
        weights: a state_dict, or a file with one, to look at instead.
        batch_size: of the training to that place; 32 by default.
        learning_rate: of that training; the task's own by default.

    Raises:
        CannotTell, InvalidInput, InvalidTask: as for `noise`.
    """
    watcher = watcher or Unwatched()
    prepared = prepare(task, watcher=watcher, device=device, precision=precision, seed=seed)
    way = DistanceHook()
    place = _reach(
        prepared,
        watcher,
        after=after,
        weights=weights,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        hooks=(way,),
    )
    with showing(watcher, "measuring the curvature") as report, redirect_stdout(sys.stderr):
        return measure_curvature(
            prepared.task,
            place,
            precision=prepared.plan.precision,
            device=prepared.device,
            way=way,
            seed=seed,
            report=report,
        )


def bottleneck(
    task: Task | str,
    *,
    batch_size: int = _BATCH_SIZE,
    device: str | None = None,
    precision: str | None = None,
    watcher: Watcher | None = None,
) -> Bottleneck:
    """Say what holds a step up at one batch size: loading or computing, and each phase of it.

    Raises:
        InvalidInput, InvalidTask: as for `noise`.
    """
    watcher = watcher or Unwatched()
    prepared = prepare(
        task, watcher=watcher, device=device, precision=precision, batch_sizes=[batch_size]
    )
    with showing(watcher, "timing phases and loaders") as report, redirect_stdout(sys.stderr):
        return find_bottleneck(
            prepared.task,
            batch_size,
            prepared.plan.precision,
            prepared.device_name,
            report=lambda part: report(_share(cast(tuple[int, int], part))),
        )


def _reach(
    prepared: Prepared,
    watcher: Watcher,
    *,
    after: Place,
    weights: Weights | None,
    batch_size: int | None,
    learning_rate: float | None,
    seed: int,
    hooks: tuple[Hook, ...] = (),
) -> Checkpoint:
    if isinstance(after, str):
        after = None if after in _INITIAL else parse_budget(after, where="--after")
    if (batch_size is not None and batch_size < 1) or (
        learning_rate is not None and not learning_rate > 0
    ):
        raise InvalidInput(
            f"a training at batch size {batch_size} and learning rate {learning_rate}",
            where="--batch-size, --learning-rate",
            expected="at least 1 example, and a rate above 0",
            do="leave them out for 32 and the task's own rate",
        )
    with showing(watcher, "training to the place"), redirect_stdout(sys.stderr):
        return reach_checkpoint(
            prepared.task,
            after=after,
            device=prepared.device,
            precision=prepared.plan.precision,
            weights=weights,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
            hooks=hooks,
        )


def _share(part: tuple[int, int]) -> float:
    done, whole = part
    return done / whole
