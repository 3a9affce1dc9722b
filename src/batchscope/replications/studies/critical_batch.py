"""Zhang et al. 2024: the critical batch size grows with data, not with the model's size.

Least squares, whose losses are known exactly; from the standard scale on, byte transformers too.
"""

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from scipy import optimize

from batchscope.findings.claims import Claim, Seen, exactly
from batchscope.findings.scaling import Array, ScalingFit, StepsToTarget, fit_scaling
from batchscope.replications.lab import ANYTHING, Lab
from batchscope.replications.pretraining import choose_setting, measure_growth
from batchscope.replications.published import Figure, Line, Measured, Published

_DIMENSIONS = (50, 200, 1000)
_TARGETS = (0.12, 0.06, 0.03, 0.015)
_SIZES = tuple(2**power for power in range(0, 13, 2))
_MOST_STEPS = 1_000_000_000
_MOST_AVERAGED = 20_000
_MIDDLE = 200
# Where schedules are compared: a batch size at which noise counts, one size, one target.
_NOISY, _LEVEL = 16, 0.06
# Of the stable rate, the same for both schedules; and steps after which a weight may count half.
_RATES = np.geomspace(1e-3, 0.99, 16)
_HALF_LIVES: Array = np.array([2.0**power for power in range(12)])

CLAIMS = (
    Claim(
        id="C1",
        name="log B_2x rises with the log of the data at one size by more than 0.2",
        kind="claim",
        direction="above",
        margin=0.2,
        source=0.47,
    ),
    Claim(
        id="C2",
        name="log B_2x does not move with the log of the size at one amount of data",
        kind="claim",
        direction="within",
        margin=0.15,
        source=0.0,
    ),
    Claim(
        id="C3",
        name="a constant rate with averaged weights takes under 1.05 times the steps of a cosine "
        "whose horizon is known",
        kind="claim",
        direction="below",
        margin=1.05,
        is_ratio=True,
    ),
    Claim(
        id="C4",
        name="of byte transformers too log B_2x rises with the log of the data by more than 0.2",
        kind="claim",
        direction="above",
        margin=0.2,
        source=0.47,
    ),
    Claim(
        id="C5",
        name="and does not move with the log of the parameters at one amount of data",
        kind="claim",
        direction="within",
        margin=0.15,
        source=0.0,
    ),
)


def _losses(rate: float, batch: int, h: Array, start: Array, steps: float) -> float:
    """Expected loss of the noisy quadratic after so many steps at a constant rate (exact)."""
    kept = np.square(1 - rate * h)
    end = rate / (batch * (2 - rate * h))
    s = end + np.exp(steps * np.log(np.maximum(kept, 1e-300))) * (start - end)
    return float(0.5 * np.sum(h * s))


def _steps_at(rate: float, batch: int, h: Array, start: Array, level: float) -> float:
    """Steps to a level at one rate; infinite where it is not reached."""
    if _losses(rate, batch, h, start, _MOST_STEPS) > level:
        return math.inf
    low, high = 0.0, 1.0
    while _losses(rate, batch, h, start, high) > level:
        low, high = high, 2 * high

    def above(steps: float) -> float:
        return _losses(rate, batch, h, start, steps) - level

    return float(cast(Any, optimize.brentq(above, low, high, xtol=1e-3)))


def least_steps(batch: int, h: Array, start: Array, level: float) -> float:
    """Steps at the best rate up to the stable one: of 16 over the range, then 12 about the best."""
    highest = float(h.max())

    def steps(rate: float) -> float:
        return _steps_at(rate / highest, batch, h, start, level)

    rates = [float(rate) for rate in np.geomspace(1e-4, 1.98, 16)]
    at = min(range(len(rates)), key=lambda i: steps(rates[i]))
    near = np.geomspace(rates[max(at - 1, 0)], rates[min(at + 1, len(rates) - 1)], 12)
    return min(steps(float(rate)) for rate in near)


def _critical(h: Array, start: Array, level: float) -> tuple[float, float, list[float]]:
    """Log B_2x, log of the data (examples at a batch of one), and steps at each size."""
    steps = [least_steps(size, h, start, level) for size in _SIZES]
    fit = fit_scaling(
        [
            StepsToTarget(batch_size=size, seed=0, steps=count)
            for size, count in zip(_SIZES, steps, strict=True)
            if math.isfinite(count)
        ]
    )
    if not isinstance(fit, ScalingFit):
        return math.nan, math.nan, steps
    return float(np.median(fit.draws[:, 1])), math.log(steps[0]), steps


