"""Vaessen and van Leeuwen 2024: the batch size in self-supervised speech training."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch

from batchscope.budget import Target
from batchscope.estimate import Interval
from batchscope.findings.claims import Claim, Seen
from batchscope.findings.collapse import Collapse, find_collapse
from batchscope.findings.curves import Curve, read_curves, tabulate_runs
from batchscope.findings.to_target import reach_target
from batchscope.findings.tuning import TunedSize
from batchscope.instruments.noise.spread import GradientSpread
from batchscope.replications import recorded, talking
from batchscope.replications.lab import ANYTHING, Lab, Trained
from batchscope.replications.published import Figure, Line, Measured, Published
from batchscope.replications.spelling import misread_letters
from batchscope.task import Task, tensors_of
from batchscope.verbs.gauging import noise

# Batch size -> steps of whole batches: those of the collapse, and beyond the knee.
_QUICK = {4: 1024, 8: 512, 16: 512, 32: 512, 64: 256, 256: 64}
_ALL = {4: 2048, 8: 2048, 16: 1024, 32: 1024, 64: 512, 128: 256, 256: 128}
_COLLAPSED, _LARGEST = (4, 8, 16, 32), (64, 256)
_EQUAL_STEPS = 512
# Steps after which a run is looked at, whatever its batch size: a look takes as long as a dozen.
_LOOKS = sorted({round(2 ** (power / 2)) for power in range(10, 23)})
_RATE, _RATE_AT = 1.5e-3, 32
# From the error after so many steps at the latest, to what every size gets to.
_LEAST_STEPS, _LEVELS = 32, 5
_CHECKPOINT = "64steps"
# Utterances of which batches are drawn for the deviation of their gradient.
_SPREAD = 256

CLAIMS = (
    Claim(
        id="C1",
        name="after 512 steps a probe misreads more at 4 than at 32, by 0.02",
        kind="claim",
        direction="above",
        margin=0.02,
    ),
    Claim(
        id="C2a",
        name="from 4 to 32 what counts is B^gamma x steps with gamma above 0.7",
        kind="claim",
        direction="above",
        margin=0.7,
        source=1.0,
    ),
    Claim(
        id="C2b",
        name="from 4 to 32 what counts is B^gamma x steps with gamma below 1.3",
        kind="claim",
        direction="below",
        margin=1.3,
        source=1.0,
    ),
    Claim(
        id="C2c",
        name="on the axis of B x steps curves of 4 to 32 scatter less than half as on that of "
        "steps",
        kind="claim",
        direction="below",
        margin=0.5,
        is_ratio=True,
    ),
    Claim(
        id="C3",
        name="from 64 to 256 less is gained: gamma below 0.8",
        kind="claim",
        direction="below",
        margin=0.8,
    ),
    Claim(
        id="C4",
        name="the gradient's deviation falls as B^-1/2: exponent plus a half",
        kind="claim",
        direction="within",
        margin=0.05,
        source=0.0,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What is listened to.

    Attributes:
        few: the same task with only the utterances of which batches are drawn for the deviation of
            their gradient.
        told: what is read of it, in the plural.
        raw: the share of these that a probe misreads without a network.
        notes: on what was left out.
    """

    task: Task
    few: Task
    told: str
    raw: float
    notes: tuple[str, ...] = ()


def read_material(lab: Lab) -> Material:
    """Generated utterances, or at the scale of the paper recorded ones."""
    if lab.data is None:
        task = talking.make_task(is_shuffled=lab.is_control)
        frames, _, phones = _judged(task)
        return Material(
            task=task,
            few=talking.make_task(is_shuffled=lab.is_control, count=_SPREAD),
            told="phones",
            raw=talking.misread_by_probe(frames, phones),
        )
    found = recorded.read_recorded(lab.data, limit=lab.limit, is_shuffled=lab.is_control)
    frames, _, letters, lengths = found.labelled
    return Material(
        task=recorded.make_task(found),
        few=recorded.make_task(found, count=_SPREAD),
        told="letters",
        raw=misread_letters(frames, letters, lengths),
        notes=found.notes,
    )


