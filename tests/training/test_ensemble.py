from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import batchscope as bs
from batchscope.records import Configuration
from batchscope.studies.plan import configure, make_plan
from batchscope.training import together
from batchscope.training.ensemble import train_together
from batchscope.training.loop import Outcome, train
from batchscope.training.stacked_models import StackedModels
from batchscope.training.together import measure_together, trial_examples, why_not_together

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
    task: bs.Task,
    rates: list[float],
    *,
    seeds: int = 2,
    budget: bs.Budget = BUDGETS[0],
    schedule: str = "constant",
    warmup: float = 0.0,
) -> list[Configuration]:
    plan = make_plan(task, device=CPU, budget=budget, schedule=schedule, warmup=warmup)
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

    assert_as_alone(together, task, configurations)


def test_each_run_is_shown_at_its_evaluations_with_the_weights_that_it_scores_with() -> None:
    task = make_task(optimizer=bs.Adam(lr=0.003))
    # Not in the order in which they are trained.
    configurations = runs_of(task, [0.003, 0.01, 0.001])
    shown: list[list[tuple[float, float, float]]] = [[] for _ in configurations]
    inputs, classes = task.datasets["val"].tensors

    def show(place: int, model: nn.Module, row: Mapping[str, float]) -> None:
        with torch.no_grad():
            loss = float(F.cross_entropy(model(inputs), classes))
        shown[place].append((row["step"], row["val_loss"], loss))

    found = train_together(task, configurations, device=CPU, show=show)

    for outcome, rows in zip(found, shown, strict=True):
        steps, scored, asked = zip(*rows, strict=True)
        assert steps == outcome.trajectory.columns["step"]
        assert scored == outcome.trajectory.columns["val_loss"]
        np.testing.assert_allclose(asked, scored, rtol=1e-5)


@pytest.mark.parametrize("optimizer", ["Adam", "AdamW"])
@pytest.mark.parametrize("width", [8, 4000], ids=["few numbers", "many"])
def test_many_rates_of_adam_are_each_their_own(optimizer: str, width: int) -> None:
    task = make_task(
        model=lambda: nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2)),
        optimizer=replace(OPTIMIZERS[optimizer], weight_decay=0.1),
    )
    # Not in their order, and of one rate side by side only once they are sorted.
    configurations = runs_of(task, [0.003, 0.0003, 0.001, 0.01, 0.002], budget=bs.steps(12))

    assert_as_alone(train_together(task, configurations, device=CPU), task, configurations)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_program_ends_with_its_last_run(optimizer: str) -> None:
    task = make_task(optimizer=OPTIMIZERS[optimizer])
    early = bs.until_target(bs.epochs(200), bs.reach("val_loss", 0.65, "<="))
    configurations = runs_of(task, [0.003, 0.01], budget=early)

    found = train_together(task, configurations, device=CPU)

    assert max(outcome.steps for outcome in found) < (early.steps(task.train_size, 7) or 0)
    assert_as_alone(found, task, configurations)


@pytest.mark.parametrize("optimizer", ["momentum", "AdamW"])
@pytest.mark.parametrize("budget", BUDGETS[1:4], ids=str)
@pytest.mark.parametrize("schedule", ["constant", "cosine", "step", "wsd"])
def test_schedules_move_the_rates_of_all_as_they_move_one(
    schedule: str, budget: bs.Budget, optimizer: str
) -> None:
    spec = OPTIMIZERS[optimizer]
    task = make_task(optimizer=spec)
    assert spec.lr is not None
    rates = [spec.lr, spec.lr / 3]
    configurations = runs_of(task, rates, budget=budget, schedule=schedule, warmup=60)

    assert why_not_together(task, configurations) is None
    together = train_together(task, configurations, device=CPU)

    moved = together[0].trajectory.columns["learning_rate"]
    assert len(set(moved)) > 1
    assert_as_alone(together, task, configurations)


def assert_as_alone(
    together: list[Outcome], task: bs.Task, configurations: list[Configuration]
) -> None:
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


def columns_of(outcomes: list[Outcome]) -> list[dict[str, tuple[float, ...]]]:
    return [
        {name: values for name, values in one.trajectory.columns.items() if name != "seconds"}
        for one in outcomes
    ]


@pytest.mark.parametrize("optimizer", ["momentum", "AdamW"])
def test_steps_that_are_written_down_are_those_of_the_model_to_the_bit(optimizer: str) -> None:
    spec = OPTIMIZERS[optimizer]
    task = make_task(optimizer=spec)
    assert spec.lr is not None
    # The last is so high that it diverges, after which the others go on as another program.
    configurations = runs_of(task, [spec.lr, spec.lr / 3, 1e20], budget=bs.epochs(6))

    asked = train_together(task, configurations, device=CPU, trace_after=None)
    written = train_together(task, configurations, device=CPU, trace_after=3)

    np.testing.assert_equal(columns_of(written), columns_of(asked))
    assert [one.status for one in written] == [one.status for one in asked]


