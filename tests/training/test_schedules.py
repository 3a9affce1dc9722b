import math

import pytest
import torch
from torch import nn

import batchscope as bs
from batchscope.errors import InvalidInput
from batchscope.records import Configuration
from batchscope.studies.plan import configure, make_plan
from batchscope.training.loop import Outcome, train
from batchscope.training.schedules import Schedule, make_scheduler, parse_schedule

from ..conftest import make_task

CPU = torch.device("cpu")


def configuration(task: bs.Task, schedule: str, **options: object) -> Configuration:
    plan = make_plan(task, device=CPU, batch_sizes=[16], schedule=schedule, **options)  # type: ignore[arg-type]
    return configure(task, plan, "0" * 16, batch_size=16, lr=0.1, seed=0)


def run(task: bs.Task, schedule: str, **options: object) -> Outcome:
    return train(task, configuration(task, schedule, **options), device=CPU)


@pytest.mark.parametrize(
    ("kind", "shares"),
    [
        ("constant", {0.0: 1.0, 0.99: 1.0}),
        ("cosine", {0.0: 1.0, 0.5: 0.5, 1.0: 0.0}),
        ("step", {0.49: 1.0, 0.5: 0.1, 0.75: 0.01}),
        ("wsd", {0.79: 1.0, 0.9: 0.5, 1.0: 0.0}),
        ("averaged", {0.0: 1.0, 1.0: 1.0}),
    ],
)
def test_rates_follow_their_schedule(kind: str, shares: dict[float, float]) -> None:
    schedule = parse_schedule(kind)

    found = {share: schedule.factor(share, 0.0) for share in shares}
    assert found == pytest.approx(shares)


@pytest.mark.parametrize("batch_size", [4, 16, 100])
def test_a_warmup_ends_after_the_same_examples_at_every_batch_size(batch_size: int) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.2)
    scheduler = make_scheduler(optimizer, Schedule(warmup=400), batch_size=batch_size, steps=10_000)
    assert scheduler is not None

    rates: list[float] = []
    for _ in range(400 // batch_size + 2):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()

    seen = [(step + 1) * batch_size for step in range(len(rates))]
    assert rates == pytest.approx([0.2 * min(1.0, examples / 400) for examples in seen])


def test_a_cosine_run_ends_where_a_hand_written_one_does() -> None:
    task = make_task(budget=bs.steps(10))
    outcome = run(task, "cosine")

    model = task.model()
    torch.manual_seed(0)
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
    from batchscope.training.seeding import draw_order

    x, y = task.datasets["train"].tensors  # type: ignore[attr-defined]
    order = torch.cat([draw_order(64, seed=0, epoch=epoch) for epoch in range(3)])
    for step in range(10):
        batch = order[16 * step : 16 * (step + 1)]
        optimizer.zero_grad()
        task.loss(model, (x[batch], y[batch])).backward()
        optimizer.step()
        rates.step()

    val = task.datasets["val"].tensors  # type: ignore[attr-defined]
    with torch.no_grad():
        expected = float(task.loss(model, val))
    assert outcome.trajectory.last("val_loss") == pytest.approx(expected, rel=1e-5)


def test_an_averaged_run_is_judged_by_its_average_and_trained_as_a_constant_one() -> None:
    task = make_task(budget=bs.epochs(6))
    constant, averaged = run(task, "constant"), run(task, "averaged")

    assert averaged.trajectory.columns["gradient_norm"][1:] == pytest.approx(
        constant.trajectory.columns["gradient_norm"][1:]
    )
    # While the loss falls the average lags behind.
    assert averaged.trajectory.last("train_loss") > constant.trajectory.last("train_loss")


def test_the_half_life_of_the_average_is_the_same_in_examples_at_every_batch_size() -> None:
    from batchscope.training.schedules import make_average

    model = nn.Linear(1, 1, bias=False)
    left: dict[int, float] = {}
    for size in (1, 4, 16):
        with torch.no_grad():
            model.weight.fill_(1.0)
        average = make_average(model, batch_size=size, train_size=256)
        average.update_parameters(model)
        with torch.no_grad():
            model.weight.fill_(0.0)
        for _ in range(64 // size):
            average.update_parameters(model)
        left[size] = average.module.weight.item()

    assert left == pytest.approx(dict.fromkeys(left, 0.5), rel=1e-5)


def test_what_needs_an_end_is_refused_where_only_the_clock_knows_it() -> None:
    with pytest.raises(InvalidInput, match="needs to know where a run ends"):
        run(make_task(budget=bs.seconds(1)), "cosine")


@pytest.mark.parametrize("text", ["cosin", "cosine+warm=3", ""])
def test_what_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="there is no schedule"):
        parse_schedule(text)


@pytest.mark.parametrize("warmup", [-1.0, math.nan, math.inf])
def test_a_warmup_over_nothing_is_refused(warmup: float) -> None:
    with pytest.raises(InvalidInput, match="warmup"):
        make_plan(make_task(), device=CPU, warmup=warmup)
