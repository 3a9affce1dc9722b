"""Curvature and place: how sharp the loss is here, and how far the weights have come."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize, stats
from scipy.sparse import linalg

from batchscope.estimate import Estimate, Interval, NotIdentified
from batchscope.instruments.checkpoint import Checkpoint
from batchscope.instruments.loss_gradients import LossGradients
from batchscope.instruments.noise.moments import estimate_mean
from batchscope.instruments.subset import SubsetLoss, even_subset
from batchscope.records import Precision
from batchscope.task import Task
from batchscope.training.hooks import Hook, RunState
from batchscope.training.seeding import keep_randomness, seed_everything

Floats = NDArray[np.float64]

_SUBSET = 2048
_PROBES = 24
_EPSILON = 1e-3
_RADIUS = 0.05
_ASCENTS = 10
_CONFUSED = 16
_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Curvature:
    """Sharpness and place at one checkpoint; comparable with another at like training loss only.

    Attributes:
        train_loss: on the fixed part of the training set that all of these look at.
        top_eigenvalue: of the Hessian there; its interval is the eigensolver's residual.
        trace: of the Hessian, by Hutchinson's estimator.
        sharpness: Keskar's: the largest relative rise of the loss, in percent, within a box of
            1e-3 (abs(w) + 1); found by ascent, so a lower bound.
        adaptive_sharpness: the largest rise of the loss within abs(d / w) <= 0.05; a lower bound.
        distance: from the initial weights; not identified for weights from elsewhere.
        distance_growth: of the distance per factor of e in steps.
        gradient_confusion: the smallest inner product of two batches' gradients among those drawn.
        examples: that the loss is a mean over.
    """

    task: str
    where: str
    train_loss: float
    top_eigenvalue: Estimate
    trace: Estimate
    sharpness: Estimate
    adaptive_sharpness: Estimate
    distance: Estimate
    distance_growth: Estimate
    gradient_confusion: Estimate
    examples: int

    @property
    def estimates(self) -> dict[str, Estimate]:
        """What was measured, by name."""
        return {
            "top_eigenvalue": self.top_eigenvalue,
            "trace": self.trace,
            "sharpness": self.sharpness,
            "adaptive_sharpness": self.adaptive_sharpness,
            "distance": self.distance,
            "distance_growth": self.distance_growth,
            "gradient_confusion": self.gradient_confusion,
        }

    def to_dict(self) -> dict[str, object]:
        """The measurement as JSON."""
        return {
            "task": self.task,
            "where": self.where,
            "train_loss": self.train_loss,
            **{name: estimate.to_dict() for name, estimate in self.estimates.items()},
            "examples": self.examples,
        }

    def __repr__(self) -> str:
        return (
            f"curvature of {self.task} {self.where}, at a training loss of {self.train_loss:.4g}: "
            f"top eigenvalue {self.top_eigenvalue}"
        )


class DistanceHook(Hook):
    """Records how far a run's weights are from its first ones, at each evaluation."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.distances: list[float] = []
        self._first: list[torch.Tensor] = []

    def on_start(self, state: RunState) -> None:
        self._first = [p.detach().clone() for p in state.model.parameters()]

    def on_evaluation(self, state: RunState, row: object) -> None:
        self.steps.append(state.step)
        squares = [
            (p.detach() - first).square().sum()
            for p, first in zip(state.model.parameters(), self._first, strict=True)
        ]
        self.distances.append(float(torch.stack(squares).sum().sqrt()))


def measure_curvature(
    task: Task,
    checkpoint: Checkpoint,
    *,
    precision: Precision,
    device: torch.device,
    way: DistanceHook | None = None,
    seed: int = 0,
    report: Callable[[float], None] = lambda _: None,
) -> Curvature:
    """Measure the loss surface around a checkpoint, on a fixed part of the training set.

    Batch norms use their running statistics. The model is left as it was.

    Args:
        way: that watched the training to the checkpoint; None where none did.
    """
    indices = even_subset(task.train_size, _SUBSET)
    surface = SubsetLoss(task, checkpoint.model, indices, precision=precision, device=device)
    with keep_randomness():
        seed_everything(seed)
        eigenvalue = find_top_eigenvalue(surface, seed=seed)
        report(0.3)
        trace = estimate_trace(surface, seed=seed)
        report(0.5)
        sharpness = find_sharpness(surface)
        report(0.7)
        adaptive = find_adaptive_sharpness(surface)
        report(0.9)
        confusion = _measure_confusion(
            task, checkpoint, precision=precision, device=device, seed=seed
        )
    distance, growth = describe_way(way)
    return Curvature(
        task=task.name,
        where=checkpoint.words,
        train_loss=surface.value(),
        top_eigenvalue=eigenvalue,
        trace=trace,
        sharpness=sharpness,
        adaptive_sharpness=adaptive,
        distance=distance,
        distance_growth=growth,
        gradient_confusion=confusion,
        examples=len(indices),
    )