class Asked(nn.Linear):
    """A model that says how often it was asked, where no copy of it keeps that."""

    times = 0

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        Asked.times += 1
        return super().forward(input)


def test_a_model_is_not_asked_once_its_steps_are_written_down() -> None:
    models = StackedModels(
        lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]),
        [Asked(4, 2) for _ in range(3)],
        trace_after=2,
    )
    batch = torch.randn(3, 7, 4), torch.zeros(3, 7, dtype=torch.long)
    for _ in range(2):
        models.gradients(batch)
    before = Asked.times

    for _ in range(5):
        models.gradients(batch)

    assert Asked.times == before > 2
    # Another shape is another program.
    models.gradients((batch[0][:, :5], batch[1][:, :5]))
    assert Asked.times == before + 1


@pytest.mark.parametrize("cause", ["an operation", "too many"])
def test_what_cannot_be_compiled_is_still_not_asked(
    monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    task = make_task(optimizer=bs.SGD(lr=0.05, momentum=0.9))
    configurations = runs_of(task, [0.05], budget=bs.epochs(4))
    asked = train_together(task, configurations, device=CPU, trace_after=None)

    tried: list[object] = []

    def refuse(graph: object, *_: object) -> None:
        tried.append(graph)
        raise RuntimeError("no such operation")

    monkeypatch.setattr("functorch.compile.ts_compile", refuse)
    if cause == "too many":
        monkeypatch.setattr("batchscope.training.stacked_models._MOST_COMPILED", 3)
    models = StackedModels(task.loss, [task.model() for _ in range(2)], trace_after=1)
    batch = torch.randn(2, 7, 4), torch.zeros(2, 7, dtype=torch.long)
    models.gradients(batch)
    written = train_together(task, configurations, device=CPU, trace_after=3)

    assert bool(tried) == (cause == "an operation")
    assert models._written[tuple(tensor.shape for tensor in batch)] is not None
    np.testing.assert_equal(columns_of(written), columns_of(asked))


class Turning(nn.Linear):
    """A model that at some time does something else, which nothing about it tells."""

    factor = 1.0

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input) * Turning.factor


def test_a_change_is_noticed_whatever_the_shape_of_the_batch_that_is_evaluated_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models = StackedModels(
        lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]),
        [Turning(4, 2) for _ in range(2)],
        trace_after=1,
    )
    whole = torch.randn(2, 7, 4), torch.zeros(2, 7, dtype=torch.long)
    for _ in range(2):
        models.gradients(whole)
    assert models.still_holds()
    monkeypatch.setattr(Turning, "factor", 0.1)

    # The last batch of an epoch is a shorter one.
    models.gradients(whole)
    models.gradients((whole[0][:, :5], whole[1][:, :5]))

    assert not models.still_holds()


class Warming(nn.Linear):
    """A model that does something else from its 50th step on."""

    def __init__(self) -> None:
        super().__init__(4, 2)
        self.asked = 0

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        self.asked += self.training
        return super().forward(input) * (1.0 if self.asked < 50 else 0.1)