def steps_averaged(
    batch: int, h: Array, start: Array, level: float, half_lives: Array
) -> list[float]:
    """Steps at the best constant rate until the average of the weights is at a level.

    Expected squares of the weights, of their average, and the products of the two, exactly.

    Args:
        start: squares of the initial weights, shape (dimensions,), as are the curvatures h.
        half_lives: steps after which a weight counts half in the average.

    Returns:
        For each half-life; infinite where it takes over four times what the first takes.
    """
    rates = (2 * _RATES / h.max())[:, None, None]
    kept, noise = 1 - rates * h, rates**2 * h / batch
    forgets = 2.0 ** (-1 / half_lives)[:, None]
    squares = np.broadcast_to(start, kept.shape)
    product = averaged = np.broadcast_to(start, (len(_RATES), len(half_lives), len(h)))
    found = np.full(len(half_lives), math.inf)
    for step in range(1, _MOST_AVERAGED + 1):
        squares = kept**2 * squares + noise
        moved = kept * product
        product = forgets * moved + (1 - forgets) * squares
        averaged = (
            forgets**2 * averaged
            + 2 * forgets * (1 - forgets) * moved
            + (1 - forgets) ** 2 * squares
        )
        is_there = (0.5 * (h * averaged).sum(-1)).min(axis=0) <= level
        found = np.where(is_there, np.minimum(found, step), found)
        if np.isfinite(found).all() or step >= 4 * found.min():
            break
    return found.tolist()


def choose_half_life(draws: Sequence[Array], h: Array) -> float:
    """The half-life that takes the fewest steps on draws that are not judged.

    Args:
        draws: squares of initial weights.
    """
    logs = [
        np.log(steps_averaged(_NOISY, h, start, _find_level(h, start), _HALF_LIVES))
        for start in draws
    ]
    return float(_HALF_LIVES[int(np.argmin(np.sum(logs, axis=0)))])


def _find_level(h: Array, start: Array) -> float:
    """The loss at which schedules are compared."""
    return _LEVEL * _losses(1e-9, 1, h, start, 0)


