"""Godbole et al. 2023: what a larger batch costs is what a step consumes times the steps."""

import math
from collections.abc import Mapping, Sequence, Set

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from batchscope.budget import Target
from batchscope.decisions.cost import Prices, Use, cost_of, explain_change
from batchscope.errors import CannotTell
from batchscope.estimate import Interval
from batchscope.findings.claims import Claim, Seen
from batchscope.findings.scaling import ScalingFit, fit_scaling
from batchscope.findings.seeds import estimate_over_seeds
from batchscope.findings.to_target import StepsToTarget
from batchscope.gallery.digits import load_split
from batchscope.metrics import error_rate
from batchscope.optimizers import SGD
from batchscope.replications.core_seconds import CORES, Times, Way, time_ways
from batchscope.replications.lab import ANYTHING, Lab
from batchscope.replications.published import Figure, Line, Measured, Published
from batchscope.replications.rates import Tuned, rates_by_square_root, tune_to_target
from batchscope.task import Task

# Half of the labels are drawn anew: gradients are noisy, and larger batches save steps for long.
_NOISY = 0.5
_QUICK = (8, 64, 128, 256, 512, 1024)
_ALL = (8, 16, 32, 64, 128, 256, 512, 1024)
# At a batch of 8; those of larger ones by the square root, half a decade to either side, and
# further ones where the best lies at the edge.
_RATE, _AT = 0.02, 8
_MOST_RATES = 6
_TARGET = Target("error", 0.1, "<=")
_EPOCHS = 30
_FEWER, _SAME, _MORE = 0.95, (0.9, 1.3), 1.05
# Of an upgrade to two cores, in hours of one.
_UPGRADE_HOURS = 1.0

CLAIMS = (
    Claim(
        id="C1",
        name=f"a larger batch that fits the hardware takes under {_FEWER} of the core-seconds",
        kind="claim",
        direction="below",
        margin=_FEWER,
        is_ratio=True,
    ),
    Claim(
        id="C2a",
        name=f"batch and cores doubled together take more than {_SAME[0]} of the core-seconds",
        kind="claim",
        direction="above",
        margin=_SAME[0],
        is_ratio=True,
    ),
    Claim(
        id="C2b",
        name=f"batch and cores doubled together take less than {_SAME[1]} of the core-seconds",
        kind="claim",
        direction="below",
        margin=_SAME[1],
        is_ratio=True,
    ),
    Claim(
        id="C3",
        name=f"beyond the critical batch size the same takes over {_MORE} of the core-seconds",
        kind="claim",
        direction="above",
        margin=_MORE,
        is_ratio=True,
    ),
)


