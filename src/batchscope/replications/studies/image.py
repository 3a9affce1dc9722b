"""Thakur 2020: what is the optimal batch size to train a neural network?"""

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
from torch import nn
from torch.nn import functional as F

from batchscope.budget import Target
from batchscope.decisions.reasons import join_sizes
from batchscope.estimate import Interval
from batchscope.findings.claims import Claim, Seen, exactly, see_trend
from batchscope.gallery import digits_cnn
from batchscope.metrics import error_rate
from batchscope.optimizers import SGD
from batchscope.replications.formats.cifar import read_cifar10
from batchscope.replications.lab import Ends, Lab, Trained, fit_leading
from batchscope.replications.normalising import compare_gaps
from batchscope.replications.published import Figure, Line, Measured, Published
from batchscope.replications.stepping import compare_misses
from batchscope.task import Task
from batchscope.verbs.profiling import profile

_RATE = 0.01
# What a momentum of 0.9 makes of it.
_STEP = 10 * _RATE
_EPOCHS = 25
# Whose updates both get: those of 512 at quick, since those of 32 take most of the time at 512.
_QUICK_UPDATES_OF, _UPDATES_OF = 512, 32
_QUICK = (8, 32, 128, 512, 2048)
_ALL = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
_CHANCE = (0.0, 0.9)
# Those of 2,048 that are tried beside: up to what the square root rule makes of the rate at 32.
_TUNED = (0.02, 0.04, 0.08)
# Of the training loss of an untrained net: above it a net has learned little.
_LEARNED = math.log(10) / 2

# Batch size -> seed -> test error.
_Errors = Mapping[int, Mapping[int, float]]

CLAIMS = (
    Claim(
        id="C1",
        name="2,048 is more than a point worse than 32 at equal epochs",
        kind="claim",
        direction="above",
        margin=0.01,
    ),
    Claim(
        id="C2",
        name="seconds per epoch fall with the batch size up to 128: slope of their logs",
        kind="claim",
        direction="below",
        margin=-0.2,
    ),
    Claim(
        id="C3",
        name="32 is within a point of the best of the other batch sizes",
        kind="claim",
        direction="below",
        margin=0.01,
    ),
    Claim(
        id="C4",
        name="the error rises from 32 on",
        kind="claim",
        direction="above",
        margin=0.0,
    ),
    Claim(
        id="C4b",
        name="it bends upwards in the log of the batch size",
        kind="claim",
        direction="above",
        margin=0.0,
    ),
    Claim(
        id="O1",
        name="at equal updates 512 is at most a point worse than 32",
        kind="objection",
        direction="below",
        margin=0.01,
    ),
    Claim(
        id="O2",
        name="at matched training loss 2,048 is as good as 32",
        kind="objection",
        direction="within",
        margin=0.01,
    ),
    Claim(
        id="O3",
        name="in the seconds that the fastest size takes 32 comes within a point of the best other",
        kind="objection",
        direction="below",
        margin=0.01,
    ),
    Claim(
        id="O4a",
        name="batch norm's noise regularises: at matched training loss the test loss is further "
        "above it at 512 than at 16, by 0.01",
        kind="objection",
        direction="above",
        margin=0.01,
    ),
    Claim(
        id="O4b",
        name="and further than at 512 normalised over 16 examples, by 0.01",
        kind="objection",
        direction="above",
        margin=0.01,
    ),
    Claim(
        id="O6",
        name="with its rate tuned 2,048 is at most a point worse than 32 at equal epochs",
        kind="objection",
        direction="below",
        margin=0.01,
    ),
    Claim(
        id="O5",
        name="small batches are safe on a curved cost: a step of 256 misses what its gradient "
        "promised by more than a step of 1",
        kind="objection",
        direction="above",
        margin=1.0,
        is_ratio=True,
    ),
)