def make_counting_loss() -> Callable[..., torch.Tensor]:
    """A loss that weighs its first 50 batches otherwise."""
    asked = 0

    def loss(model: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        nonlocal asked
        asked += torch.is_grad_enabled()
        return F.cross_entropy(model(batch[0]), batch[1]) * (1.0 if asked < 50 else 0.1)

    return loss


@pytest.mark.parametrize("what", ["model", "loss"])
def test_what_changes_as_it_is_asked_is_asked_at_every_step(what: str) -> None:
    changes = {"model": Warming} if what == "model" else {}

    def make() -> bs.Task:
        return make_task(**(changes or {"loss": make_counting_loss()}))

    task = make()
    configurations = runs_of(task, [0.05], budget=bs.epochs(20))

    asked = train_together(make(), configurations, device=CPU, trace_after=None)
    written = train_together(make(), configurations, device=CPU, trace_after=10)

    np.testing.assert_equal(columns_of(written), columns_of(asked))


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


def test_a_change_is_noticed_where_a_member_diverges_between_two_evaluations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = make_task(
        model=lambda: Turning(4, 2),
        loss=lambda model, batch: (model(batch[0]).sum(1) - batch[1]).square().mean(),
        optimizer=bs.SGD(lr=0.01),
        metrics={},
    )
    plan = make_plan(task, device=CPU, budget=bs.epochs(8), evaluate_every=bs.epochs(2))
    calm, wild = (
        configure(task, plan, "0" * 16, batch_size=7, lr=rate, seed=0) for rate in (0.01, 1.0)
    )
    gradients = StackedModels.gradients
    steps: Counter[StackedModels] = Counter()

    def turn_at_the_25th(self: StackedModels, batch: tuple[torch.Tensor, ...]) -> object:
        steps[self] += 1
        Turning.factor = 1.0 if steps[self] < 25 else -1.0
        return gradients(self, batch)

    monkeypatch.setattr(Turning, "factor", 1.0)
    monkeypatch.setattr(StackedModels, "gradients", turn_at_the_25th)

    asked = train_together(task, [calm, wild], device=CPU, trace_after=None)
    written = train_together(task, [calm, wild], device=CPU, trace_after=3)

    looks = asked[0].trajectory.columns["step"]
    assert asked[1].steps > 25
    assert [step for step in looks if 25 <= step <= asked[1].steps] == []
    assert [run.trajectory.last("val_loss") for run in written] == [
        run.trajectory.last("val_loss") for run in asked
    ]


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


def test_runs_whose_weights_are_averaged_are_trained_alone() -> None:
    task = make_task()
    found = measure_together(task, runs_of(task, [0.01, 0.02], schedule="averaged"), device=CPU)

    assert found.reason == "its weights are averaged"


def test_a_small_model_gains_from_sharing_and_the_gain_is_measured() -> None:
    task = make_task(
        model=lambda: nn.Sequential(*(nn.Linear(4, 4) for _ in range(20)), nn.Linear(4, 2)),
        loss=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]),
    )

    found = measure_together(task, runs_of(task, [0.01], seeds=48), device=CPU)

    assert found.reason is None
    # Each of the tiny layers is called once instead of 48 times; other processes take their part.
    assert found.gain > 1.5


def let_steps_take(
    monkeypatch: pytest.MonkeyPatch, *, alone: float, asked: float, written: float
) -> None:
    """Seconds of a step of one run, of all as the model is asked, and of all as operations."""
    now = 0.0

    def taking(
        step: Callable[..., None], seconds: Callable[[together._Trial], float]
    ) -> Callable[..., None]:
        def slowly(trial: together._Trial, *arguments: object) -> None:
            nonlocal now
            step(trial, *arguments)
            now += seconds(trial)

        return slowly

    def of_all(trial: together._Trial) -> float:
        return asked if trial._stacked._trace_after is None else written

    steps = {"_step_alone": lambda _: alone, "_step_together": of_all}
    for name, seconds in steps.items():
        step = getattr(together._Trial, name)
        monkeypatch.setattr(together._Trial, name, taking(step, seconds))
    monkeypatch.setattr(together, "time", SimpleNamespace(perf_counter=lambda: now))


@pytest.mark.parametrize(
    ("budget", "alone", "gain", "steps"),
    [
        # Of 64 examples in sevens one step in ten is short: a thousand of the others are asked and
        # all 900 of these, one writes down, and 7,100 are operations. Tried are eight steps of one,
        # four of all that are asked and take too long, seven to write down, eight as operations.
        (
            bs.steps(9000),
            0.001,
            9000 * 0.012 / (1900 * 0.03 + 0.003 + 7100 * 0.003),
            8 + (4 + 7 + 8) * 12,
        ),
        (bs.steps(2000), 0.001, 0.012 / 0.03, 8 + 4 * 12),
        (bs.steps(9000), 0.006, 0.072 / 0.03, 8 + 8 * 12),
        (bs.until_plateau(bs.steps(9000)), 0.001, 0.012 / 0.03, 8 + 4 * 12),
    ],
    ids=["long", "short", "of long steps", "perhaps short"],
)
def test_of_a_long_run_of_short_steps_the_gain_is_that_of_its_operations(
    monkeypatch: pytest.MonkeyPatch, budget: bs.Budget, alone: float, gain: float, steps: int
) -> None:
    let_steps_take(monkeypatch, alone=alone, asked=0.03, written=0.003)
    task = make_task()
    runs = runs_of(task, [0.01], seeds=12, budget=budget)

    found = measure_together(task, runs, device=CPU, least_gain=100.0)

    assert found.gain == pytest.approx(gain)
    assert found.examples == steps * 7
    assert found.examples <= 2.5 * trial_examples(12, 7)


def test_what_gains_nothing_together_is_found_out_in_two_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    let_steps_take(monkeypatch, alone=1.0, asked=30.0, written=30.0)
    task = make_task()

    found = measure_together(task, runs_of(task, [0.01], seeds=12), device=CPU, least_gain=1.15)

    assert (found.gain, found.reason) == (12 / 30, None)
    # Eight of one; of twelve two to warm up and two that tell.
    assert found.examples == (8 + (2 + 2) * 12) * 7