def _judged(task: Task) -> Sequence[torch.Tensor]:
    """What the probe learns from and is judged by."""
    tensors = tensors_of(task.datasets["val"])
    assert tensors is not None
    return tensors


def measure(lab: Lab) -> Measured:
    """The rate goes with the square root of the batch size, as the source's."""
    material = read_material(lab)
    task = material.task
    plan = _QUICK if lab.is_quick else _ALL
    # Sizes that see as many utterances are one study: no core waits for the last run of each.
    sizes_by_examples: dict[int, list[int]] = {}
    for size, steps in plan.items():
        sizes_by_examples.setdefault(size * steps, []).append(size)
    runs = [
        lab.train(
            task,
            sizes,
            rates=[_RATE],
            rule="sqrt",
            base=_RATE_AT,
            budget=f"{examples}ex",
            also_read=[f"{mark}steps" for mark in _LOOKS if mark * min(sizes) < examples],
            evaluate_every="1ep",
        )
        for examples, sizes in sizes_by_examples.items()
    ]
    curves = {seed: _read(runs, seed) for seed in lab.seeds}
    small = [_collapse(curves[seed], _COLLAPSED) for seed in lab.seeds]
    seen: dict[str, Sequence[Seen]] = {
        "C1": [_gap(curves[seed]) for seed in lab.seeds],
        "C2a": [_gamma(one) for one in small],
        "C2b": [_gamma(one) for one in small],
        "C2c": [_scatter(one) for one in small],
        "C3": [_gamma_of_two(curves[seed]) for seed in lab.seeds],
        "C4": _exponents(lab, material.few),
    }
    figures = tuple(
        Figure(
            title=f"Misread {material.told} against {axis}, first seed",
            x=axis,
            y=f"share of {material.told}",
            lines=tuple(
                Line(
                    name=f"batch size {size}",
                    places=[float(x) for x in curve.columns[column][1:]],
                    values=[float(y) for y in curve.columns["misread"][1:]],
                )
                for size, curve in sorted(curves[lab.first_seed].items())
            ),
        )
        for axis, column in (("utterances seen", "examples"), ("steps", "step"))
    )
    return Measured(
        seen=seen,
        figures=figures,
        notes=(
            _describe_untrained(lab, material),
            _describe_levels(small),
            "In the source the word error on clean test speech, with 100 hours of labels and equal "
            "steps, is 21.3% with batches of 87.5 seconds, 9.10% of 10 minutes and 5.86% of 80 "
            "minutes.",
            *material.notes,
        ),
    )


def _read(runs: Sequence[Trained], seed: int) -> dict[int, Curve]:
    """Batch size -> the curve of a seed; sizes that diverged are left out."""
    found = [run for trained in runs for arm, run in trained.runs.items() if arm[2] == seed]
    curves = read_curves(tabulate_runs(found, {}))
    return {curve.batch_size: curve for curve in curves if curve.finished}


def _gap(curves: Mapping[int, Curve]) -> Seen:
    ends = _COLLAPSED[0], _COLLAPSED[-1]
    if not set(ends) <= set(curves):
        return Seen(-1.0, 1.0)
    small, large = (
        float(np.interp(_EQUAL_STEPS, curves[b].columns["step"], curves[b].columns["misread"]))
        for b in ends
    )
    return Seen(small - large, small - large)


def _collapse(curves: Mapping[int, Curve], sizes: Sequence[int]) -> Collapse | None:
    """Of one seed, at levels that all these sizes pass."""
    if not set(sizes) <= set(curves):
        return None
    mine = [curves[size] for size in sizes]
    return find_collapse(
        [
            TunedSize(
                batch_size=c.batch_size,
                learning_rate=c.learning_rate,
                curves=(c,),
                at_edge=False,
            )
            for c in mine
        ],
        _find_levels(mine),
    )


