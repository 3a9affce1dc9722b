from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import batchscope as bs
from batchscope.errors import CannotTell
from batchscope.estimate import Interval, NotIdentified
from batchscope.instruments.noise.hook import NoiseHook
from batchscope.studies.plan import configure, make_plan
from batchscope.training.loop import train

from ...conftest import make_task, run_module
from ..problems import CPU, CURVATURES, DIMENSIONS, SETTINGS

OFFSET, SIMPLE, _ = SETTINGS["even"]


def run(
    *,
    passes: int,
    rows: list[int],
    steps: int = 300,
    clip: bool = False,
    scaler: torch.amp.GradScaler | None = None,
    every: int | None = 1,
) -> bs.NoiseMeter:
    """Somebody's own loop on Gaussian regression, whose weights hardly move."""
    generator = torch.Generator().manual_seed(1)
    model = nn.Linear(DIMENSIONS, 1, bias=False)
    model.weight.data[:] = OFFSET
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
    with bs.NoiseMeter(model, optimizer, every=every, scaler=scaler) as meter:
        for _ in range(steps):
            optimizer.zero_grad()
            for k in range(passes):
                x = torch.randn(rows[k], DIMENSIONS, generator=generator) * CURVATURES.sqrt()
                y = torch.randn(rows[k], generator=generator)
                loss = 0.5 * (model(x)[:, 0] - y).square().mean() * rows[k] / sum(rows)
                (loss if scaler is None else scaler.scale(loss)).backward()
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), 0.01)
            if scaler is None:
                optimizer.step()
            else:
                scaler.step(optimizer)
                scaler.update()
    return meter


@pytest.mark.parametrize(
    ("passes", "rows"),
    [(4, [16, 16, 16, 16]), (3, [32, 32, 7]), (1, [64])],
    ids=["accumulated", "a short last pass", "one pass in parts"],
)
def test_the_meter_covers_the_known_noise_scale(passes: int, rows: list[int]) -> None:
    found = run(passes=passes, rows=rows).read()

    assert isinstance(found.noise_scale, Interval)
    assert found.noise_scale.low <= SIMPLE <= found.noise_scale.high
    assert found.noise_scale.value == pytest.approx(SIMPLE, rel=0.2)  # its own width
    assert found.blocks == 20


@dataclass
class Answer:
    """What a model that knows its loss returns."""

    loss: torch.Tensor
    logits: torch.Tensor


class LossInside(nn.Module):
    """Least squares whose targets are among the inputs."""

    def __init__(self, returns: type) -> None:
        super().__init__()
        self.line = nn.Linear(DIMENSIONS, 1, bias=False)
        self.line.weight.data[:] = OFFSET
        self.returns = returns

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> object:
        found = self.line(x)[:, 0]
        answer = {"loss": 0.5 * (found - y).square().mean(), "logits": found}
        return answer["loss"] if self.returns is torch.Tensor else self.returns(**answer)


@pytest.mark.parametrize("returns", [torch.Tensor, dict, Answer])
def test_a_model_that_returns_its_loss_is_metered_by_parts_of_its_batch(returns: type) -> None:
    generator = torch.Generator().manual_seed(1)
    model = LossInside(returns)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
    with bs.NoiseMeter(model, optimizer, every=1) as meter:
        for _ in range(300):
            optimizer.zero_grad()
            x = torch.randn(64, DIMENSIONS, generator=generator) * CURVATURES.sqrt()
            answer = model(x, y=torch.randn(64, generator=generator))
            if returns is torch.Tensor:
                answer.backward()
            else:
                (answer["loss"] if returns is dict else answer.loss).backward()
            optimizer.step()

    found = meter.read()

    assert found.measured == 299
    assert isinstance(found.noise_scale, Interval)
    assert found.noise_scale.low <= SIMPLE <= found.noise_scale.high


def test_clipping_afterwards_changes_nothing() -> None:
    plain = run(passes=4, rows=[16] * 4, steps=60).read()
    clipped = run(passes=4, rows=[16] * 4, steps=60, clip=True).read()

    assert str(plain.noise_scale) == str(clipped.noise_scale)


