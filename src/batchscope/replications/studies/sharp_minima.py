"""Keskar et al. 2017: large batches end in sharp minima."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from batchscope.estimate import Interval
from batchscope.findings.claims import Claim, Seen, exactly
from batchscope.optimizers import SGD, Adam
from batchscope.replications.lab import Ends, Lab
from batchscope.replications.minima import Material, make_task, read_material
from batchscope.replications.passing import Passage, find_passages
from batchscope.replications.published import Figure, Line, Measured, Published
from batchscope.task import Task
from batchscope.training.devices import count_cores
from batchscope.verbs.gauging import curvature

_LOSS = 0.02
# A run ends by the loss on as many examples as there are to test; the curvature's is of all.
_NEAR = 1.5
# Their claims on sharpness, and on the test error.
_OPTIMIZERS = {("C1", "C3"): Adam(lr=1e-3), ("C2", "C4"): SGD(lr=0.1)}
# Stable at the large batch; the same rate per example elsewhere.
_LARGE_RATE = 0.4
_EPOCHS = 20_000
_CHANCE = (0.0, 0.9)
# Nothing is known of a training that never gets to the loss.
_ANYTHING = Seen(-math.log(100.0), math.log(100.0))
_READING = "reading the curvature"
_ERROR = "error"
# Of each measure, and the error itself; None where training never got there.
Logs = Mapping[str, float] | None
_MEASURES = {
    "top_eigenvalue": "the largest eigenvalue",
    "trace": "the trace",
    "sharpness": "the rise within a box of 1e-3",
}


def _declare() -> tuple[Claim, ...]:
    claims = [
        Claim(
            id=f"{id_}{letter}",
            name=f"{words} after the large batch is more than 1.5 times that after the small one "
            f"({optimizer.name})",
            kind="claim",
            direction="above",
            margin=1.5,
            is_ratio=True,
        )
        for (id_, _), optimizer in _OPTIMIZERS.items()
        for letter, words in zip("abc", _MEASURES.values(), strict=True)
    ]
    claims += [
        Claim(
            id=id_,
            name="the test error after the large batch is more than a quarter point above that "
            f"after the small one ({optimizer.name})",
            kind="claim",
            direction="above",
            margin=0.0025,
        )
        for (_, id_), optimizer in _OPTIMIZERS.items()
    ]
    claims += [
        Claim(
            id=f"O1{letter}",
            name=f"at equal rate over batch size {words} is the same after both (SGD)",
            kind="objection",
            direction="within",
            margin=1.3,
            is_ratio=True,
        )
        for letter, words in zip("abc", _MEASURES.values(), strict=True)
    ]
    return tuple(claims)


CLAIMS = _declare()


def measure(lab: Lab) -> Measured:
    """Each optimizer at its own rate, then SGD at equal rate over batch size."""
    material = read_material(lab)
    if lab.is_control:
        return _measure_ridge(lab, material)
    seen: dict[str, list[Seen]] = {claim.id: [] for claim in CLAIMS}
    lines: list[Line] = []
    small, large = material.small, material.large
    sizes = (small, *(() if lab.is_quick else material.between), large)
    for (id_, worse), optimizer in _OPTIMIZERS.items():
        task = make_task(material, optimizer, is_ridge=False)
        rate = optimizer.lr
        sharp = _read(lab, task, dict.fromkeys(sizes, rate))
        for letter, name in zip("abc", _MEASURES, strict=True):
            seen[f"{id_}{letter}"] = _compare(sharp[large], sharp[small], name)
        seen[worse] = [
            _end(big).minus(_end(little))
            for big, little in zip(sharp[large], sharp[small], strict=True)
        ]
        lines.append(_draw(f"{optimizer.name}, rate {rate:g}", sharp))
    task = make_task(material, _OPTIMIZERS["C2", "C4"], is_ridge=False)
    matched = _read(
        lab, task, {size: _LARGE_RATE * size / large for size in (material.matched, large)}
    )
    for letter, name in zip("abc", _MEASURES, strict=True):
        seen[f"O1{letter}"] = _compare(matched[large], matched[material.matched], name)
    lines.append(_draw("SGD, equal rate over batch size", matched))
    return Measured(
        seen=seen,
        figures=(
            Figure(
                title=f"Largest eigenvalue of the Hessian at a training loss of {_LOSS}",
                x="batch size",
                y="eigenvalue, geometric mean over seeds",
                lines=tuple(lines),
                logarithmic=(True, True),
            ),
        ),
        notes=(
            material.words,
            f"The curvature and the error are read at the last evaluation above a training loss of "
            f"{_LOSS} and the first below, and interpolated between the two against its log.",
            "The source has for its first dense net on MNIST (figures unverified) a sharpness in a "
            "box of 1e-3 of 1.23 after the small batch and 205 after the large one, and a test "
            "error of 1.97% and 2.19%.",
        ),
    )


def _measure_ridge(lab: Lab, material: Material) -> Measured:
    """The same contrasts where there is one minimum, read there."""
    task = make_task(material, SGD(lr=material.ridge[material.large][0]), is_ridge=True)
    small, large = material.small, material.large
    ends = iter(
        lab.ask(
            task,
            _read_at_end,
            [
                (size, rate, seed, f"{steps}steps")
                for size, (rate, steps) in material.ridge.items()
                for seed in lab.seeds
            ],
            words=_READING,
        )
    )
    sharp = {size: [cast(Logs, next(ends)) for _ in lab.seeds] for size in material.ridge}
    runs = {
        size: lab.train(task, [size], rates=[rate], budget=f"{steps}steps")
        for size, (rate, steps) in material.ridge.items()
    }
    seen: dict[str, list[Seen]] = {}
    for id_, _ in _OPTIMIZERS:
        for letter, name in zip("abc", _MEASURES, strict=True):
            seen[f"{id_}{letter}"] = _compare(sharp[large], sharp[small], name)
    for _, id_ in _OPTIMIZERS:
        errors = {
            size: [
                runs[size].last((size, rate, seed), "error", censored=_CHANCE) for seed in lab.seeds
            ]
            for size, (rate, _) in material.ridge.items()
        }
        seen[id_] = [a.minus(b) for a, b in zip(errors[large], errors[small], strict=True)]
    return Measured(
        seen=seen,
        notes=(
            f"The small batch is {small:,}, the large one {large:,}.",
            "Each batch size is read where its training ends.",
        ),
    )


def _read(lab: Lab, task: Task, rates: Mapping[int, float]) -> dict[int, list[Logs]]:
    """Per batch size and seed the logs of the measures, and the error, at the loss."""
    # As many parts as there are cores: seeds of a part may share a program.
    length = math.ceil(lab.count / count_cores())
    parts = [tuple(lab.seeds[at : at + length]) for at in range(0, lab.count, length)]
    calls = [(size, rate, part) for size, rate in rates.items() for part in parts]
    for size, rate in rates.items():
        constants = task.optimizer_spec.hyper_parameters(batch_size=size, lr=rate)
        if "beta2" in constants:
            lab.beta2[size] = float(constants["beta2"])
    found = iter(lab.ask(task, _read_at_loss, calls, words=_READING))
    return {size: [logs for _ in parts for logs in cast(list[Logs], next(found))] for size in rates}


def _read_at_loss(
    task: Task, size: int, rate: float, seeds: Sequence[int], *, report: Callable[[object], None]
) -> list[Logs]:
    """Of each seed the logs of the measures, and the error, at the loss; None where training never
    got there.
    """
    del report
    passages = find_passages(task, size, rate, seeds, level=_LOSS, epochs=_EPOCHS)
    return [
        None if passage is None else _read_passage(task, passage, seed)
        for seed, passage in zip(seeds, passages, strict=True)
    ]


def _read_passage(task: Task, passage: Passage, seed: int) -> Logs:
    """Between its two places, against the log of the loss; None where that cannot be told."""
    places: list[tuple[float, Mapping[str, float]]] = []
    for place in (passage.above, passage.below):
        at, logs = _logs(curvature(task, weights=place.weights, seed=seed, device="cpu"))
        if logs is None:
            return None
        places.append((at, {**logs, _ERROR: place.error}))
    (before, first), (beyond, second) = places
    # An evaluation looks at some of the training data, the curvature at all of them.
    if beyond > math.log(_NEAR * _LOSS):
        return None
    if before <= beyond:
        return second
    share = min(1.0, max(0.0, (before - math.log(_LOSS)) / (before - beyond)))
    return {name: first[name] + share * (second[name] - first[name]) for name in first}


def _read_at_end(
    task: Task, size: int, rate: float, seed: int, after: str, *, report: Callable[[object], None]
) -> Logs:
    """The logs of the measures where training ends."""
    del report
    found = curvature(
        task,
        after=after,
        batch_size=size,
        learning_rate=rate,
        seed=seed,
        device="cpu",
    )
    return _logs(found)[1]


def _end(found: Logs) -> Ends:
    """The error at the loss, or what it can be."""
    return Ends(*_CHANCE) if found is None else Ends(found[_ERROR], found[_ERROR])


def _logs(found: Any) -> tuple[float, Mapping[str, float] | None]:
    """The log of the training loss, and of each measure; None where one is not above 0."""
    values: dict[str, float] = {}
    for name in _MEASURES:
        estimate = getattr(found, name)
        if not isinstance(estimate, Interval) or not 0 < estimate.value < math.inf:
            return math.log(found.train_loss), None
        values[name] = math.log(estimate.value)
    return math.log(found.train_loss), values


def _compare(
    large: Sequence[Logs],
    small: Sequence[Logs],
    name: str,
) -> list[Seen]:
    """The log of the ratio, seed by seed."""
    return [
        _ANYTHING if a is None or b is None else exactly([a[name] - b[name]])[0]
        for a, b in zip(large, small, strict=True)
    ]


def _draw(name: str, sharp: Mapping[int, Sequence[Logs]]) -> Line:
    means = {
        size: [one["top_eigenvalue"] for one in found if one is not None]
        for size, found in sharp.items()
    }
    drawn = {size: math.exp(float(np.mean(logs))) for size, logs in means.items() if logs}
    return Line(name=name, places=list(drawn), values=list(drawn.values()))


STUDY = Published(
    name="sharp-minima",
    title="Sharp minima of large batches",
    source="Keskar, Mudigere, Nocedal, Smelyanskiy, Tang, ICLR 2017 (arXiv 1609.04836); objections "
    "after Dinh et al. 2017 and Hoffer et al. 2017",
    data="Stands in for MNIST, TIMIT and CIFAR: 1,000 of scikit-learn's 1,797 digits, a net of "
    "64-128-64-10, batches of 1,000 beside 8.",
    claims=CLAIMS,
    control="softmax regression with weight decay, which has one minimum",
    kills=("C1a", "C1b", "C1c", "C2a", "C2b", "C2c", "C3", "C4"),
    seeds={"quick": 6, "standard": 10},
    minutes={"quick": 2, "standard": 4},
    measure=measure,
    paper="MNIST's four IDX files, packed or not, for the dense net of the source: batches of 256 "
    "beside a tenth of the data",
)