def make_model() -> nn.Module:
    """Two convolutions, so that a step computes much and has few weights to share."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(4), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip


def _loss(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def make_task() -> Task:
    """Digits; of the training part half of the classes are drawn anew."""
    parts = load_split()
    inputs, classes = parts["train"]
    generator = torch.Generator().manual_seed(0)
    is_noisy = torch.rand(len(classes), generator=generator) < _NOISY
    drawn = torch.randint(0, 10, (len(classes),), generator=generator)
    return Task(
        name="digits-noisy",
        model=make_model,
        loss=_loss,
        train=(inputs, torch.where(is_noisy, drawn, classes)),
        val=parts["val"],
        optimizer=SGD(lr=_RATE, momentum=0.9),
        metrics={"error": error_rate},
        unit="images",
    )


_Change = tuple[Way, Way]


def measure(lab: Lab) -> Measured:
    """Which sizes show a case is chosen on other seeds and a timing of their own."""
    task = make_task()
    sizes = _QUICK if lab.is_quick else _ALL
    tuned = _tune(lab, task, sizes)
    rates = {size: found.rate for size, found in tuned.items()}
    others = lab.short_pilot if lab.is_quick else lab.pilot
    pilot = _count_others(lab, task, tuned, others)
    (first,) = _time(lab, task, {Way(size, cores) for size in sizes for cores in CORES}, count=1)
    mean = _mean_steps(pilot)
    critical = find_critical(mean)
    changes = _choose_changes(sizes, mean, first, critical)
    shown = {way for change in changes.values() for way in change}
    judged = {size: rates[size] for size in sizes if size in {way.size for way in shown}}
    steps = _count_steps(lab, task, judged, lab.seeds)
    times = _time(lab, task, shown, count=len(lab.seeds))

    def ratios(name: str) -> list[Seen]:
        found = changes.get(name)
        if found is None:
            return [ANYTHING for _ in lab.seeds]
        return [
            _compare(steps, seed, timed, found)
            for seed, timed in zip(lab.seeds, times, strict=True)
        ]

    lines = tuple(
        Line(
            name=_name(cores),
            places=list(mean),
            values=[cores * first[Way(size, cores)] * mean[size] for size in mean],
        )
        for cores in (1, 2)
    )
    return Measured(
        seen={
            "C1": ratios("C1"),
            "C2a": ratios("C2"),
            "C2b": ratios("C2"),
            "C3": ratios("C3"),
        },
        figures=(
            Figure(
                title=f"Core-seconds to {_TARGET} on validation data, by what the sizes were "
                "chosen by",
                x="batch size",
                y="core-seconds",
                lines=lines,
                logarithmic=(True, True),
            ),
        ),
        notes=(
            f"Chosen on {len(others)} other seeds and another timing: "
            + "; ".join(f"{name} {_describe(change)}" for name, change in changes.items())
            + f". The critical batch size (B_2x) is {critical:.3g} there: C2 is of the last "
            "doubling up to it, C3 of the first from it on"
            + "".join(f"; {name} none shows" for name in ("C2", "C3") if name not in changes)
            + ".",
            f"The {len(times)} timings that are judged were made in turn by one pair of processes.",
            "Rates, chosen on two other seeds: "
            + ", ".join(f"{rate:.2g} at {size}" for size, rate in rates.items())
            + ".",
            *_weigh_upgrade(max(changes.items())[1], steps, times),
        ),
    )


def _tune(lab: Lab, task: Task, sizes: Sequence[int]) -> dict[int, Tuned]:
    """The rates that get there first on the pilot."""
    first = {size: rates_by_square_root(_RATE, known=_AT, size=size) for size in sizes}
    return tune_to_target(lab, task, first, epochs=_EPOCHS, target=_TARGET, most=_MOST_RATES)


def _count_others(
    lab: Lab, task: Task, tuned: Mapping[int, Tuned], seeds: range
) -> dict[int, dict[int, float | None]]:
    """Steps of the pilot's seeds: those that tuning had counted are not trained again."""
    # Where one did not get there it may have been stopped before all epochs.
    known = {size: found for size, found in tuned.items() if {*lab.short_pilot} <= {*found.steps}}
    rest = seeds[len(lab.short_pilot) :]
    further = _count_steps(lab, task, {size: found.rate for size, found in known.items()}, rest)
    anew = {size: found.rate for size, found in tuned.items() if size not in known}
    return _count_steps(lab, task, anew, seeds) | {
        size: {**found.steps, **further[size]} for size, found in known.items()
    }


def _count_steps(
    lab: Lab, task: Task, rates: Mapping[int, float], seeds: range
) -> dict[int, dict[int, float | None]]:
    """Batch size -> seed -> steps to the target; None where it was not reached."""
    if not rates or not seeds:
        return {size: {} for size in rates}
    budget = f"{_EPOCHS}ep until {_TARGET}"
    own = {size: [rate] for size, rate in rates.items()}
    runs = lab.train(task, list(own), rates=own, budget=budget, seeds=seeds)
    return {
        size: {seed: runs.reach((size, rate, seed), _TARGET, "step") for seed in seeds}
        for size, rate in rates.items()
    }


def _mean_steps(steps: Mapping[int, Mapping[int, float | None]]) -> dict[int, float]:
    """The geometric mean at each size that got there with every seed."""
    return {
        size: math.exp(sum(math.log(x) for x in found.values() if x) / len(found))
        for size, found in steps.items()
        if all(found.values())
    }


def _time(lab: Lab, task: Task, ways: Set[Way], *, count: int) -> list[Times]:
    times = time_ways(task, ways, count=count, watcher=lab.watcher)
    return [_as_examples_cost(one) for one in times] if lab.is_control else times


def _as_examples_cost(times: Times) -> Times:
    """A step that costs what its examples cost, however many share it."""
    smallest = min(times, key=lambda way: (way.size, way.cores))
    each = times[smallest] * smallest.cores / smallest.size
    return {way: each * way.size / way.cores for way in times}


