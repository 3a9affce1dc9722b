import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from batchscope.records import Configuration, Run, Status, Trajectory
from batchscope.studies.design import StudyDesign
from batchscope.studies.plan import make_plan

from ..conftest import make_task
from .claimants import PROVENANCE

SIZES = [8, 16, 32]


def make_design(*, earlier: str | None = None, **options: Any) -> StudyDesign:
    task = make_task()
    plan = make_plan(task, device=torch.device("cpu"), batch_sizes=SIZES, **options)
    return StudyDesign(task=task, plan=plan, fingerprint="f" * 16, earlier=earlier, start=0.1)


def finish(configuration: Configuration, *, status: Status = "finished", error: float = 0.1) -> Run:
    columns = {
        "step": (0.0, 8.0),
        "examples": (0.0, 64.0),
        "seconds": (0.0, 1.0),
        "train_loss": (1.0, error),
        "val_loss": (1.0, error),
        "gradient_norm": (math.nan, 1.0),
        "learning_rate": (0.1, 0.1),
        "error": (1.0, error),
    }
    return Run(
        task="small",
        configuration=configuration,
        status=status,
        steps=8,
        trajectory=Trajectory(columns=columns),
        provenance=PROVENANCE,
    )


def train_through(design: StudyDesign, error_at: Mapping[int, float]) -> list[Run]:
    """All runs that a design asks for; the error grows with the distance from a best rate."""
    runs: list[Run] = []
    while wanted := design.next_configurations(runs):
        for configuration in wanted:
            best = error_at[configuration.batch_size]
            rate = float(configuration.hyper_parameters["lr"])
            away = abs(math.log(rate / best))
            runs.append(finish(configuration, error=0.1 + 0.05 * away))
    return runs


def test_a_grid_has_every_rate_with_every_seed_and_says_how_many() -> None:
    design = make_design(learning_rates=[0.1, 0.2], seeds=3)
    wanted = design.next_configurations([])

    assert len({c.key for c in wanted}) == len(wanted) == 3 * 2 * 3
    assert {design.expected_runs(size) for size in SIZES} == {6}
    assert design.budgets_per_run == 1
    assert design.next_configurations([finish(c) for c in wanted]) == []


def test_each_batch_size_is_trained_at_the_rates_of_its_own() -> None:
    own = {32: [0.4], 8: [0.2, 0.1], 16: [0.2]}
    design = make_design(learning_rates=own, seeds=2)

    wanted = design.next_configurations([])

    assert {(c.batch_size, c.learning_rate) for c in wanted} == {
        (size, rate) for size, rates in own.items() for rate in rates
    }
    assert len({c.key for c in wanted}) == len(wanted) == 2 * 4
    assert [design.expected_runs(size) for size in SIZES] == [4, 2, 2]


def test_of_a_fitted_rule_only_the_three_anchors_are_expected_to_be_searched() -> None:
    task = make_task()
    sizes = [2, 4, 8, 16, 32]
    plan = make_plan(task, device=torch.device("cpu"), batch_sizes=sizes, rule="fitted", seeds=2)
    design = StudyDesign(task=task, plan=plan, fingerprint="f" * 16, earlier=None, start=0.1)

    expected = [design.expected_runs(size) for size in sizes]

    assert expected[1] == expected[3] == 2
    assert expected[0] == expected[2] == expected[4] > 2


def test_a_search_ends_at_the_best_rate_of_each_size_with_all_seeds() -> None:
    best = {8: 0.03, 16: 0.1, 32: 0.3}
    runs = train_through(make_design(effort="quick", seeds=2), best)

    for size, rate in best.items():
        repeated = {
            float(run.configuration.hyper_parameters["lr"])
            for run in runs
            if run.configuration.batch_size == size and run.configuration.seed == 1
        }
        # Rates are half a decade apart.
        assert min(abs(math.log10(each / rate)) for each in repeated) <= 0.25 + 1e-9


def test_with_a_fitted_rule_sizes_between_the_anchors_take_the_rate_of_a_power_law() -> None:
    task = make_task()
    plan = make_plan(
        task, device=torch.device("cpu"), batch_sizes=[8, 16, 32, 64, 128], rule="fitted", seeds=1
    )
    design = StudyDesign(task=task, plan=plan, fingerprint="f" * 16, earlier=None, start=0.1)
    runs = train_through(design, {size: 0.1 * (size / 32) ** 0.5 for size in plan.batch_sizes})
    rates = {
        size: [
            float(run.configuration.hyper_parameters["lr"])
            for run in runs
            if run.configuration.batch_size == size
        ]
        for size in plan.batch_sizes
    }

    assert {size: len(found) for size, found in rates.items() if size in (16, 64)} == {16: 1, 64: 1}
    # From 16 to 64 the root of four; rates at the anchors are found within a quarter of a decade.
    assert math.log10(rates[64][0] / rates[16][0]) == pytest.approx(math.log10(2), abs=0.25)


def test_sizes_at_which_memory_ran_out_and_larger_ones_are_left_out() -> None:
    design = make_design(learning_rates=[0.1], seeds=1)
    at = {c.batch_size: c for c in design.next_configurations([])}
    lost = finish(at[16], status="out_of_memory")

    assert [c.batch_size for c in design.next_configurations([lost])] == [8]


def test_runs_of_the_task_before_its_last_edit_count_where_they_may() -> None:
    before = make_design(learning_rates=[0.1], seeds=1)
    runs = [finish(c) for c in before.next_configurations([])]
    plan, task = before.plan, before.task
    edited = {"task": task, "plan": plan, "fingerprint": "e" * 16, "start": 0.1}

    assert len(StudyDesign(**edited, earlier=None).next_configurations(runs)) == 3  # type: ignore[arg-type]
    assert StudyDesign(**edited, earlier="f" * 16).next_configurations(runs) == []  # type: ignore[arg-type]


def test_further_seeds_are_as_many_as_show_the_difference() -> None:
    design = make_design(learning_rates=[0.1], seeds=2, objective="quality", detect=0.1)
    first = design.next_configurations([])
    # The seeds are as good on average: apart from them 0.06 up, nothing and 0.06 down are left.
    apart = {8: 0.06, 16: 0.0, 32: -0.06}
    runs = [finish(c, error=0.1 + apart[c.batch_size] * c.seed) for c in first]
    found = design.seeds_to_detect(runs)
    more = design.next_configurations(runs)

    assert found is not None
    seeds, deviation = found
    assert deviation == pytest.approx(0.06 / math.sqrt(2))
    assert seeds is not None
    assert seeds > 2
    assert sorted({c.seed for c in more}) == list(range(2, seeds))
    assert make_design(learning_rates=[0.1], seeds=2).seeds_to_detect(runs) is None


def test_a_fitted_rule_is_followed_at_every_effort() -> None:
    first = {
        effort: {
            c.batch_size for c in make_design(rule="fitted", effort=effort).next_configurations([])
        }
        for effort in ("frugal", "quick")
    }

    # Of three sizes all are anchors, and each is searched from the start.
    assert first == {"frugal": set(SIZES), "quick": set(SIZES)}
