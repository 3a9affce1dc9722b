from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import batchscope as bs
from batchscope.records import Configuration
from batchscope.studies.plan import configure, make_plan
from batchscope.training.ensemble import train_together
from batchscope.training.loop import train
from batchscope.training.together import measure_together, why_not_together

from ..conftest import make_task

CPU = torch.device("cpu")
OPTIMIZERS = {
    "SGD": bs.SGD(lr=0.05),
    "momentum": bs.SGD(lr=0.05, momentum=0.9, weight_decay=0.01),
    "Nesterov": bs.SGD(lr=0.05, momentum=0.9, nesterov=True),
    "Adam": bs.Adam(lr=0.003, weight_decay=0.01),
    "AdamW": bs.AdamW(lr=0.003),
}
# Of these the last two end some runs before others.
BUDGETS = [
    bs.epochs(6),
    bs.examples(250),
    bs.steps(31),
    bs.until_target(bs.epochs(6), bs.reach("val_loss", 0.6, "<=")),
    bs.until_plateau(bs.epochs(6)),
]


def runs_of(
    task: bs.Task, rates: list[float], *, seeds: int = 2, budget: bs.Budget = BUDGETS[0]
) -> list[Configuration]:
    plan = make_plan(task, device=CPU, budget=budget)
    return [
        configure(task, plan, "0" * 16, batch_size=7, lr=rate, seed=seed)
        for seed in range(seeds)
        for rate in rates
    ]


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_runs_together_are_what_they_are_alone(optimizer: str, budget: bs.Budget) -> None:
    spec = OPTIMIZERS[optimizer]
    task = make_task(optimizer=spec)
    assert spec.lr is not None
    configurations = runs_of(task, [spec.lr, spec.lr / 3], budget=budget)

    together = train_together(task, configurations, device=CPU)

    for configuration, outcome in zip(configurations, together, strict=True):
        alone = train(task, configuration, device=CPU)
        assert (outcome.status, outcome.steps) == (alone.status, alone.steps)
        assert list(outcome.trajectory.columns) == list(alone.trajectory.columns)
        for name, values in alone.trajectory.columns.items():
            if name != "seconds":
                # The order of floating-point sums differs, some 1e-7 a step.
                np.testing.assert_allclose(
                    outcome.trajectory.columns[name], values, rtol=1e-3, atol=1e-4, err_msg=name
                )


def test_six_hundred_steps_stay_within_the_stated_tolerance() -> None:
    task = make_task(optimizer=bs.SGD(lr=0.05, momentum=0.9))
    configurations = runs_of(task, [0.05], budget=bs.steps(600))

    together = train_together(task, configurations, device=CPU)

    for configuration, outcome in zip(configurations, together, strict=True):
        alone = train(task, configuration, device=CPU)
        assert outcome.trajectory.last("val_loss") == pytest.approx(
            alone.trajectory.last("val_loss"), abs=1e-4
        )


def test_who_shares_the_program_changes_nothing_and_a_diverged_member_least_of_all() -> None:
    task = make_task(
        loss=lambda model, batch: (model(batch[0]).sum(1) - batch[1]).square().mean(),
        optimizer=bs.SGD(lr=0.01),
        metrics={},
    )
    calm, wild = runs_of(task, [0.01, 1e6], seeds=1)

    beside = train_together(task, [calm, wild], device=CPU)
    among = train_together(task, runs_of(task, [0.01, 0.02, 0.03]), device=CPU)
    alone = train(task, wild, device=CPU)

    assert (beside[1].status, beside[1].steps) == ("diverged", alone.steps)
    assert len(beside[1].trajectory) == len(alone.trajectory)
    assert beside[0].status == "finished"
    np.testing.assert_allclose(
        beside[0].trajectory.columns["val_loss"],
        among[0].trajectory.columns["val_loss"],
        atol=1e-5,
    )


def test_the_callers_random_numbers_are_left_alone() -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()

    train_together(make_task(), runs_of(make_task(), [0.01]), device=CPU)

    assert torch.equal(torch.get_rng_state(), state)


class Counted(nn.Module):
    """A model whose forward pass looks at its values."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.line(x) if x.sum() > 0 else -self.line(x)


def dropping() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))


def _make_half_frozen() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 2))


CANNOT: dict[str, tuple[Callable[[], bs.Task], str]] = {
    "dropout": (lambda: make_task(model=dropping), "random"),
    "a look at values": (lambda: make_task(model=Counted), "cannot be batched"),
    "clipping": (lambda: make_task(clip_norm=1.0), "clips its gradients"),
    "half precision": (lambda: make_task(precision="bf16"), "trains in bf16"),
    "frozen weights": (
        lambda: make_task(model=_make_half_frozen),
        "some of its weights are not trained",
    ),
    "a factory": (
        lambda: make_task(optimizer=lambda p: torch.optim.Adam(p, lr=0.01)),
        "its optimizer is custom",
    ),
}


@pytest.mark.parametrize("case", CANNOT)
def test_what_cannot_share_a_program_says_why(case: str) -> None:
    make, reason = CANNOT[case]
    task = make()

    found = measure_together(task, runs_of(task, [0.01, 0.02]), device=CPU)

    assert found.gain == 0
    assert reason in str(found.reason)


def test_runs_that_differ_in_more_than_rate_and_seed_do_not_share_a_program() -> None:
    task = make_task()
    first, second = runs_of(task, [0.01], budget=bs.epochs(1))[0], runs_of(task, [0.01])[0]

    assert why_not_together(task, [first, second]) is not None
    assert why_not_together(task, [first, first]) is None


def test_a_small_model_gains_from_sharing_and_the_gain_is_measured() -> None:
    task = make_task(
        model=lambda: nn.Sequential(*(nn.Linear(4, 4) for _ in range(20)), nn.Linear(4, 2)),
        loss=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]),
    )

    found = measure_together(task, runs_of(task, [0.01], seeds=48), device=CPU)

    assert found.reason is None
    # Each of the tiny layers is called once instead of 48 times; other processes take their part.
    assert found.gain > 1.5
