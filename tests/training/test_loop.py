import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

import batchscope as bs
from batchscope.errors import InvalidInput
from batchscope.records import Configuration
from batchscope.training.hooks import Hook, RunState
from batchscope.training.loop import Outcome, train

from ..conftest import make_task

CPU = torch.device("cpu")


def configure(task: bs.Task, **changes: object) -> Configuration:
    lr = float(changes.pop("lr", 0.1))  # type: ignore[arg-type]
    size = int(changes.pop("batch_size", 8))  # type: ignore[call-overload]
    plain = Configuration(
        fingerprint="0" * 16,
        batch_size=size,
        micro_batch=size,
        optimizer=task.optimizer_spec.name,
        hyper_parameters=task.optimizer_spec.hyper_parameters(batch_size=size, lr=lr),
        seed=0,
        budget=task.budget,
        precision="float32",
        device_kind="cpu",
        torch_version=torch.__version__,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def run(task: bs.Task, *hooks: Hook, **changes: object) -> Outcome:
    return train(task, configure(task, **changes), device=CPU, hooks=hooks)


def without_seconds(outcome: Outcome) -> dict[str, tuple[str, ...]]:
    """The trajectory to the bit, but for the clock; NaN compares equal as text."""
    columns = outcome.trajectory.columns
    return {
        name: tuple(value.hex() for value in values)
        for name, values in columns.items()
        if name != "seconds"
    }


class Watch(Hook):
    """Keeps what the hooks were told."""

    def __init__(self) -> None:
        self.moments: list[str] = []
        self.shares: list[float] = []
        self.weights: list[torch.Tensor] = []
        self.seen: list[int] = []

    def on_start(self, state: RunState) -> None:
        self.moments.append("start")
        self.weights.append(next(state.model.parameters()).detach().clone())

    def on_micro_batch(self, state: RunState, share: float) -> None:
        self.shares.append(share)

    def on_gradient(self, state: RunState) -> None:
        self.moments.append("gradient")

    def on_step(self, state: RunState) -> None:
        self.moments.append("step")
        self.seen.append(state.examples)

    def on_evaluation(self, state: RunState, row: Mapping[str, float]) -> None:
        self.moments.append("evaluation")

    def on_end(self, state: RunState) -> None:
        self.moments.append("end")


def test_a_run_learns_and_records_what_the_design_says() -> None:
    outcome = run(make_task(budget=bs.epochs(10)))

    assert outcome.status == "finished"
    assert outcome.steps == 80
    columns = outcome.trajectory.columns
    assert {"step", "examples", "seconds", "train_loss", "val_loss", "error", "test_error"} <= set(
        columns
    )
    assert {"gradient_norm", "learning_rate", "train_error", "test_loss"} <= set(columns)
    assert columns["examples"][-1] == 640
    assert columns["train_loss"][-1] < columns["train_loss"][0] / 1.5
    assert math.isnan(columns["gradient_norm"][0])
    assert columns["gradient_norm"][1] > 0


def test_the_same_configuration_gives_the_same_run_to_the_bit() -> None:
    task = make_task(model=lambda: nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2)))

    assert without_seconds(run(task)) == without_seconds(run(task))
    assert without_seconds(run(task)) != without_seconds(run(task, seed=1))


def test_evaluation_leaves_the_run_as_it_was() -> None:
    # Metrics that draw random numbers must not move dropout: the losses stay the same.
    model = lambda: nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))  # noqa: E731
    plain = run(make_task(model=model, metrics={}))
    noisy = run(make_task(model=model, metrics={"noise": lambda model, batch: torch.rand(())}))

    assert plain.trajectory.columns["train_loss"] == noisy.trajectory.columns["train_loss"]


@pytest.mark.parametrize("budget", [bs.epochs(3), bs.seconds(0.05)])
def test_without_looks_a_run_is_the_same_and_is_scored_once_at_its_end(budget: bs.Budget) -> None:
    task = make_task(model=lambda: nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2)))
    configuration = configure(task, budget=budget)

    often = train(task, configuration, device=CPU)
    once = train(task, configuration, device=CPU, looks=False)

    assert once.status == "finished"
    assert once.trajectory.columns["step"] == (once.steps,)
    if budget.kind != "seconds":
        assert once.trajectory.last("train_loss") == often.trajectory.last("train_loss")


def test_batch_sizes_share_initial_weights_and_the_order_of_examples() -> None:
    seen: dict[int, list[float]] = {}
    start: dict[int, float] = {}
    for size in (4, 16):
        seen[size] = []
        task = make_task(budget=bs.epochs(1))

        def loss(model: nn.Module, batch: tuple[torch.Tensor, ...], size: int = size):
            if model.training:
                seen[size] += batch[0][:, 0].tolist()
            return nn.functional.cross_entropy(model(batch[0]), batch[1])

        watch = Watch()
        run(replace(task, loss=loss), watch, batch_size=size)
        start[size] = float(watch.weights[0].sum())

    assert seen[4] == seen[16]
    assert start[4] == start[16]


