import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import batchscope as bs
from batchscope.estimate import Interval, NotIdentified
from batchscope.instruments.checkpoint import reach_checkpoint
from batchscope.instruments.curvature import (
    DistanceHook,
    describe_way,
    estimate_trace,
    find_adaptive_sharpness,
    find_sharpness,
    find_top_eigenvalue,
    measure_curvature,
)
from batchscope.instruments.subset import SubsetLoss, even_subset

from ..conftest import make_task
from .problems import CPU

H = torch.tensor([5.0, 2.0, 1.0, 0.5, 0.25])
PLACE = torch.tensor([0.1, -0.2, 0.3, 1.0, -1.0])


def outcome(model: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return model(batch[0])


class Bowl(nn.Module):
    """1/2 sum h w^2, whatever the data."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(PLACE.clone())

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return 0.5 * (H * self.w**2).sum() + 0 * rows.sum()


def bowl() -> bs.Task:
    rows = (torch.zeros(8, 1),)
    return bs.Task(
        model=Bowl,
        loss=outcome,
        train=rows,
        val=rows,
        optimizer=bs.SGD(lr=0.1),
    )


def surface_of(task: bs.Task) -> SubsetLoss:
    place = reach_checkpoint(task, after=None, device=CPU, precision="float32")
    return SubsetLoss(
        task, place.model, even_subset(task.train_size, 64), precision="float32", device=CPU
    )


def test_a_quadratic_has_its_own_top_eigenvalue_and_trace() -> None:
    surface = surface_of(bowl())

    top, trace = find_top_eigenvalue(surface), estimate_trace(surface)

    assert isinstance(top, Interval)
    assert top.value == pytest.approx(5.0, rel=1e-3)  # the eigensolver's tolerance
    assert top.high - top.low < 0.05
    # Of a diagonal Hessian random signs give the trace exactly.
    assert isinstance(trace, Interval)
    assert trace.value == pytest.approx(float(H.sum()), rel=1e-5)


def test_the_eigenvalue_and_trace_of_a_network_are_those_of_its_whole_hessian() -> None:
    task = make_task(model=lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)))
    surface = surface_of(task)
    size = sum(p.numel() for p in surface.parameters)

    multiply = surface.hessian()
    whole = np.stack([multiply(row) for row in np.eye(size)])
    values = np.linalg.eigvalsh((whole + whole.T) / 2)
    top = find_top_eigenvalue(surface)
    trace = estimate_trace(surface, probes=64)

    np.testing.assert_allclose(whole, whole.T, atol=1e-5)
    assert isinstance(top, Interval)
    assert top.value == pytest.approx(values[-1], rel=1e-2)
    assert isinstance(trace, Interval)
    assert trace.low <= values.sum() <= trace.high


def test_a_loss_that_is_linear_in_some_weights_or_in_all_is_flat_along_them() -> None:
    class Mixed(nn.Module):
        def __init__(self, *, is_bent: bool) -> None:
            super().__init__()
            self.straight = nn.Parameter(torch.ones(2))
            self.other = nn.Parameter(torch.ones(2))
            self.is_bent = is_bent

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            other = self.other.square() if self.is_bent else self.other
            return self.straight.sum() + other.sum() + 0 * x.sum()

    bent, flat = (
        surface_of(make_task(model=partial(Mixed, is_bent=is_bent), loss=outcome, metrics={}))
        for is_bent in (True, False)
    )

    np.testing.assert_array_equal(bent.hessian()(np.ones(4)), [0, 0, 2, 2])
    np.testing.assert_array_equal(flat.hessian()(np.ones(4)), np.zeros(4))
    for estimate in (find_top_eigenvalue(flat), estimate_trace(flat)):
        assert isinstance(estimate, Interval)
        assert (estimate.low, estimate.value, estimate.high) == (0, 0, 0)


def test_the_intervals_of_hutchinsons_trace_cover() -> None:
    task = make_task(model=lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)))
    surface = surface_of(task)
    size = sum(p.numel() for p in surface.parameters)
    multiply = surface.hessian()
    truth = sum(multiply(row)[i] for i, row in enumerate(np.eye(size)))

    found = [estimate_trace(surface, probes=12, seed=seed) for seed in range(120)]

    covered = sum(isinstance(e, Interval) and e.low <= truth <= e.high for e in found)
    # The nominal 95% less three standard errors over 120.
    assert covered >= 107


def test_the_hessian_agrees_with_curvlinops() -> None:
    curvlinops = pytest.importorskip("curvlinops", reason="make env installs it")
    task = make_task(model=lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)))
    surface = surface_of(task)
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    torch.nn.utils.vector_to_parameters(
        torch.from_numpy(surface.place()).float(), model.parameters()
    )
    x, y = task.datasets["train"].tensors
    operator = curvlinops.HessianLinearOperator(
        model, nn.CrossEntropyLoss(), list(model.parameters()), [(x, y)]
    )
    vector = np.random.default_rng(0).standard_normal(operator.shape[1])

    ours = surface.hessian()(vector)
    theirs = operator @ torch.from_numpy(vector).float()

    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-3, atol=1e-5)


def test_keskars_sharpness_of_a_quadratic_is_that_of_its_worst_corner() -> None:
    surface = surface_of(bowl())
    start = float(0.5 * (H * PLACE**2).sum())
    corner = PLACE + torch.sign(PLACE) * 1e-3 * (PLACE.abs() + 1)
    highest = float(0.5 * (H * corner**2).sum())

    found = find_sharpness(surface)

    assert isinstance(found, Interval)
    assert found.value == pytest.approx(100 * (highest - start) / (1 + start), rel=1e-3)
    assert found.high == math.inf


def test_the_adaptive_sharpness_of_a_quadratic_is_the_top_of_its_scaled_form() -> None:
    # With u = d / abs(w) and abs(u) <= r, L rises by r^2/2 u'Du + r u'Dw/abs(w) with D = h w^2.
    surface = surface_of(bowl())
    weights = H * PLACE**2
    angles = torch.randn(200_000, 5, generator=torch.Generator().manual_seed(0))
    u = 0.05 * angles / angles.norm(dim=1, keepdim=True)
    moved = PLACE + u * PLACE.abs()
    best = float((0.5 * (H * moved**2).sum(1)).max() - 0.5 * weights.sum())

    found = find_adaptive_sharpness(surface)

    assert isinstance(found, Interval)
    # Ascent finds at least what 200,000 random directions do, and the true top is little above.
    assert best <= found.value <= 1.05 * best


def test_looking_leaves_the_weights_and_modes_as_they_were() -> None:
    task = make_task(
        model=lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    )
    place = reach_checkpoint(task, after=bs.epochs(2), device=CPU, precision="float32")
    before = {name: value.clone() for name, value in place.model.state_dict().items()}

    measure_curvature(task, place, precision="float32", device=CPU)

    after = place.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(module.training for module in place.model.modules())


def test_the_distance_of_a_known_path_and_its_growth() -> None:
    way = DistanceHook()
    way.steps = [0, 1, 10, 100, 1_000]
    way.distances = [0.0, *(2.0 + 3.0 * np.log([1, 10, 100, 1_000]))]

    distance, growth = describe_way(way)

    assert isinstance(distance, Interval)
    assert distance.value == way.distances[-1]
    assert isinstance(growth, Interval)
    assert growth.value == pytest.approx(3.0)


def test_the_distance_of_a_quadratic_descent_is_exact() -> None:
    way = DistanceHook()
    reach_checkpoint(bowl(), after=bs.epochs(30), device=CPU, precision="float32", hooks=[way])

    # One step an epoch: w_t = (1 - 0.1 h)^t w_0.
    steps = np.array(way.steps)
    shrunk = (1 - 0.1 * H.numpy()) ** steps[:, None]
    expected = np.linalg.norm((shrunk - 1) * PLACE.numpy(), axis=1)
    np.testing.assert_allclose(way.distances, expected, rtol=1e-4, atol=1e-6)


def test_weights_from_elsewhere_have_no_distance_and_every_number_names_its_loss() -> None:
    task = make_task()
    place = reach_checkpoint(task, after=None, device=CPU, precision="float32")

    found = measure_curvature(task, place, precision="float32", device=CPU)

    assert isinstance(found.distance, NotIdentified)
    assert "training loss" in repr(found)
    assert found.to_dict()["train_loss"] == found.train_loss
    assert isinstance(found.gradient_confusion, Interval)
    assert found.gradient_confusion.low == -math.inf