def find_critical(steps: Mapping[int, float]) -> float:
    """B_2x by the curve fitted to the pilot's mean steps.

    Raises:
        CannotTell: no curve passes through them.
    """
    fit = fit_scaling(
        [StepsToTarget(batch_size=b, seed=0, steps=needed) for b, needed in steps.items()]
    )
    if not isinstance(fit, ScalingFit):
        raise CannotTell(
            f"the pilot's steps show no critical batch size: {fit.reason}",
            where="reproduce cost",
            expected=f"trainings that reach {_TARGET} within {_EPOCHS} epochs at several sizes",
            do="choose other seeds with --first-seed",
        )
    return math.exp(float(np.median(fit.draws[:, 1])))


def _choose_changes(
    sizes: Sequence[int], steps: Mapping[int, float], times: Times, critical: float
) -> dict[str, _Change]:
    """The change that shows each case, by the pilot alone; a case that none can show is left out.

    The first: to whichever larger size is cheapest on one core. The second: the last doubling up to
    the critical batch size. The third: the first doubling from there on.
    """
    there = [size for size in sizes if size in steps]

    def ratio(change: _Change) -> float:
        before, after = (way.cores * times[way] * steps[way.size] for way in change)
        return after / before

    on_one = [(Way(a, 1), Way(b, 1)) for a in there for b in there if a < b]
    doubled = [(Way(b, 1), Way(2 * b, 2)) for b in there if 2 * b in there]
    below = [change for change in doubled if change[1].size <= critical]
    beyond = [change for change in doubled if change[0].size >= critical]
    return {
        "C1": min(on_one, key=ratio),
        **({"C2": below[-1]} if below else {}),
        **({"C3": beyond[0]} if beyond else {}),
    }


def _compare(
    steps: Mapping[int, Mapping[int, float | None]], seed: int, times: Times, change: _Change
) -> Seen:
    """The log of the ratio of core-seconds of a change, of one seed and one timing."""
    logs: list[float] = []
    for way in change:
        needed = steps[way.size][seed]
        if needed is None:
            return ANYTHING
        logs.append(math.log(way.cores * times[way] * needed))
    return Seen(logs[1] - logs[0], logs[1] - logs[0])


def _weigh_upgrade(
    change: _Change,
    steps: Mapping[int, Mapping[int, float | None]],
    times: Sequence[Times],
) -> tuple[str, ...]:
    """What the second core would have to be bought for, in the words of `batchscope cost`."""
    prices = Prices(device_hour=1.0, hardware=_UPGRADE_HOURS)
    uses: list[Use] = []
    for way in change:
        needed = [x for x in steps[way.size].values() if x]
        seconds = estimate_over_seeds([timed[way] for timed in times], unit="s/step", log=True)
        count = estimate_over_seeds(needed, unit="steps", log=True)
        if not isinstance(count, Interval) or not isinstance(seconds, Interval):
            return ()
        uses.append(
            Use(
                batch_size=way.size,
                devices=way.cores,
                steps=count,
                step_seconds=seconds,
                is_present=way.cores == 1,
            )
        )
    small, large = (cost_of(use, prices) for use in uses)
    said = explain_change(small, large, prices)
    return (f"Where a core-hour costs 1 and the second core {_UPGRADE_HOURS:g}: {said}",)


def _name(cores: int) -> str:
    return "one core" if cores == 1 else "two cores"


def _describe(change: _Change) -> str:
    before, after = (f"{way.size} on {_name(way.cores)}" for way in change)
    return f"from {before} to {after}"


STUDY = Published(
    name="cost",
    title="What a larger batch costs",
    source="Godbole, Dahl, Gilmer, Shallue, Nado, Deep Learning Tuning Playbook, 2023",
    data="No data are published: the 1,797 digits of scikit-learn with half of the training labels "
    "drawn anew, a small convolutional net, and two cores of this machine as its devices.",
    claims=CLAIMS,
    control="a step takes as long as its examples do, however many share it",
    kills=("C1",),
    seeds={"quick": 5, "standard": 10},
    minutes={"quick": 3, "standard": 7},
    measure=measure,
)
