"""Language models trained from nothing: how far larger batches save steps, by data and by width."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from batchscope.budget import Target
from batchscope.errors import CannotTell, InvalidInput
from batchscope.estimate import Interval
from batchscope.findings.claims import Seen
from batchscope.findings.scaling import ScalingFit, fit_scaling
from batchscope.findings.to_target import StepsToTarget
from batchscope.gallery import stdlib_lm
from batchscope.optimizers import AdamW
from batchscope.replications.formats.texts import read_texts
from batchscope.replications.lab import ANYTHING, Arm, Lab, Trained
from batchscope.replications.published import Figure, Line
from batchscope.replications.rates import rates_by_square_root
from batchscope.task import Task

# A constant rate, judged by averaged weights, as in the source.
_SCHEDULE = "averaged"
# At a batch of 32; those of others by the square root, half a decade to either side.
_RATE, _AT = 2e-2, 32
# Of the log of the data: below it a slope is mostly noise.
_LEAST_RUN = math.log(1.5)
# Of the windows to train on: the two amounts of data, and what a run may take in all.
_LITTLE, _MUCH, _MOST = 0.5, 2.0, 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is trained on what.

    Attributes:
        text: that windows are cut from, in UTF-8.
        name: of the task.
        widths: of the models, in increasing order.
        window: bytes that a model looks at.
        batch_sizes: in increasing order.
        train, judged: windows to train on, and to validate and test by.
    """

    text: bytes
    name: str
    widths: tuple[int, int]
    window: int
    batch_sizes: tuple[int, ...]
    train: int
    judged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """How the critical batch size moved.

    Attributes:
        by_data: per seed, the slope of log B_2x on the log of the data, mean over both widths.
        by_size: per seed, the slope of log B_2x on the log of the parameters at one amount of data,
            mean over both amounts.
    """

    by_data: Sequence[Seen]
    by_size: Sequence[Seen]
    figure: Figure
    note: str


