import pytest
import torch

from batchscope.budget import Target, epochs, seconds
from batchscope.studies.cost import charge_timing, race_allowance, timing_allowance
from batchscope.studies.plan import Plan, make_plan

from ..conftest import make_task

TARGET = Target("val_loss", 0.5, "<=")


def plan_of(**changes: object) -> Plan:
    arguments: dict[str, object] = {"batch_sizes": [8, 32], "budget": epochs(10), "seeds": 5}
    return make_plan(make_task(), device=torch.device("cpu"), **(arguments | changes))  # type: ignore[arg-type]


def test_a_study_judged_by_its_end_times_steps_on_a_twentieth_of_one_run_per_size_and_seed() -> (
    None
):
    # 10 epochs of 1,000 examples, two sizes, five seeds.
    assert timing_allowance(plan_of(objective="quality"), 1000) == pytest.approx(5000)


@pytest.mark.parametrize("changes", [{"objective": "time"}, {"objective": "examples"}])
def test_a_study_of_time_or_examples_times_as_many_steps_as_it_takes(
    changes: dict[str, object],
) -> None:
    assert timing_allowance(plan_of(**changes), 1000) is None


def test_a_budget_of_seconds_has_no_examples_to_take_a_share_of() -> None:
    assert timing_allowance(plan_of(objective="quality", budget=seconds(3)), 1000) is None


@pytest.mark.parametrize(
    ("effort", "count", "runs"),
    # A grid has fifteen runs of each size.
    [("quick", 4, 3.0), ("quick", 6, 3.6), ("standard", 2, 4.5), ("standard", 3, 4.5)],
)
def test_a_race_may_spend_its_share_of_the_grid_or_a_few_whole_runs(
    effort: str, count: int, runs: float
) -> None:
    sizes = [2**power for power in range(3, 3 + count)]
    plan = plan_of(race=True, effort=effort, batch_sizes=sizes, target=TARGET)

    assert race_allowance(plan, 1000) == pytest.approx(runs * 10 * 1000)


def test_a_race_pays_for_a_timing_what_its_own_takes_whoever_made_it() -> None:
    plan = plan_of(race=True)

    own = 0.15 * race_allowance(plan, 1000)
    assert charge_timing(300, plan, 1000) == 300
    assert charge_timing(10**6, plan, 1000) == pytest.approx(own)
    # Three steps of a size are timed however few examples there are.
    assert charge_timing(10**6, plan, 1) == pytest.approx(3 * (8 + 32))