def find_top_eigenvalue(surface: SubsetLoss, *, seed: int = 0) -> Estimate:
    """The largest eigenvalue of the Hessian, by Lanczos iterations on Hessian-vector products.

    An eigenvalue lies within the residual abs(H v - e v) of the value.
    """
    size = sum(p.numel() for p in surface.parameters)
    multiply = surface.hessian()
    start = np.random.default_rng(seed).standard_normal(size)
    if size < 4:
        dense = np.stack([multiply(row) for row in np.eye(size)])
        value = float(np.linalg.eigvalsh((dense + dense.T) / 2)[-1])
        return Interval(value=value, low=value, high=value, unit="")
    if not multiply(start).any():
        # The eigensolver takes no vector that vanishes.
        return Interval(value=0.0, low=0.0, high=0.0, unit="")
    operator = cast(Any, linalg.LinearOperator)((size, size), matvec=multiply, dtype=np.float64)
    try:
        values, vectors = cast(Any, linalg.eigsh)(
            operator, k=1, which="LA", v0=start, tol=_TOLERANCE, maxiter=300
        )
    except linalg.ArpackNoConvergence:
        return NotIdentified(
            reason="the eigensolver did not converge", remedy="train a little further"
        )
    value, vector = float(values[0]), vectors[:, 0]
    miss = float(np.linalg.norm(multiply(vector) - value * vector))
    return Interval(value=value, low=value - miss, high=value + miss, unit="")


def estimate_trace(surface: SubsetLoss, *, probes: int = _PROBES, seed: int = 0) -> Estimate:
    """The trace of the Hessian: the mean of v'Hv over vectors of random signs (Hutchinson 1990)."""
    rng = np.random.default_rng(seed)
    size = sum(p.numel() for p in surface.parameters)
    multiply = surface.hessian()
    signs = [rng.choice([-1.0, 1.0], size=size) for _ in range(probes)]
    return estimate_mean(np.array([v @ multiply(v) for v in signs]), unit="")


def find_sharpness(surface: SubsetLoss, *, epsilon: float = _EPSILON) -> Estimate:
    """100 (max f - f) / (1 + f) in the box abs(d) <= epsilon (abs(w) + 1), by L-BFGS-B.

    Source: Keskar et al. 2017 (arXiv 1609.04836), metric 2.1, ten iterations in the full space.
    """
    place = surface.place()
    half = epsilon * (np.abs(place) + 1)
    start, gradient = surface.look(place)

    def descend(moved: Floats) -> tuple[float, Floats]:
        value, slope = surface.look(place + moved)
        return -value, -slope

    found = cast(Any, optimize.minimize)(
        descend,
        np.sign(gradient) * half * 0.1,
        jac=True,
        method="L-BFGS-B",
        bounds=np.stack([-half, half], axis=1),
        options={"maxiter": _ASCENTS},
    )
    # The corner uphill is often better than what ten iterations reach.
    corner = surface.look(place + np.sign(gradient) * half)[0]
    surface.move(place)
    highest = max(-float(found.fun), corner, start)
    return _at_least(100 * (highest - start) / (1 + start), "%")


def find_adaptive_sharpness(surface: SubsetLoss, *, radius: float = _RADIUS) -> Estimate:
    """Max L(w + d) - L(w) within abs(d / abs(w)) <= radius, by projected ascent.

    Source: Kwon et al. 2021 (arXiv 2102.11600), elementwise, in the 2-norm.
    """
    place = surface.place()
    scale = np.abs(place)
    start, gradient = surface.look(place)
    best, moved = start, np.zeros_like(place)
    for _ in range(_ASCENTS):
        # In the coordinates d / abs(w) the ball is round, and straight uphill is best.
        slope = scale * gradient
        length = float(np.linalg.norm(slope))
        if length == 0:
            break
        moved = radius * scale * slope / length
        value, gradient = surface.look(place + moved)
        if value <= best * (1 + 1e-9):
            break
        best = value
    surface.move(place)
    return _at_least(best - start, "loss")


def describe_way(way: DistanceHook | None) -> tuple[Estimate, Estimate]:
    """The last distance, and its growth with the logarithm of the steps."""
    if way is None or not way.steps or way.steps[-1] == 0:
        missing = NotIdentified(
            reason="no training to these weights was watched",
            remedy="let it train there: --after 1ep",
        )
        return missing, missing
    last = way.distances[-1]
    distance = Interval(value=last, low=last, high=last, unit="")
    steps = np.array(way.steps, dtype=np.float64)
    moved = np.array(way.distances)[steps > 0]
    if len(moved) < 4:
        few = NotIdentified(
            reason="the training was looked at fewer than four times",
            remedy="train further: --after 5ep",
        )
        return distance, few
    line: Any = stats.linregress(np.log(steps[steps > 0]), moved)
    half = float(stats.t.ppf(0.975, len(moved) - 2)) * float(line.stderr)
    slope = float(line.slope)
    return distance, Interval(value=slope, low=slope - half, high=slope + half, unit="")


def _measure_confusion(
    task: Task,
    checkpoint: Checkpoint,
    *,
    precision: Precision,
    device: torch.device,
    seed: int,
) -> Estimate:
    gradients = LossGradients(task, checkpoint.model, precision=precision, device=device)
    generator = torch.Generator().manual_seed(seed)
    size = min(checkpoint.batch_size, max(1, len(gradients) // _CONFUSED))
    order = torch.randperm(len(gradients), generator=generator)
    batches = [order[i * size : (i + 1) * size] for i in range(min(_CONFUSED, len(order) // size))]
    if len(batches) < 2:
        return NotIdentified(reason="there is one batch only", remedy="give the task more data")
    drawn = torch.stack([torch.cat(gradients.at(batch)) for batch in batches]).double()
    products = (drawn @ drawn.T).cpu().numpy()
    smallest = float(products[~np.eye(len(products), dtype=bool)].min())
    # The smallest over all pairs can only be smaller than over those drawn.
    return Interval(value=smallest, low=-math.inf, high=smallest, unit="squared gradient")


def _at_least(value: float, unit: str) -> Interval:
    value = max(0.0, value)
    return Interval(value=value, low=value, high=math.inf, unit=unit)
