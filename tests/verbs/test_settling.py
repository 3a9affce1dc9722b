from pathlib import Path

import pytest
import torch

import batchscope as bs
from batchscope.errors import CannotTell

from ..conftest import make_task


def _make_linear(mean: float) -> tuple[bs.Task, float]:
    """A loss that is linear in the weights, and its noise scale, which is the same everywhere."""
    x = mean + torch.randn(4096, 8, generator=torch.Generator().manual_seed(0))
    task = make_task(
        model=lambda: torch.nn.Linear(8, 1, bias=False),
        loss=lambda model, batch: model(batch[0]).mean(),
        train=(x,),
        val=(x[:64],),
        test=(x[:64],),
        metrics={},
        budget=bs.steps(600),
        optimizer=bs.SGD(lr=0.001),
    )
    return task, float(x.var(0, correction=0).sum() / x.mean(0).square().sum())


def test_adascale_without_a_number_moves_the_rate_by_the_gain_at_the_noise_scale_it_measures(
    tmp_path: Path,
) -> None:
    task, noise_scale = _make_linear(0.3)

    def train() -> bs.Study:
        return bs.study(
            task,
            batch_sizes=[8, 64],
            rule="adascale",
            base=8,
            seeds=1,
            jobs=1,
            store=f"{tmp_path}/r.db",
        )

    first, again = train(), train()

    measured = float(str(first.plan.rule).partition(":")[2])
    # Over twenty seeds the log of 24 such measurements deviates by 0.17: half as much again either
    # way is 2.3 of that.
    assert noise_scale / 1.5 < measured < noise_scale * 1.5
    rates = {run.configuration.batch_size: run.configuration.learning_rate for run in first.runs}
    gain = (measured / 8 + 1) / (measured / 64 + 1)
    assert rates == pytest.approx({8: 0.001, 64: 0.001 * gain})
    assert (again.id, again.trained, again.plan.rule) == (first.id, 0, first.plan.rule)
    assert again.examples == first.examples


def test_a_preview_of_adascale_names_no_rates_before_they_are_measured(tmp_path: Path) -> None:
    task, _ = _make_linear(0.3)

    found = bs.preview(task, batch_sizes=[8, 64], rule="adascale", base=8, store=f"{tmp_path}/r.db")

    assert [size.rates for size in found.sizes] == [(), ()]
    assert not list(tmp_path.iterdir())


def test_adascale_says_where_the_noise_scale_cannot_be_told(tmp_path: Path) -> None:
    task, _ = _make_linear(0.3)

    with pytest.raises(CannotTell, match="the noise scale is not identified"):
        bs.study(
            task,
            batch_sizes=[8, 64],
            rule="adascale",
            base=8,
            budget="4steps",
            jobs=1,
            store=f"{tmp_path}/r.db",
        )
