from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import batchscope as bs
from batchscope.errors import CannotTell, InvalidInput
from batchscope.estimate import Interval, NotIdentified
from batchscope.instruments.checkpoint import reach_checkpoint
from batchscope.instruments.loss_gradients import LossGradients
from batchscope.instruments.noise.moments import separate_moments
from batchscope.instruments.noise.preconditioning import VARIANTS
from batchscope.instruments.noise.probe import NoiseScale, measure_noise

from ...conftest import make_task
from ..problems import CPU, SETTINGS, at_start, gaussian_regression


def probe(task: bs.Task, *, after: bs.Budget | None = None, **changes: object) -> NoiseScale:
    given: dict[str, object] = {
        "precision": "float32",
        "device": CPU,
        "micro_batch": 16,
        "width": 0.6,
        "budget": bs.examples(65_536),
        "seed": 0,
    }
    place = reach_checkpoint(task, after=after, device=CPU, precision="float32")
    return measure_noise(task, place, **(given | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("setting", SETTINGS)
def test_gaussian_regression_has_the_noise_scale_that_follows_from_its_moments(
    setting: str,
) -> None:
    offset, simple, _ = SETTINGS[setting]
    # The 65,536 examples that were drawn have a noise scale of their own, 2% from the limit.
    found = probe(gaussian_regression(offset), width=0.4).noise_scale

    assert isinstance(found, Interval)
    assert found.low <= simple <= found.high
    assert found.value == pytest.approx(simple, rel=0.25)  # the width that was asked for


def finite_task() -> bs.Task:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(512, 8, generator=generator)
    y = (x[:, 0] + 0.5 * torch.randn(512, generator=generator) > 0).long()

    def model() -> nn.Module:
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 2))

    return bs.Task(
        model=model,
        loss=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]),
        train=(x, y),
        val=(x, y),
        optimizer=bs.SGD(lr=0.1),
    )


def exact_moments(task: bs.Task, model: nn.Module) -> tuple[float, float, torch.Tensor]:
    """tr(Sigma) and abs(G)^2 of the population, and every example's gradient."""
    gradients = LossGradients(task, model, precision="float32", device=CPU)
    each = torch.stack([torch.cat(gradients.at(torch.tensor([i]))) for i in range(512)]).double()
    mean = each.mean(0)
    return float((each - mean).square().sum(1).mean()), float(mean.dot(mean)), each


def test_with_replacement_the_moments_of_finite_data_are_unbiased_and_without_they_are_not() -> (
    None
):
    task = finite_task()
    place = reach_checkpoint(task, after=bs.epochs(8), device=CPU, precision="float32")
    trace, signal, each = exact_moments(task, place.model)
    generator = torch.Generator().manual_seed(1)

    def draw(replacement: bool) -> torch.Tensor:
        rows = []
        for _ in range(3_000):
            index = (
                torch.randint(512, (8, 16), generator=generator)
                if replacement
                else torch.randperm(512, generator=generator)[:128].view(8, 16)
            )
            g = each[index].mean(1)
            mean = g.mean(0)
            rows.append(
                separate_moments(
                    float(g.square().sum(1).mean()), float(mean.dot(mean)), micro_batch=16, count=8
                )
            )
        return torch.tensor(rows, dtype=torch.float64)

    drawn_with, drawn_without = draw(True), draw(False)

    def differs(rows: torch.Tensor, truth: list[float]) -> torch.Tensor:
        error = rows.std(0) / len(rows) ** 0.5
        return (rows.mean(0) - torch.tensor(truth, dtype=torch.float64)).abs() / error

    # 4 standard errors: a correct estimator fails for 1 seed in 8,000.
    assert (differs(drawn_with, [trace, signal]) < 4).all()
    inflated = 512 / 511 * trace
    assert (differs(drawn_without, [inflated, signal - inflated / 512]) < 4).all()
    # The bias of abs(G)^2, -B_simple/N of it, is far outside of chance.
    assert differs(drawn_without, [trace, signal])[1] > 4