def test_runs_of_all_sizes_are_evaluated_at_the_same_examples() -> None:
    task = make_task()
    marks = [run(task, batch_size=size).trajectory.columns["examples"] for size in (2, 8, 16)]

    # Larger batches take more than is seen between two of the earliest looks.
    quarter = task.train_size / 4
    later = [[mark for mark in found if mark >= quarter] for found in marks]
    assert later[0] == later[1] == later[2]
    assert min(marks[0][1:]) == task.train_size / 32


def test_the_last_short_batch_is_trained_on() -> None:
    watch = Watch()

    run(make_task(budget=bs.epochs(1)), watch, batch_size=48)

    assert watch.seen == [48, 64]


def test_hooks_are_told_every_moment_in_order() -> None:
    watch = Watch()

    run(make_task(budget=bs.steps(2)), watch, batch_size=8, micro_batch=3)

    plain = [m for m in watch.moments if m != "evaluation"]
    assert plain == ["start", "gradient", "step", "gradient", "step", "end"]
    assert watch.shares[:3] == pytest.approx([3 / 8, 3 / 8, 2 / 8])


def test_a_hook_can_change_the_batch_size_of_the_steps_that_follow() -> None:
    class Double(Watch):
        def on_step(self, state: RunState) -> None:
            super().on_step(state)
            state.batch_size = 16

    watch = Double()
    run(make_task(budget=bs.epochs(1)), watch, batch_size=8)

    assert watch.seen == [8, 24, 40, 56, 64]


def test_accumulation_trains_the_same_run() -> None:
    whole = run(make_task(), batch_size=16).trajectory.last("train_loss")

    accumulated = run(make_task(), batch_size=16, micro_batch=5).trajectory.last("train_loss")

    # 12 steps of float32 rounding.
    assert accumulated == pytest.approx(whole, rel=1e-4)


def test_a_loss_that_depends_on_the_batch_is_not_accumulated() -> None:
    with pytest.raises(InvalidInput, match="depends on the whole batch"):
        run(make_task(batch_coupled=True), batch_size=16, micro_batch=8)


def test_divergence_is_recorded_with_its_step() -> None:
    task = make_task(
        model=lambda: nn.Linear(4, 1),
        loss=lambda model, batch: ((model(batch[0]).squeeze(-1) - 1) ** 2).mean(),
        metrics={},
        budget=bs.epochs(50),
    )

    outcome = run(task, lr=1e4)

    assert outcome.status == "diverged"
    assert 1 < outcome.steps < 400
    assert all(map(math.isfinite, outcome.trajectory.columns["train_loss"]))


def test_data_that_are_not_tensors_are_loaded_to_the_same_run() -> None:
    tensors = make_task()

    class Rows(Dataset[tuple[torch.Tensor, torch.Tensor]]):
        def __init__(self, part: str) -> None:
            self.rows = tensors.datasets[part]

        def __len__(self) -> int:
            return len(self.rows)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
            return self.rows[index]

    loaded = make_task(**{part: Rows(part) for part in ("train", "val", "test")})

    assert without_seconds(run(loaded)) == without_seconds(run(tensors))


def test_a_budget_of_seconds_ends_with_an_evaluation() -> None:
    outcome = run(make_task(budget=bs.seconds(0.05)))

    assert outcome.status == "finished"
    assert outcome.trajectory.last("step") == outcome.steps
    assert outcome.seconds >= 0.05


def test_bf16_trains_close_to_float32() -> None:
    task = make_task(budget=bs.epochs(10))

    full = run(task).trajectory.last("train_loss")
    half = run(task, precision="bf16").trajectory.last("train_loss")

    # bf16 keeps 8 bits: about 0.4% a product.
    assert half == pytest.approx(full, rel=0.05)
    assert half != full


def test_a_clipped_gradient_moves_the_weights_by_at_most_rate_times_norm() -> None:
    class Moved(Hook):
        def __init__(self) -> None:
            self.before = torch.zeros(0)
            self.most = 0.0

        def on_gradient(self, state: RunState) -> None:
            self.before = nn.utils.parameters_to_vector(state.model.parameters()).detach().clone()

        def on_step(self, state: RunState) -> None:
            after = nn.utils.parameters_to_vector(state.model.parameters()).detach()
            self.most = max(self.most, float((after - self.before).norm()))

    moved = Moved()
    run(make_task(clip_norm=0.01), moved, lr=0.1)

    assert 0 < moved.most <= 0.1 * 0.01 * 1.001


def test_memory_that_runs_out_is_an_outcome() -> None:
    def loss(model: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        if model.training and len(batch[0]) == 16:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] not enough memory: you tried to")
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    assert run(make_task(loss=loss), batch_size=16).status == "out_of_memory"


def test_batches_of_any_container_are_moved() -> None:
    from collections import namedtuple

    from batchscope.training.batches import move

    pair = namedtuple("Pair", "x y")
    batch = {"a": [torch.zeros(2), (torch.ones(1), "text")], "b": pair(torch.zeros(1), 3)}

    moved = move(batch, torch.device("meta"))

    assert moved["a"][0].device.type == "meta"
    assert moved["a"][1][0].device.type == "meta"
    assert moved["a"][1][1] == "text"
    assert moved["b"].x.device.type == "meta"
    assert moved["b"].y == 3
