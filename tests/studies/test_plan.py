import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from batchscope.errors import InvalidInput
from batchscope.studies.plan import Plan, default_batch_sizes, make_plan
from batchscope.studies.weighing import Weighing

from ..conftest import make_task

CPU = torch.device("cpu")


@given(st.integers(1, 10**6))
def test_default_sizes_are_powers_of_two_that_the_data_can_fill(train_size: int) -> None:
    sizes = default_batch_sizes(train_size)

    assert sizes
    assert all(size & (size - 1) == 0 for size in sizes)
    assert max(sizes) <= min(2048, max(1, train_size // 2))


@pytest.mark.parametrize(
    "wrong",
    [
        {"objective": "speed"},
        {"effort": "huge"},
        {"precision": "int4"},
        {"seeds": 0},
        {"batch_sizes": []},
        {"batch_sizes": [8, 32.5]},
        {"batch_sizes": [0]},
        {"base": 64},
        {"base": 64, "rule": "fitted"},
    ],
)
def test_what_there_is_not_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        make_plan(make_task(), device=CPU, **wrong)  # type: ignore[arg-type]


def test_batch_sizes_may_have_learning_rates_of_their_own() -> None:
    def plan(rates: object, **others: object) -> Plan:
        return make_plan(make_task(), device=CPU, learning_rates=rates, **others)  # type: ignore[arg-type]

    own = plan({16: [0.2, 0.1, 0.2], 8: [0.1]})

    assert own.batch_sizes == (8, 16)
    assert own.own_rates == ((8, (0.1,)), (16, (0.1, 0.2)))
    assert own.learning_rates == ()
    assert own == plan({"8": [0.1], "16": [0.1, 0.2]}, batch_sizes=[16, 8])
    shared = plan([0.1, 0.2], batch_sizes=[8, 16])
    assert shared.own_rates == ()
    assert own.study_id("0" * 16) != shared.study_id("0" * 16)


@pytest.mark.parametrize(
    ("rates", "others", "complaint"),
    [
        ({}, {}, "batch sizes of none"),
        ({8: []}, {}, "learning rates of none"),
        ({8: [0.1], 16: [-1.0]}, {}, "learning rates -1.0"),
        ({"many": [0.1]}, {}, "cannot be read"),
        ({8: 0.1}, {}, "cannot be read"),
        ({8: ["fast"]}, {}, "cannot be read"),
        ({8: [0.1]}, {"batch_sizes": [8, 16]}, "batch size 16 has no"),
        ({8: [0.1], 16: [0.1]}, {"batch_sizes": [8]}, "rates for 16, which is not"),
        ({8: [0.1]}, {"exhaustive": True}, "and the exhaustive grid"),
        ({8: [0.1]}, {"rule": "linear"}, "and the rule linear"),
    ],
)
def test_rates_of_batch_sizes_that_make_no_sense_are_refused(
    rates: object, others: dict[str, object], complaint: str
) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        make_plan(make_task(), device=CPU, learning_rates=rates, **others)  # type: ignore[arg-type]


def test_a_noise_scale_is_refused_where_no_search_leads_rates_by_it() -> None:
    def plan(**said: object) -> Plan:
        return make_plan(make_task(), device=CPU, noise_scale=64.0, **said)  # type: ignore[arg-type]

    assert plan(race=True).noise_scale == plan(effort="frugal").noise_scale == 64.0
    for said in ({}, {"race": True, "objective": "quality"}, {"effort": "frugal", "rule": "sqrt"}):
        with pytest.raises(InvalidInput, match="not led"):
            plan(**said)
    with pytest.raises(InvalidInput, match="a noise scale of -1"):
        make_plan(make_task(), device=CPU, race=True, noise_scale=-1.0)


def test_a_race_counts_steps_by_what_a_second_of_them_takes() -> None:
    def plan(factor: float, **others: object) -> Plan:
        return make_plan(
            make_task(),
            device=CPU,
            batch_sizes=[8, 16],
            weighing=Weighing(
                second_cost=lambda size: factor * size, terms={"objective": "energy"}
            ),
            **others,  # type: ignore[arg-type]
        )

    raced = plan(1.0, race=True)

    assert raced.step_costs({8: 1.0, 16: 3.0}) == {8: 1.0, 16: 6.0}
    # Other units are the same study; what is no race has no use for them.
    assert raced.study_id("0" * 16) == plan(0.3, race=True).study_id("0" * 16)
    alike = make_plan(make_task(), device=CPU, batch_sizes=[8, 16], race=True)
    assert raced.study_id("0" * 16) != alike.study_id("0" * 16)
    assert (plan(1.0).second_costs, plan(1.0).terms) == ((), {})
    assert raced.terms == {"objective": "energy"}
    flat = Weighing(second_cost=lambda _: 3.0, terms={"objective": "energy"})
    assert alike == make_plan(
        make_task(), device=CPU, batch_sizes=[8, 16], race=True, weighing=flat
    )


def test_plans_that_differ_are_different_studies() -> None:
    plans = [
        make_plan(make_task(), device=CPU, batch_sizes=sizes, seed=seed)
        for sizes in ([8], [8, 16])
        for seed in (0, 1)
    ]

    assert len({plan.study_id("0" * 16) for plan in plans}) == 4
    assert plans[0].study_id("0" * 16) == plans[0].study_id("0" * 16)