def test_the_probe_covers_the_exact_noise_scale_of_finite_data() -> None:
    task = finite_task()
    place = reach_checkpoint(task, after=bs.epochs(8), device=CPU, precision="float32")
    trace, signal, _ = exact_moments(task, place.model)

    found = probe(task, after=bs.epochs(8)).noise_scale

    assert isinstance(found, Interval)
    assert found.low <= trace / signal <= found.high


def test_totals_are_sums_over_layers_and_every_layer_has_an_estimate() -> None:
    found = probe(finite_task())

    assert list(found.layers) == ["0", "2"]
    assert isinstance(found.noise_trace, Interval)
    assert set(found.to_dict()) >= {
        "noise_scale",
        "gradient_squared",
        "noise_trace",
        "preconditioned",
        "layers",
    }


def test_adam_is_seen_in_both_its_variants_and_sgd_in_none() -> None:
    adam = replace(finite_task(), optimizer=bs.Adam(lr=1e-3))

    assert probe(finite_task()).preconditioned == {}
    fresh = probe(adam)
    assert all(isinstance(e, NotIdentified) for e in fresh.preconditioned.values())
    trained = probe(adam, after=bs.epochs(2))
    assert tuple(trained.preconditioned) == VARIANTS
    assert all(isinstance(e, Interval) for e in trained.preconditioned.values())
    assert trained.spread is not None
    assert trained.spread[0] < trained.spread[1]


def test_a_coupled_loss_and_a_batch_norm_are_refused_unless_told() -> None:
    with pytest.raises(CannotTell, match="depends on the whole batch"):
        probe(make_task(batch_coupled=True))
    normed = make_task(
        model=lambda: nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    )
    with pytest.raises(CannotTell, match="batch norm in training mode"):
        probe(normed)

    assert probe(normed, allow_coupled=True, budget=bs.examples(2_048)).coupled


def test_interpolated_data_are_refused() -> None:
    task = make_task(optimizer=bs.SGD(lr=1.0, momentum=0.9))
    wide = replace(
        task, model=lambda: nn.Sequential(nn.Linear(4, 256), nn.ReLU(), nn.Linear(256, 2))
    )

    with pytest.raises(CannotTell, match="interpolates"):
        probe(wide, after=bs.epochs(400), budget=bs.examples(4_096))


def test_an_unresolved_signal_ends_at_the_budget_with_a_bound() -> None:
    offset = 0.004 * torch.ones(64)

    found = probe(gaussian_regression(offset, size=4_096), budget=bs.examples(2_048))

    assert isinstance(found.noise_scale, NotIdentified)
    assert found.examples <= 2_048
    assert "--budget" in found.noise_scale.remedy


@pytest.mark.parametrize(
    "wrong", [{"budget": bs.examples(100)}, {"width": 0.0}, {"micro_batch": 0}]
)
def test_a_budget_or_width_that_allows_nothing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        probe(finite_task(), **wrong)


def test_measuring_changes_neither_weights_nor_gradients_nor_random_numbers() -> None:
    task = finite_task()
    place = at_start(task)
    before = [p.clone() for p in place.model.parameters()]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)

    measure_noise(
        task,
        place,
        precision="float32",
        device=CPU,
        micro_batch=8,
        width=0.6,
        budget=bs.examples(2_048),
        seed=0,
    )

    assert torch.equal(torch.rand(3), expected)
    assert all(p.grad is None for p in place.model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, place.model.parameters(), strict=True))


def test_a_budget_in_seconds_ends_a_probe() -> None:
    offset = next(iter(SETTINGS.values()))[0]
    found = probe(gaussian_regression(offset, size=4_096), budget=bs.seconds(0.2), width=1e-6)

    assert found.examples > 0


def test_weights_can_be_given_and_wrong_ones_are_refused(tmp_path: Path) -> None:
    task = finite_task()
    (tmp_path / "notes.txt").write_text("e, what is no state_dict\n")
    model = task.model()
    given = reach_checkpoint(
        task, after=None, device=CPU, precision="float32", weights=model.state_dict()
    )

    assert given.words == "the weights given"
    for wrong in ("absent.pt", str(tmp_path / "notes.txt"), nn.Linear(2, 2).state_dict()):
        with pytest.raises(InvalidInput, match="cannot load the weights"):
            reach_checkpoint(task, after=None, device=CPU, precision="float32", weights=wrong)