def steps_cosine(batch: int, h: Array, start: Array, level: float) -> float:
    """The shortest horizon at whose end a cosine from the best rate is at a level."""

    def at_end(horizon: int) -> float:
        squares = np.broadcast_to(start, (len(_RATES), len(h)))
        for step in range(horizon):
            share = 0.5 * (1 + math.cos(math.pi * step / horizon))
            rates = (2 * _RATES / h.max() * share)[:, None]
            squares = (1 - rates * h) ** 2 * squares + rates**2 * h / batch
        return float((0.5 * (h * squares).sum(-1)).min())

    low, high = 0, 1
    while at_end(high) > level:
        if high > _MOST_AVERAGED:
            return math.inf
        low, high = high, 2 * high
    while high - low > max(1, high // 200):
        middle = (low + high) // 2
        low, high = (low, middle) if at_end(middle) <= level else (middle, high)
    return float(high)


def _compare_schedules(h: Array, start: Array, half_life: float) -> Seen:
    """The log of steps with averaged weights over those of a cosine."""
    level = _find_level(h, start)
    (averaged,) = steps_averaged(_NOISY, h, start, level, np.full(1, half_life))
    cosine = steps_cosine(_NOISY, h, start, level)
    if not math.isfinite(averaged) or not math.isfinite(cosine):
        return ANYTHING
    value = math.log(averaged / cosine)
    return Seen(value, value)


def measure(lab: Lab) -> Measured:
    """Least squares, and language models where there is time for them or their own data."""
    if lab.data is not None:
        return _measure_language(lab)
    exact = _measure_exactly(lab)
    if lab.is_quick or lab.is_control:
        return exact
    trained = _measure_language(lab)
    return Measured(
        seen={**exact.seen, **trained.seen},
        figures=(*exact.figures, *trained.figures),
        notes=(*exact.notes, *trained.notes),
    )


def _measure_language(lab: Lab) -> Measured:
    setting, left_out = choose_setting(lab)
    grown = measure_growth(lab, setting)
    return Measured(
        seen={"C4": grown.by_data, "C5": grown.by_size},
        figures=(grown.figure,),
        notes=(grown.note, *left_out),
    )


def _measure_exactly(lab: Lab) -> Measured:
    """A seed is a draw of the initial weights, shared by all sizes."""
    c1: list[float] = []
    c2: list[float] = []
    c3: list[Seen] = []
    lines: list[Line] = []
    pilot = [_draw(seed)[:_MIDDLE] for seed in lab.pilot]
    half_life = choose_half_life(pilot, _curvatures(lab, _MIDDLE))
    for seed in lab.seeds:
        draw = _draw(seed)
        table: dict[int, list[tuple[float, float]]] = {}
        for dimension in _DIMENSIONS:
            h, start = _curvatures(lab, dimension), draw[:dimension]
            whole = _losses(1e-9, 1, h, start, 0)
            points = [_critical(h, start, share * whole) for share in _TARGETS]
            table[dimension] = [(b, data) for b, data, _ in points]
            if dimension == _MIDDLE:
                c3.append(_compare_schedules(h, start, half_life))
            if seed == lab.first_seed:
                lines.append(
                    Line(
                        name=f"{dimension} dimensions",
                        places=[math.exp(data) for _, data, _ in points],
                        values=[math.exp(b) for b, _, _ in points],
                    )
                )
        c1.append(_slope([(data, b) for b, data in table[_MIDDLE]]))
        # At one amount of data: B_2x of each size read off its own line there.
        middle = float(np.median([data for _, data in table[_MIDDLE]]))
        at_middle = [
            (math.log(dimension), float(np.interp(middle, *_sorted(points))))
            for dimension, points in table.items()
        ]
        c2.append(_slope(at_middle))
    figure = Figure(
        title="Critical batch size against data, a line per size",
        x="examples at a batch of one",
        y="B_2x",
        lines=tuple(lines),
        logarithmic=(True, True),
    )
    seen: dict[str, Sequence[Seen]] = {"C1": exactly(c1), "C2": exactly(c2), "C3": c3}
    return Measured(
        seen=seen,
        figures=(figure,),
        notes=(
            f"Schedules are compared in {_MIDDLE} dimensions at a batch of {_NOISY}, to {_LEVEL} "
            f"of the initial loss, each at its best of 16 rates; the average forgets half in "
            f"{half_life:g} steps, the best on four other draws.",
        ),
    )


def _draw(seed: int) -> Array:
    """Squares of initial weights."""
    return np.square(np.random.default_rng(seed).standard_normal(max(_DIMENSIONS)))


def _curvatures(lab: Lab, dimension: int) -> Array:
    i = np.arange(1, dimension + 1, dtype=float)
    return 1 / i if lab.is_control else i**-2


def _sorted(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    ordered = sorted((data, b) for b, data in points)
    return [data for data, _ in ordered], [b for _, b in ordered]


def _slope(points: Sequence[tuple[float, float]]) -> float:
    x, y = zip(*points, strict=True)
    return float(np.polyfit(list(x), list(y), 1)[0])


STUDY = Published(
    name="critical-batch",
    title="How the critical batch size grows",
    source="Zhang et al., How Does Critical Batch Size Scale in Pre-training?, ICLR 2025 "
    "(arXiv 2410.21676)",
    data="Stands in for language models: noisy least squares with curvatures i^-2 in 50 to 1,000 "
    "dimensions, whose expected loss is known exactly at every step; at the standard scale byte "
    "transformers of two widths on the source of Python's library beside.",
    claims=CLAIMS,
    control="curvatures 1/i: every further dimension matters",
    kills=("C2", "C4"),
    seeds={"quick": 12, "standard": 12},
    minutes={"quick": 1, "standard": 20},
    measure=measure,
    only_at={
        **dict.fromkeys(("C1", "C2", "C3"), ("quick", "standard")),
        **dict.fromkeys(("C4", "C5"), ("standard", "paper")),
    },
    paper="C4 as files of JSON lines (c4-train.00000-of-01024.json.gz, ...), for byte transformers "
    "of widths 128 and 256 in place of models of 85 million parameters and more",
    paper_control="the bytes of the texts in a random order: only their frequencies can be learned",
)