def choose_setting(lab: Lab) -> tuple[Setting, tuple[str, ...]]:
    """Two small models on the source of Python's library, or larger ones on the original texts.

    Returns:
        The setting, and a sentence on each kind of line that was left out.

    Raises:
        InvalidInput: there are no texts, or too little of them.
    """
    if lab.data is None:
        return Setting(
            text=stdlib_lm.read_source(),
            name="source",
            widths=(16, 32),
            window=32,
            batch_sizes=(8, 16, 32, 64, 128, 256),
            train=4096,
            judged=256,
        ), ()
    text, skips = read_texts(lab.data, limit=lab.limit)
    window, most, least = 128, 2**18, 2**12
    windows = min(most, len(text) // (window + 1))
    if windows < least:
        raise InvalidInput(
            f"{lab.data}: {len(text):,} bytes of text",
            where="--data, --limit",
            expected=f"at least {least * (window + 1):,}, for {least:,} windows of {window} bytes",
            do="add files, or raise --limit",
        )
    judged = windows // 16
    return Setting(
        text=text,
        name="texts",
        widths=(128, 256),
        window=window,
        batch_sizes=(16, 32, 64, 128, 256, 512),
        train=windows - 2 * judged,
        judged=judged,
    ), skips.notes


def make_task(setting: Setting, width: int, *, is_shuffled: bool = False) -> Task:
    """The next byte, from those before it.

    Args:
        is_shuffled: put all bytes in a random order, so that only their frequencies are left.
    """
    count = setting.train + 2 * setting.judged
    windows = stdlib_lm.cut_windows(setting.text, count, setting.window + 1)
    generator = torch.Generator().manual_seed(0)
    windows = windows[torch.randperm(count, generator=generator)]
    if is_shuffled:
        order = torch.randperm(windows.numel(), generator=generator)
        windows = windows.flatten()[order].reshape(windows.shape)
    judged = windows[setting.train :]
    return Task(
        name=f"{setting.name}-{width}",
        model=partial(stdlib_lm.ByteTransformer, width, setting.window),
        loss=stdlib_lm.mean_loss,
        train=(windows[: setting.train],),
        val=(judged[0::2],),
        test=(judged[1::2],),
        optimizer=AdamW(lr=_RATE),
        unit=f"windows of {setting.window} bytes",
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """What one width and amount of data came to in one seed."""

    data: float
    critical: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """What one width came to.

    Attributes:
        places: seed -> for little and for much data; None where it is not identified.
        levels: of the loss, for a reader.
    """

    places: Mapping[int, tuple[_Place | None, _Place | None]]
    levels: str


def measure_growth(lab: Lab, setting: Setting) -> Grown:
    """Targets and rates are found on two other seeds, then held fixed.

    Raises:
        CannotTell: more data do not bring the smallest batch further.
    """
    tasks = [make_task(setting, width, is_shuffled=lab.is_control) for width in setting.widths]
    parameters = [sum(weight.numel() for weight in task.model().parameters()) for task in tasks]
    measured = [_measure_width(lab, task, setting.batch_sizes) for task in tasks]
    (small, large), growth = measured, math.log(parameters[1] / parameters[0])
    described = "; ".join(
        f"width {width} ({count:,} parameters) to {one.levels} nats per byte"
        for width, count, one in zip(setting.widths, parameters, measured, strict=True)
    )
    return Grown(
        by_data=[
            _mean([_slope(*one.places[seed], along=None) for one in measured]) for seed in lab.seeds
        ],
        by_size=[
            _mean(
                [
                    _slope(one, other, along=growth)
                    for one, other in zip(small.places[seed], large.places[seed], strict=True)
                ]
            )
            for seed in lab.seeds
        ],
        figure=_draw(dict(zip(setting.widths, measured, strict=True))),
        note=f"Byte transformers, constant rate with averaged weights: {described}.",
    )


def _measure_width(lab: Lab, task: Task, batch_sizes: Sequence[int]) -> _Measured:
    smallest, *others = batch_sizes
    rate, targets = _find_targets(lab, task, smallest)
    rates = {smallest: rate} | _choose_rates(lab, task, others, targets[1])
    own = {size: [rate] for size, rate in rates.items()}
    runs = lab.train(task, list(own), rates=own, budget=_until(targets[1]), schedule=_SCHEDULE)

    def place(seed: int, target: Target) -> _Place | None:
        return _fit([_count_steps(runs, (b, rates[b], seed), target) for b in rates])

    return _Measured(
        places={seed: (place(seed, targets[0]), place(seed, targets[1])) for seed in lab.seeds},
        levels=" and ".join(f"{target.value:.3g}" for target in targets),
    )


def _until(target: Target) -> str:
    return f"{_MOST:g}ep until {target}"


def _rates_at(size: int) -> list[float]:
    return rates_by_square_root(_RATE, known=_AT, size=size)


def _find_targets(lab: Lab, task: Task, smallest: int) -> tuple[float, tuple[Target, Target]]:
    """The best rate of the smallest batch, and what it gets to on little and on much data."""
    seeds, rates = lab.short_pilot, _rates_at(smallest)
    runs = lab.train(
        task, [smallest], rates=rates, budget=f"{_MUCH:g}ep", seeds=seeds, schedule=_SCHEDULE
    )

    def losses(rate: float, epochs: float) -> float:
        """Mean over seeds, interpolated."""
        at = epochs * task.train_size
        columns = [runs.runs[smallest, rate, seed].trajectory.columns for seed in seeds]
        return float(np.mean([np.interp(at, c["examples"], c["val_loss"]) for c in columns]))

    finished = [
        rate
        for rate in rates
        if all(runs.runs[smallest, rate, seed].status == "finished" for seed in seeds)
    ]
    best = min(finished or rates, key=lambda rate: losses(rate, _MUCH))
    little, much = (float(f"{losses(best, epochs):.4g}") for epochs in (_LITTLE, _MUCH))
    if not (math.isfinite(little) and much < little):
        raise CannotTell(
            f"{task.name}: a validation loss of {little:g} on {_LITTLE:g} epochs and of {much:g} "
            f"on {_MUCH:g}",
            where="reproduce critical-batch",
            expected="more data to bring the model further",
            do="take more or other texts, or other seeds with --first-seed",
        )
    return best, (Target("val_loss", little, "<="), Target("val_loss", much, "<="))


def _choose_rates(lab: Lab, task: Task, sizes: Sequence[int], target: Target) -> dict[int, float]:
    """Those that get there first on the pilot."""
    seeds, tried = lab.short_pilot, {size: _rates_at(size) for size in sizes}
    runs = lab.train(
        task, sizes, rates=tried, budget=_until(target), seeds=seeds, schedule=_SCHEDULE
    )
    return {size: runs.choose_fastest(size, rates, seeds, target) for size, rates in tried.items()}


def _count_steps(runs: Trained, arm: Arm, target: Target) -> StepsToTarget:
    """Those to the target, or all that it took without getting there."""
    steps = runs.reach(arm, target, "step")
    taken = max(1.0, runs.column(arm, "step")[-1]) if steps is None else steps
    return StepsToTarget(batch_size=arm[0], seed=0, steps=taken, is_censored=steps is None)


def _fit(steps: Sequence[StepsToTarget]) -> _Place | None:
    """B_2x of one seed; None where it is not identified or the smallest batch did not get there."""
    fit, smallest = fit_scaling(steps), steps[0]
    if not isinstance(fit, ScalingFit) or smallest.is_censored:
        return None
    if not isinstance(fit.critical, Interval):
        return None
    data = math.log(smallest.batch_size * smallest.steps)
    return _Place(data, float(np.median(fit.draws[:, 1])))


def _slope(one: _Place | None, other: _Place | None, *, along: float | None) -> Seen:
    """Of log B_2x, along the log of the data where nothing else is said."""
    if one is None or other is None:
        return ANYTHING
    run = other.data - one.data if along is None else along
    if run < _LEAST_RUN:
        return ANYTHING
    value = (other.critical - one.critical) / run
    return Seen(value, value)


def _mean(seen: Sequence[Seen]) -> Seen:
    return Seen(float(np.mean([s.low for s in seen])), float(np.mean([s.high for s in seen])))


def _draw(found: Mapping[int, _Measured]) -> Figure:
    """Means over seeds of the logs."""
    lines: list[Line] = []
    for width, measured in found.items():
        by_target = zip(*measured.places.values(), strict=True)
        columns = [[p for p in places if p is not None] for places in by_target]
        known = [places for places in columns if places]
        lines.append(
            Line(
                name=f"width {width}",
                places=[math.exp(float(np.mean([p.data for p in ps]))) for ps in known],
                values=[math.exp(float(np.mean([p.critical for p in ps]))) for ps in known],
            )
        )
    return Figure(
        title="Critical batch size of byte transformers against data",
        x="windows to the target at the smallest batch",
        y="B_2x",
        lines=tuple(lines),
        logarithmic=(True, True),
    )
