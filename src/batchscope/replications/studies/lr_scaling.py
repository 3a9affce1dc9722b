"""Goyal et al. 2017, Masters and Luschi 2018: how the learning rate goes with the batch size."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from batchscope.budget import epochs
from batchscope.findings.claims import Claim, Seen
from batchscope.optimizers import Adam, AdamW
from batchscope.replications.formats.cifar import read_cifar10
from batchscope.replications.lab import Ends, Lab, Trained, fit_leading
from batchscope.replications.published import Figure, Line, Measured, Published
from batchscope.replications.rates import find_best
from batchscope.replications.studies import distance
from batchscope.replications.studies.distance import Material, make_task
from batchscope.replications.studies.image import make_colour_net
from batchscope.task import Task

_BASE = 32
_SIZES = (8, 32, 64, 128, 256, 512, 1024)
_RATES = (0.0125, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8)
# From one of these the linear rule sets out at 32.
_PILOT_RATES = _RATES[1:4]
# Of larger batches than 8, where the highest of these are stable.
_WIDE = (*_RATES, 1.6, 3.2)
_EPOCHS = 40
_BUDGET = f"{_EPOCHS}ep"
_WARMUP_EPOCHS = 5
_ADAM_SIZES = (32, 128, 512)
# The last for 512, of which some seeds are best at 0.1.
_ADAM_RATES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
_ADAM_BUDGET = "25ep"
# The validation loss decides; the rate goes by the square root.
_DECAYS = (0.03, 0.1, 0.3, 1.0, 3.0)
_DECAYED = {_BASE: 0.003, 512: 0.012}
_KEPT = 1.1
# Of a run that diverged: its loss is somewhere up to the untrained net's, ln 10.
_LOSSES = (1e-4, math.log(10))
# Half of the untrained net's: above it little was learned.
_DEAD = _LOSSES[1] / 2

CLAIMS = (
    Claim(
        id="C1",
        name="the linear rule keeps the training loss at B*, the size that other seeds named",
        kind="claim",
        direction="within",
        margin=_KEPT,
        is_ratio=True,
    ),
    Claim(
        id="C1b",
        name="at the size beyond B* it does not: the loss is a tenth higher or more",
        kind="claim",
        direction="above",
        margin=_KEPT,
        is_ratio=True,
    ),
    Claim(
        id="C2",
        name="a constant rate raises the training loss at B* by a tenth or more",
        kind="claim",
        direction="above",
        margin=_KEPT,
        is_ratio=True,
    ),
    Claim(
        id="C3",
        name="the best rate's exponent up to B* is the linear rule's, 1: its difference from 1",
        kind="claim",
        direction="within",
        margin=0.25,
    ),
    Claim(
        id="C3b",
        name="the exponent of Adam's best rate is the square root's, 1/2: its difference from it",
        kind="claim",
        direction="within",
        margin=0.25,
    ),
    Claim(
        id="C4",
        name="rates within twice the least training loss span more decades at 8 than at 512, "
        "by 0.3",
        kind="claim",
        direction="above",
        margin=0.3,
    ),
    Claim(
        id="C4b",
        name="rates at which it learns at all span more decades at 8 than at 512, by 0.3",
        kind="claim",
        direction="above",
        margin=0.3,
    ),
    Claim(
        id="C5",
        name="AdamW's best weight decay at 512 is more than 1.5 times that at 32",
        kind="claim",
        direction="above",
        margin=1.5,
        is_ratio=True,
    ),
    Claim(
        id="O1",
        name="at equal updates, too, the linear rule keeps the training loss at B*",
        kind="objection",
        direction="within",
        margin=_KEPT,
        is_ratio=True,
    ),
)


def read_material(lab: Lab) -> Material:
    """Digits, or at the scale of the paper CIFAR-10."""
    if lab.data is None:
        return distance.read_material(lab)
    train, test = read_cifar10(lab.data, limit=lab.limit)
    return Material(name="cifar10-rates", train=train, test=test, make_net=make_colour_net)


def _losses(runs: Trained, size: int, rate: float, seed: int) -> float:
    return runs.last((size, rate, seed), "train_loss", censored=(_LOSSES[1], _LOSSES[1])).high


def _loss_ratio(
    runs: Trained, size: int, rate: float, base: Trained, base_rate: float, seed: int
) -> Seen:
    own = runs.last((size, rate, seed), "train_loss", censored=_LOSSES)
    return own.over(base.last((_BASE, base_rate, seed), "train_loss", censored=_LOSSES))


def _train(
    lab: Lab,
    task: Task,
    sizes: Sequence[int],
    *,
    rates: Sequence[float],
    budget: str,
    seeds: range | None = None,
    rule: str | None = None,
) -> Trained:
    """With the warm-up of Goyal et al., in examples the same at every batch size.

    Of 40 epochs nothing is read before their end.

    Args:
        rule: that moves the rates from 32; None where they are every size's.
    """
    return lab.train(
        task,
        sizes,
        rates=rates,
        budget=budget,
        seeds=seeds,
        evaluate_every=_BUDGET,
        warmup=_WARMUP_EPOCHS * task.train_size,
        rule=rule,
        base=_BASE,
    )


def measure(lab: Lab) -> Measured:
    """The base rate and the size named are found on four other seeds; then a grid, and the rule."""
    material = read_material(lab)
    task = make_task(material)
    pilot = _train(lab, task, [_BASE], rates=_PILOT_RATES, budget=_BUDGET, seeds=lab.pilot)
    base_rate = min(
        _PILOT_RATES, key=lambda rate: sum(_losses(pilot, _BASE, rate, s) for s in lab.pilot)
    )
    last, beyond = _find_break(lab, task, pilot, base_rate)

    def rate_of(size: int) -> float:
        return base_rate if lab.is_control else base_rate * size / _BASE

    # The control asks of the linear rule's own size what a constant rate does there.
    named = last if last > _BASE else beyond
    rule = None if lab.is_control else "linear"
    sizes = sorted({_BASE, named, beyond})
    ruled = _train(lab, task, sizes, rates=[base_rate], budget=_BUDGET, rule=rule)
    constant = _train(lab, task, [named], rates=[base_rate], budget=_BUDGET)
    updates = epochs(_EPOCHS).steps(task.train_size, _BASE)
    by_updates = _train(lab, task, [named], rates=[rate_of(named)], budget=f"{updates}steps")
    grid = {8: _Grid(_train(lab, task, [8], rates=_RATES, budget=_BUDGET), _RATES)}
    wide = _train(lab, task, [_BASE, named, 512], rates=_WIDE, budget=_BUDGET)
    grid |= {size: _Grid(wide, _WIDE) for size in (_BASE, named, 512)}
    adam = _train(
        lab,
        make_task(material, optimizer=Adam(lr=0.003)),
        _ADAM_SIZES,
        rates=_ADAM_RATES,
        budget=_ADAM_BUDGET,
    )
    decays = _best_decays(lab, material)
    seen = {
        "C1": [_loss_ratio(ruled, named, rate_of(named), ruled, base_rate, s) for s in lab.seeds],
        "C1b": [
            _loss_ratio(ruled, beyond, rate_of(beyond), ruled, base_rate, s) for s in lab.seeds
        ],
        "C2": [_loss_ratio(constant, named, base_rate, ruled, base_rate, s) for s in lab.seeds],
        "C3": [_exponent({b: grid[b] for b in (8, _BASE, named)}, s, less=1.0) for s in lab.seeds],
        "C3b": [
            _exponent(dict.fromkeys(_ADAM_SIZES, _Grid(adam, _ADAM_RATES)), s, less=0.5)
            for s in lab.seeds
        ],
        "C4": [grid[8].span(8, s).minus(grid[512].span(512, s)) for s in lab.seeds],
        "C4b": [
            grid[8].span(8, s, below=_DEAD).minus(grid[512].span(512, s, below=_DEAD))
            for s in lab.seeds
        ],
        "C5": [decays[512][s].minus(decays[32][s]) for s in lab.seeds],
        "O1": [
            _loss_ratio(by_updates, named, rate_of(named), ruled, base_rate, s) for s in lab.seeds
        ],
    }
    lines = tuple(
        Line(
            name=f"batch size {size}",
            places=list(one.rates),
            values=one.losses(size, lab.first_seed),
        )
        for size, one in grid.items()
    )
    figure = Figure(
        title="Training loss after 40 epochs against the learning rate, one seed",
        x="learning rate",
        y="training loss",
        lines=lines,
        logarithmic=(True, True),
    )
    return Measured(
        seen=seen,
        figures=(figure,),
        notes=(
            f"The base is {base_rate:g} at {_BASE}. On four other seeds the linear rule keeps the "
            f"loss up to {last}: B* is {named}, the size beyond it {beyond}. Equal updates are the "
            f"{updates:,} of {_BASE}.",
            f"Rates rise over the first {_WARMUP_EPOCHS} epochs, at every size and rate.",
            "Where beside the best rate little is learned (over half of an untrained net's loss), "
            "all that is known of the best is that it lies between its neighbours.",
            "Twice the least loss, which at 8 is near 0, is a narrow band there: C4b, declared "
            "after C4 was seen not to hold, asks at which rates it learns at all.",
            "C5 is judged by the validation loss "
            f"after {_ADAM_BUDGET}, at rates of {_DECAYED[32]:g} and {_DECAYED[512]:g}.",
        ),
    )


def _find_break(lab: Lab, task: Task, pilot: Trained, base_rate: float) -> tuple[int, int]:
    """The last size up to which the linear rule keeps the loss on the pilot, and the next one."""
    larger = [size for size in _SIZES if size > _BASE]
    last = _BASE
    for size in larger:
        rate = base_rate * size / _BASE
        runs = _train(lab, task, [size], rates=[rate], budget=_BUDGET, seeds=lab.pilot)
        ratios = [_loss_ratio(runs, size, rate, pilot, base_rate, s).high for s in lab.pilot]
        if abs(float(np.mean(ratios))) > math.log(_KEPT):
            break
        last = size
    return last, min((size for size in larger if size > last), default=_SIZES[-1])


@dataclass(frozen=True, slots=True)
class _Grid:
    """Runs at every one of some rates, in increasing order."""

    runs: Trained
    rates: tuple[float, ...]

    def losses(self, size: int, seed: int) -> list[float]:
        return [_losses(self.runs, size, rate, seed) for rate in self.rates]

    def best(self, size: int, seed: int) -> Ends:
        return find_best(self.rates, self.losses(size, seed), dead=_DEAD)

    def span(self, size: int, seed: int, *, below: float | None = None) -> Ends:
        """Decades of the rates with a loss below one, or below twice the least."""
        losses = self.losses(size, seed)
        return measure_span(self.rates, losses, 2 * min(losses) if below is None else below)


def _exponent(grids: Mapping[int, _Grid], seed: int, *, less: float) -> Seen:
    """Slope of the log of the best rate on that of the batch size, less what is claimed of it."""
    best = [grid.best(size, seed) for size, grid in grids.items()]
    slope = fit_leading(np.log(list(grids)).tolist(), best, degree=1)
    return Seen(slope.low - less, slope.high - less)


def _best_decays(lab: Lab, material: Material) -> dict[int, dict[int, Ends]]:
    """Per batch size and seed the log of the weight decay with the lowest validation loss."""
    losses: dict[tuple[int, int], list[float]] = {}
    first = _DECAYED[_BASE]
    for decay in _DECAYS:
        task = make_task(material, optimizer=AdamW(lr=first, weight_decay=decay))
        runs = _train(lab, task, [*_DECAYED], rates=[first], budget=_ADAM_BUDGET, rule="sqrt")
        for size, rate in _DECAYED.items():
            for seed in lab.seeds:
                end = runs.last((size, rate, seed), "val_loss", censored=(_LOSSES[1], _LOSSES[1]))
                losses.setdefault((size, seed), []).append(end.high)
    return {
        size: {seed: find_best(_DECAYS, losses[size, seed], dead=_DEAD) for seed in lab.seeds}
        for size in _DECAYED
    }


def measure_span(rates: Sequence[float], losses: Sequence[float], below: float) -> Ends:
    """Decades of the rates, in increasing order, whose loss is below one.

    Between two of them the log of the loss is interpolated. Of a range that reaches an edge of
    those tried only the least is known.
    """
    x, y, limit = np.log10(rates), np.log(losses), math.log(below)
    inside = np.flatnonzero(y < limit)
    if not len(inside):
        return Ends(0.0, 0.0)
    first, last = int(inside[0]), int(inside[-1])
    reaches_edge = first == 0 or last == len(x) - 1
    low = x[0] if first == 0 else np.interp(limit, y[[first, first - 1]], x[[first, first - 1]])
    high = (
        x[-1] if last == len(x) - 1 else np.interp(limit, y[[last, last + 1]], x[[last, last + 1]])
    )
    span = float(high - low)
    return Ends(span, math.inf if reaches_edge else span)


STUDY = Published(
    name="lr-scaling",
    title="The learning rate against the batch size",
    source="Goyal et al. 2017 (arXiv 1706.02677); Masters and Luschi 2018 (arXiv 1804.07612); "
    "Wilson and Martinez, The General Inefficiency of Batch Training, 2003",
    data="Stands in for ImageNet and CIFAR: the 1,797 digits of scikit-learn, a net of "
    "64-128-128-10, SGD.",
    claims=CLAIMS,
    control="a constant rate in place of the linear rule",
    kills=("C1",),
    seeds={"quick": 5, "standard": 10},
    minutes={"quick": 3, "standard": 13},
    measure=measure,
    paper="the binary version of CIFAR-10 (data_batch_1.bin to data_batch_5.bin, test_batch.bin), "
    "which is the data of Masters and Luschi, for ImageNet too",
)
