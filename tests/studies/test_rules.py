import math

import pytest
import torch

import batchscope as bs
from batchscope.errors import InvalidInput
from batchscope.studies.plan import configure, make_plan
from batchscope.studies.rules import parse_rule

from ..conftest import make_task

ADAM = {"lr": 0.001, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.0}


@pytest.mark.parametrize(
    ("rule", "factor"),
    [
        ("constant", 1.0),
        ("linear", 4.0),
        ("sqrt", 2.0),
        ("power:0.75", 4**0.75),
        ("adascale:96", math.sqrt((3 + 1) / (0.75 + 1))),
        ("sde", 2.0),
    ],
)
def test_a_rule_moves_the_rate_as_its_paper_says(rule: str, factor: float) -> None:
    moved = parse_rule(rule, 32).apply(ADAM, 128)

    assert moved["lr"] == pytest.approx(0.001 * factor)


def test_the_sde_rule_moves_what_adam_forgets_by() -> None:
    moved = parse_rule("sde", 32).apply(ADAM, 128)

    assert moved["beta1"] == pytest.approx(0.6)
    assert moved["beta2"] == pytest.approx(0.96)
    assert moved["eps"] == pytest.approx(0.5e-8)


def test_where_the_sde_rule_does_not_exist_it_says_up_to_where_it_does() -> None:
    with pytest.raises(InvalidInput, match="beta1 = -1"):
        parse_rule("sde", 32).apply(ADAM, 640)
    with pytest.raises(InvalidInput, match="Adam"):
        parse_rule("sde", 32).apply({"lr": 0.1}, 64)


def test_other_rules_leave_beta2_its_half_life_in_examples() -> None:
    task = make_task(optimizer=bs.Adam(lr=0.001, reference_batch_size=32))
    plan = make_plan(task, device=torch.device("cpu"), rule="sqrt", batch_sizes=[8, 32])
    small, base = (
        configure(task, plan, "0" * 16, batch_size=size, lr=0.001, seed=0).hyper_parameters
        for size in (8, 32)
    )

    assert float(small["beta2"]) ** 4 == pytest.approx(float(base["beta2"]))
    assert small["lr"] == pytest.approx(0.0005)


def test_a_study_by_a_rule_trains_one_rate_a_size_and_every_seed(tmp_path: object) -> None:
    found = bs.study(
        make_task(),
        batch_sizes=[8, 16, 32],
        rule="linear",
        base=16,
        seeds=2,
        jobs=1,
        store=f"{tmp_path}/r.db",
    )

    rates = {run.configuration.batch_size: run.configuration.learning_rate for run in found.runs}
    assert rates == pytest.approx({8: 0.05, 16: 0.1, 32: 0.2})
    assert len(found.runs) == 6


@pytest.mark.parametrize("text", ["lineal", "power", "power:x", "adascale:-1", "linear:2"])
def test_what_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="there is no rule"):
        parse_rule(text, 32)


def test_a_rule_and_the_exhaustive_grid_exclude_each_other() -> None:
    with pytest.raises(InvalidInput, match="both a rule"):
        make_plan(make_task(), device=torch.device("cpu"), rule="sqrt", exhaustive=True)


def test_the_gain_is_whole_for_sgd() -> None:
    moved = parse_rule("adascale:96", 32).apply({"lr": 0.1}, 128)

    assert moved["lr"] == pytest.approx(0.1 * (3 + 1) / (0.75 + 1))