def _find_levels(curves: Sequence[Curve]) -> list[Target]:
    """Levels of error that all of these curves pass after the least steps, none at once."""
    high = min(
        float(np.interp(step, c.columns["step"], c.columns["misread"]))
        for c in curves
        for step in (0, _LEAST_STEPS)
    )
    low = max(float(c.columns["misread"].min()) for c in curves)
    levels = np.linspace(high, low, _LEVELS + 2)[1:-1]
    return [Target("misread", float(level), "<=") for level in levels if low < high]


def _gamma_of_two(curves: Mapping[int, Curve]) -> Seen:
    """Between the two largest sizes: the steps saved, in powers of the batch size."""
    if not set(_LARGEST) <= set(curves):
        return ANYTHING
    one, two = (curves[size] for size in _LARGEST)
    saved = [
        math.log(reach_target(one, level, "step") / reach_target(two, level, "step"))
        for level in _find_levels((one, two))
    ]
    if not saved:
        return ANYTHING
    value = float(np.mean(saved)) / math.log(_LARGEST[1] / _LARGEST[0])
    return Seen(value, value)


def _gamma(found: Collapse | None) -> Seen:
    if found is None or not isinstance(found.gamma, Interval):
        return ANYTHING
    return Seen(found.gamma.value, found.gamma.value)


def _scatter(found: Collapse | None) -> Seen:
    """The log of the scatter on the axis of examples over that on the axis of steps."""
    if found is None or min(found.scatter) <= 0:
        return ANYTHING
    value = math.log(found.scatter[2] / found.scatter[1])
    return Seen(value, value)


def _exponents(lab: Lab, task: Task) -> list[Seen]:
    """How much faster than the root of the batch size the gradient's deviation falls."""
    calls = [(seed,) for seed in lab.seeds]
    found = lab.ask(task, _exponent_at_seed, calls, words="measuring the gradient's deviation")
    return [
        ANYTHING if one is None else Seen(one + 0.5, one + 0.5)
        for one in cast(list[float | None], found)
    ]


def _exponent_at_seed(task: Task, seed: int, *, report: Callable[[object], None]) -> float | None:
    del report
    found = noise(
        task,
        method="spread",
        after=_CHECKPOINT,
        batch_size=_RATE_AT,
        learning_rate=_RATE,
        seed=seed,
        device="cpu",
    )
    assert isinstance(found, GradientSpread)
    return found.exponent.value if isinstance(found.exponent, Interval) else None


def _describe_untrained(lab: Lab, material: Material) -> str:
    task = material.task
    torch.manual_seed(lab.first_seed)
    untrained = float(task.metrics["misread"](task.model(), _judged(task)))
    return (
        f"The probe misreads {material.raw:.2f} of the {material.told} from the frames "
        f"themselves, and {untrained:.2f} from an untrained network."
    )


def _describe_levels(found: Sequence[Collapse | None]) -> str:
    counts = [0 if one is None else len(one.levels) for one in found]
    return (
        f"Gamma is fitted from {_LEAST_STEPS} steps on, at {_LEVELS} levels of error for each seed "
        f"(passed by all of 4 to 32: {', '.join(map(str, counts))})."
    )


STUDY = Published(
    name="speech",
    title="The batch size in self-supervised speech training",
    source="Vaessen and van Leeuwen, The Effect of Batch Size on Contrastive Self-Supervised "
    "Speech Representation Learning, TMLR 2024 (arXiv 2402.13723)",
    data="Stands in for LibriSpeech: 8,192 generated utterances of 80 frames, 12 phones under a "
    "sparse grammar, speakers and noise; a convolutional network and a linear probe.",
    claims=CLAIMS,
    control="the frames of every utterance in an order that tells nothing",
    kills=("C1", "C2a", "C2c"),
    seeds={"quick": 5, "standard": 10},
    minutes={"quick": 4, "standard": 14},
    measure=measure,
    paper="LibriSpeech, SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt with FLAC or WAV files beside, "
    "in windows of 4 seconds; letters are read by connectionist temporal classification from "
    "recordings of up to 4 seconds by every tenth speaker",
)