def make_colour_net() -> nn.Module:
    """Three convolutions of 16, 32 and 32 channels, without batch norm: 53,000 parameters."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def make_task(lab: Lab) -> Task:
    """Digits, or at the scale of the paper CIFAR-10, of which the last tenth validates."""
    if lab.data is None:
        return digits_cnn.task
    (images, classes), test = read_cifar10(lab.data, limit=lab.limit)
    kept = len(classes) - max(1, len(classes) // 10)
    return Task(
        name="cifar10-cnn",
        model=make_colour_net,
        loss=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]),
        train=(images[:kept], classes[:kept]),
        val=(images[kept:], classes[kept:]),
        test=test,
        optimizer=SGD(lr=_RATE, momentum=0.9),
        metrics={"error": error_rate},
        unit="images",
    )


def measure(lab: Lab) -> Measured:
    """The source's sizes at one rate, equal updates beside, and as many timings as seeds."""
    task = make_task(lab)
    sizes = _QUICK if lab.is_quick else _ALL
    whose = _QUICK_UPDATES_OF if lab.is_quick else _UPDATES_OF
    count = _EPOCHS * -(-task.train_size // whose)
    large = 512 if lab.is_control else 2048
    if lab.is_control:
        by_epochs = updates = lab.train(task, [32, 512], rates=[_RATE], budget=f"{count}steps")
    else:
        by_epochs = lab.train(task, sizes, rates=[_RATE], budget=f"{_EPOCHS}ep")
        # The epochs of one are its updates.
        others = [size for size in (32, 512) if size != whose]
        rest = lab.train(task, others, rates=[_RATE], budget=f"{count}steps")
        updates = replace(rest, runs={**by_epochs.runs, **rest.runs})
    found = Measured(
        seen={
            "C1": [_gap(by_epochs, large, 32, seed) for seed in lab.seeds],
            "O1": [_gap(updates, 512, 32, seed) for seed in lab.seeds],
            "O2": [_matched(by_epochs, large, seed) for seed in lab.seeds],
        },
        causes={"C1": by_epochs.explain(32, large)},
        notes=(f"Equal updates are the {count:,} of {whose} in {_EPOCHS} epochs.",),
    )
    return found if lab.is_control else _measure_sizes(lab, task, sizes, by_epochs, found)


def _measure_sizes(
    lab: Lab, task: Task, sizes: Sequence[int], by_epochs: Trained, found: Measured
) -> Measured:
    """What the control leaves out: the best size by epochs and by seconds, trends, and noise."""
    rising = [size for size in sizes if size >= 32]
    errors = [
        [by_epochs.last((size, _RATE, seed), "test_error", censored=_CHANCE) for size in rising]
        for seed in lab.seeds
    ]
    steps = _steps_of_the_fastest(lab, task, sizes)
    errors_at_end = _read_errors(lab, by_epochs, sizes)
    errors_at_once = _read_errors(lab, by_epochs, sizes, at=steps)
    best = {seed: choose_rival(errors_at_end, seed) for seed in lab.seeds}
    quickest = {seed: choose_rival(errors_at_once, seed) for seed in lab.seeds}
    tuned, rate = _tune_largest(lab, task)
    over_sizes, over_ghosts, without_norm = compare_gaps(lab)
    calls = [(_STEP, seed) for seed in lab.seeds]
    misses = lab.ask(task, compare_misses, calls, words="measuring what steps miss")
    figure = Figure(
        title="Test error after 25 epochs, and in the seconds of the fastest, mean over seeds",
        x="batch size",
        y="error",
        lines=(
            Line(name="25 epochs", places=list(sizes), values=_average(errors_at_end)),
            Line(name="equal seconds", places=list(sizes), values=_average(errors_at_once)),
        ),
    )
    return Measured(
        seen={
            **found.seen,
            "C2": exactly([_time_slope(lab, task) for _ in lab.seeds]),
            "C3": [_gap(by_epochs, 32, best[seed], seed) for seed in lab.seeds],
            "C4": [see_trend([e.low for e in row], [e.high for e in row]) for row in errors],
            "C4b": [_bend(rising, row) for row in errors],
            "O3": [_gap(by_epochs, 32, quickest[seed], seed, at=steps) for seed in lab.seeds],
            "O4a": over_sizes,
            "O4b": over_ghosts,
            "O6": [
                tuned.last((2048, rate, seed), "test_error", censored=_CHANCE).minus(
                    _error(by_epochs, 32, seed, None)
                )
                for seed in lab.seeds
            ],
            "O5": exactly(cast(list[float], misses)),
        },
        figures=(figure,),
        causes=found.causes,
        notes=(
            "The best other batch size, by the other seeds, is "
            f"{join_sizes(sorted({*best.values()}))}, in equal seconds "
            f"{join_sizes(sorted({*quickest.values()}))}.",
            f"The best rate at 2,048 of {', '.join(map(str, _TUNED))}, on two other seeds, is "
            f"{rate}; elsewhere it is {_RATE}. O6 was declared after the others had been seen.",
            *found.notes,
            without_norm,
        ),
    )


def _error(runs: Trained, size: int, seed: int, at: float | None) -> Ends:
    """At the end, or after so many steps."""
    return runs.last((size, _RATE, seed), "test_error", censored=_CHANCE, after=at)


def _gap(
    runs: Trained, one: int, other: int, seed: int, *, at: Mapping[int, float] | None = None
) -> Seen:
    ends = [_error(runs, size, seed, at[size] if at else None) for size in (one, other)]
    return ends[0].minus(ends[1])


def _read_errors(
    lab: Lab, runs: Trained, sizes: Sequence[int], *, at: Mapping[int, float] | None = None
) -> _Errors:
    return {
        size: {seed: _error(runs, size, seed, at[size] if at else None).high for seed in lab.seeds}
        for size in sizes
    }


def _average(errors: _Errors) -> list[float]:
    return [float(np.mean(list(each.values()))) for each in errors.values()]


def choose_rival(errors: _Errors, seed: int) -> int:
    """The batch size but 32 with the lowest mean error over the seeds that it is not judged on.

    Against itself 32 would be as good whatever it is.
    """

    def mean(size: int) -> float:
        others = [error for other, error in errors[size].items() if other != seed]
        return float(np.mean(others or [errors[size][seed]]))

    return min((size for size in errors if size != 32), key=mean)


def _tune_largest(lab: Lab, task: Task) -> tuple[Trained, float]:
    """Runs of 2,048 at the best of several rates by validation error on two other seeds."""
    budget, seeds = f"{_EPOCHS}ep", lab.short_pilot
    pilot = lab.train(task, [2048], rates=_TUNED, budget=budget, seeds=seeds)

    def errors(rate: float) -> float:
        arms = [(2048, rate, seed) for seed in seeds]
        return sum(pilot.last(arm, "error", censored=_CHANCE).high for arm in arms)

    best = min(_TUNED, key=errors)
    return lab.train(task, [2048], rates=[best], budget=budget), best


def _matched(runs: Trained, large: int, seed: int) -> Seen:
    """Test error where both first reach the worse of their least training losses.

    Where one of the two learned little, or diverged, nothing is known.
    """
    arms = [(size, _RATE, seed) for size in (large, 32)]
    unknown = Seen(-1.0, 1.0)
    if any(runs.runs[arm].status != "finished" for arm in arms):
        return unknown
    level = max(min(runs.column(arm, "train_loss")) for arm in arms)
    if level > _LEARNED:
        return unknown
    target = Target("train_loss", level, "<=")
    big, small = (runs.reach(arm, target, "test_error") for arm in arms)
    if big is None or small is None:
        return unknown
    return Seen(big - small, big - small)


def _time_steps(lab: Lab, task: Task, sizes: Sequence[int]) -> dict[int, float]:
    """Seconds per step of a timing of its own."""
    # A store would answer with its first timing.
    with tempfile.TemporaryDirectory() as folder:
        store = f"{folder}/timing.db"
        found = profile(task, batch_sizes=sizes, store=store, watcher=lab.watcher)
    return {
        size.batch_size: size.step_seconds.value
        for size in found.sizes
        if isinstance(size.step_seconds, Interval)
    }


def _time_slope(lab: Lab, task: Task) -> float:
    """Of log seconds per epoch on log B, of one timing of 8 to 128."""
    seconds = _time_steps(lab, task, [8, 32, 128])
    x = np.log(list(seconds))
    return float(np.polyfit(x, np.log(list(seconds.values())) - x, 1)[0])


def _steps_of_the_fastest(lab: Lab, task: Task, sizes: Sequence[int]) -> dict[int, float]:
    """The steps that each size makes in the least seconds that 25 epochs take at one of them.

    None at a size that does not fit in memory.
    """
    seconds = _time_steps(lab, task, sizes)
    least = min(_EPOCHS * -(-task.train_size // size) * each for size, each in seconds.items())
    return {size: least / seconds[size] if size in seconds else 0.0 for size in sizes}


def _bend(sizes: Sequence[int], errors: Sequence[Ends]) -> Seen:
    """Twice the leading coefficient of a parabola in the log of the batch size."""
    leading = fit_leading(np.log2(sizes).tolist(), errors, degree=2)
    return Seen(2 * leading.low, 2 * leading.high)


STUDY = Published(
    name="image",
    title="The optimal batch size of an image net",
    source="A. Thakur, What's the Optimal Batch Size to Train a Neural Network?, Weights & Biases "
    "report, 2020",
    data="Stands in for an image set that the source does not name: the 1,797 digits of "
    "scikit-learn with their shifts, a convolutional net without batch norm.",
    claims=CLAIMS,
    control="equal updates at 32 and 512 (which stands for 2,048)",
    kills=("C1",),
    seeds={"quick": 5, "standard": 10},
    minutes={"quick": 4, "standard": 16},
    measure=measure,
    paper="the binary version of CIFAR-10 (data_batch_1.bin to data_batch_5.bin, test_batch.bin), "
    "for the image set that the source does not name",
)