def test_moments_are_those_of_the_unscaled_loss() -> None:
    # Growing every two steps, the scale goes through many values; powers of two lose no digit.
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2, growth_factor=2.0)

    plain = run(passes=2, rows=[32, 32], steps=40).read()
    scaled = run(passes=2, rows=[32, 32], steps=40, scaler=scaler).read()

    assert isinstance(plain.noise_trace, Interval)
    assert isinstance(scaled.noise_trace, Interval)
    assert scaled.noise_trace.value == pytest.approx(plain.noise_trace.value, rel=1e-4)


def test_it_measures_as_rarely_as_its_share_allows_and_says_how_often() -> None:
    found = run(passes=1, rows=[64], steps=600, every=None).read()

    # A step takes less time than measuring it, so that most steps must go unmeasured.
    assert found.every > 10
    assert "one step in" in repr(found)


def test_without_a_measured_step_there_is_no_number() -> None:
    found = run(passes=1, rows=[2], steps=20).read()

    assert isinstance(found.noise_scale, NotIdentified)


def test_a_batch_norm_is_refused_unless_told() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    with pytest.raises(CannotTell, match="batch norm"):
        bs.NoiseMeter(model, optimizer)
    with bs.NoiseMeter(model, optimizer, allow_coupled=True):
        model(torch.randn(4, 4)).sum().backward()


def test_a_loop_trains_the_same_with_the_meter_and_without() -> None:
    def weights(watched: bool) -> torch.Tensor:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        meter = bs.NoiseMeter(model, optimizer, every=1)
        if watched:
            meter.__enter__()
        for _ in range(20):
            optimizer.zero_grad()
            model(torch.randn(16, 4)).square().mean().backward()
            optimizer.step()
        if watched:
            meter.__exit__(None, None, None)
            assert meter.read().measured > 10
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(weights(False), weights(True))


def test_differences_of_successive_gradients_are_biased_at_stationarity() -> None:
    # A counter-example: with momentum-free SGD at rest around the optimum of a quadratic,
    # g_t . g_(t+1) has the mean of -E|G|^2 and not of +E|G|^2, and no estimator here uses it.
    rng = np.random.default_rng(0)
    h, rate, noise = 1.0, 0.5, 1.0
    w = 0.0
    products, squares = [], []
    previous = None
    for step in range(200_000):
        gradient = h * w + noise * rng.standard_normal()
        if step > 1_000:
            squares.append((h * w) ** 2)
            if previous is not None:
                products.append(gradient * previous)
        previous = gradient
        w -= rate * gradient

    # 4 standard errors of a mean of 200,000 nearly independent products, each of deviation 1.3.
    assert np.mean(products) == pytest.approx(-np.mean(squares), abs=0.012)
    assert np.mean(squares) > 0.3


def test_two_ranks_give_what_one_process_gives_on_the_same_examples(tmp_path: Path) -> None:
    script = Path(__file__).parent / "two_ranks.py"

    done = run_module(
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(script),
        folder=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    one, two, all_reduce = (tmp_path / "answers.txt").read_text().splitlines()
    np.testing.assert_allclose(
        [float(v) for v in one.split()], [float(v) for v in two.split()], rtol=1e-4
    )
    assert float(all_reduce) > 0


def reading(task: bs.Task, hooks: list[NoiseHook], budget: bs.Budget) -> tuple[float, ...]:
    plan = make_plan(task, device=CPU, budget=budget)
    configuration = configure(task, plan, "0" * 16, batch_size=8, lr=0.05, seed=0)
    return train(task, configuration, device=CPU, hooks=hooks).trajectory.columns["val_loss"]


def test_a_run_is_the_same_to_the_bit_with_the_meter_on_it() -> None:
    task = make_task()
    hook = NoiseHook(task, precision="float32", device=CPU, every=3)

    plain = reading(task, [], bs.epochs(20))
    watched = reading(task, [hook], bs.epochs(20))

    assert watched == plain
    found = hook.read()
    assert found.measured > 40
    assert found.blocks == 20
    assert hook.examples > 0
