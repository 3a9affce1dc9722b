"""Zhang et al. 2024: the critical batch size grows with data, not with the model's size."""

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from scipy import optimize

from batchscope.findings.claims import Claim, Seen, exactly
from batchscope.findings.scaling import Array, ScalingFit, StepsToTarget, fit_scaling
from batchscope.replications.lab import Lab
from batchscope.replications.published import Figure, Line, Measured, Published

_DIMENSIONS = (50, 200, 1000)
_TARGETS = (0.12, 0.06, 0.03, 0.015)
_SIZES = tuple(2**power for power in range(0, 13, 2))
_MOST_STEPS = 1_000_000_000
_MIDDLE = 200

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


def measure(lab: Lab) -> Measured:
    """A seed is a draw of the initial weights, shared by all sizes."""
    c1: list[float] = []
    c2: list[float] = []
    lines: list[Line] = []
    for seed in lab.seeds:
        rng = np.random.default_rng(seed)
        draw = np.square(rng.standard_normal(max(_DIMENSIONS)))
        table: dict[int, list[tuple[float, float]]] = {}
        for dimension in _DIMENSIONS:
            i = np.arange(1, dimension + 1, dtype=float)
            h = 1 / i if lab.is_control else i**-2
            start = draw[:dimension]
            whole = _losses(1e-9, 1, h, start, 0)
            points = [_critical(h, start, share * whole) for share in _TARGETS]
            table[dimension] = [(b, data) for b, data, _ in points]
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
    seen: dict[str, list[Seen]] = {"C1": exactly(c1), "C2": exactly(c2)}
    notes = ("That a constant rate with averaged weights needs no horizon is not measured.",)
    return Measured(seen=seen, figures=(figure,), notes=notes)


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
    "dimensions, whose expected loss is known exactly at every step.",
    claims=CLAIMS,
    control="curvatures 1/i: every further dimension matters",
    kills=("C2",),
    seeds={"quick": 6, "standard": 12},
    minutes={"quick": 1, "standard": 3},
    measure=measure,
)
