"""Zhang et al. 2024: the critical batch size grows with data, not with the model's size.

Least squares, whose losses are known exactly; from the standard scale on, byte transformers too.
"""

import math
from collections.abc import Sequence
from typing import cast

import numpy as np

from batchscope.findings.claims import Claim, Seen
from batchscope.replications.lab import ANYTHING, Lab
from batchscope.replications.least_squares import (
    DIMENSIONS,
    HALF_LIVES,
    LEVEL,
    MIDDLE,
    NOISY,
    AtDraw,
    curvatures,
    make_task,
    read_draw,
    read_half_lives,
)
from batchscope.replications.pretraining import choose_setting, measure_growth
from batchscope.replications.published import Figure, Line, Measured, Published
from batchscope.task import Task

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
    task = make_task(curvatures(max(DIMENSIONS), is_flat=lab.is_control))
    half_life = _choose_half_life(lab, task)
    calls = [(seed, lab.is_control, half_life) for seed in lab.seeds]
    found = cast(list[AtDraw], lab.ask(task, read_draw, calls, words="solving least squares"))
    schedules = [one["schedules"] for one in found]
    seen: dict[str, Sequence[Seen]] = {
        "C1": [_rise_with_data(one) for one in found],
        "C2": [_rise_with_size(one) for one in found],
        "C3": [ANYTHING if log is None else Seen(log, log) for log in schedules],
    }
    figure = Figure(
        title="Critical batch size against data, a line per size",
        x="examples at a batch of one",
        y="B_2x",
        lines=tuple(
            Line(
                name=f"{dimension} dimensions",
                places=[math.exp(data) for data, _ in points],
                values=[math.exp(b) for _, b in points],
            )
            for dimension, points in zip(DIMENSIONS, found[0]["points"], strict=True)
            if points is not None
        ),
        logarithmic=(True, True),
    )
    return Measured(
        seen=seen,
        figures=(figure,),
        notes=(
            f"Schedules are compared in {MIDDLE} dimensions at a batch of {NOISY}, to {LEVEL} "
            f"of the initial loss, each at its best of 16 rates; the average forgets half in "
            f"{half_life:g} steps, the best on four other draws.",
        ),
    )


def _choose_half_life(lab: Lab, task: Task) -> float:
    """The one that takes the fewest steps on draws that no claim is judged on."""
    calls = [(seed, lab.is_control) for seed in lab.pilot]
    answers = lab.ask(task, read_half_lives, calls, words="choosing how much is averaged")
    logs = np.array(cast(list[list[float | None]], answers), dtype=float)
    return float(HALF_LIVES[int(np.argmin(np.nan_to_num(logs, nan=math.inf).sum(axis=0)))])


def _rise_with_data(found: AtDraw) -> Seen:
    """The slope of the log of B_2x on that of the data, at one size."""
    points = found["points"][DIMENSIONS.index(MIDDLE)]
    return ANYTHING if points is None else _slope(points)


def _rise_with_size(found: AtDraw) -> Seen:
    """Its slope on the log of the size, where each size's own line is at one amount of data."""
    middle = found["points"][DIMENSIONS.index(MIDDLE)]
    if middle is None:
        return ANYTHING
    data = float(np.median([place for place, _ in middle]))
    at_data: list[list[float]] = []
    for dimension, points in zip(DIMENSIONS, found["points"], strict=True):
        if points is None:
            return ANYTHING
        x, y = zip(*sorted(points), strict=True)
        at_data.append([math.log(dimension), float(np.interp(data, x, y))])
    return _slope(at_data)


def _slope(points: Sequence[Sequence[float]]) -> Seen:
    x, y = zip(*points, strict=True)
    slope = float(np.polyfit(x, y, 1)[0])
    return Seen(slope, slope)


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
    minutes={"quick": 1, "standard": 17},
    measure=measure,
    only_at={
        **dict.fromkeys(("C1", "C2", "C3"), ("quick", "standard")),
        **dict.fromkeys(("C4", "C5"), ("standard", "paper")),
    },
    paper="C4 as files of JSON lines (c4-train.00000-of-01024.json.gz, ...), for byte transformers "
    "of widths 128 and 256 in place of models of 85 million parameters and more",
    paper_control="the bytes of the texts in a random order: only their frequencies can be learned",
)
