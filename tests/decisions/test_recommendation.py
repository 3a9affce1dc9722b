import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from batchscope.budget import Target
from batchscope.decisions.cost import Prices
from batchscope.decisions.memory import MemoryNeed
from batchscope.decisions.odds import weigh_sizes
from batchscope.decisions.prediction import predict_training
from batchscope.decisions.recommendation import Recommendation, Spent, recommend_from
from batchscope.decisions.terms import PRICED, Terms
from batchscope.decisions.timings import Timings
from batchscope.errors import CannotTell
from batchscope.estimate import Estimate, Interval, NotIdentified
from batchscope.findings.analysis import find_fastest
from batchscope.findings.curves import Curve
from batchscope.findings.tuning import Ranking, tune_sizes

from ..findings.curves import analyze_losses, make_curve

LEVEL = 0.1
# Of the evaluations of a curve.
STEPS = range(0, 100, 10)


def make_study(
    rng: np.random.Generator, *, critical: float, overhead: float, seeds: int, noise: float = 0.05
) -> list[Curve]:
    """Curves that reach the target after 40 (1 + critical / B) steps of overhead + B seconds."""
    curves: list[Curve] = []
    for size in (8, 16, 32, 64, 128, 256, 512):
        for seed in range(seeds):
            needed = 40 * (1 + critical / size) * np.exp(rng.normal(0, noise))
            steps = np.linspace(0, 1000, 101)
            loss = (LEVEL ** (steps / needed)).tolist()
            curve = make_curve(size, seed=seed, loss=loss, step_seconds=1e-3 * (overhead + size))
            curves.append(curve)
    return curves


def recommend(
    curves: list[Curve],
    objective: str = "time",
    *,
    timed_again: Sequence[Mapping[int, Sequence[float]]] = (),
    memory: MemoryNeed | None = None,
    slowdowns: Mapping[int, Estimate] | None = None,
    **terms: Any,
) -> Recommendation:
    analysis = analyze_losses(curves, LEVEL)
    sizes = {size.batch_size for size in analysis.sizes}
    return recommend_from(
        analysis,
        terms=Terms(objective=objective, **terms),
        timings=Timings(
            seconds=dict.fromkeys(sizes, (0.01, 0.011, 0.0105)),
            again=timed_again,
            slowdowns=slowdowns or {},
        ),
        spent=Spent(runs=len(curves), examples=1, seconds=1.0),
        script_for=defaultdict(lambda: "script"),
        next_command="again",
        memory=memory,
    )


@pytest.mark.parametrize(("critical", "overhead"), [(64, 64), (256, 64), (16, 256)])
def test_the_fastest_size_is_near_the_root_of_overhead_times_critical_size(
    rng: np.random.Generator, critical: float, overhead: float
) -> None:
    # t = a + B and S = S0 (1 + c / B): the product is lowest at sqrt(a c); within one doubling,
    # where the product differs by at most 7%.
    chosen = recommend(make_study(rng, critical=critical, overhead=overhead, seeds=5))

    best = np.sqrt(critical * overhead)
    assert best / 2 <= chosen.batch_size <= best * 2
    assert chosen.batch_size in chosen.plateau


def test_what_reached_the_target_once_is_chosen_with_its_doubt_said() -> None:
    reaching, missing = [1.0, 0.3, 0.05], [1.0, 0.8, 0.6]
    curves = [
        make_curve(8, seed=0, loss=reaching, step_seconds=0.01),
        make_curve(8, seed=1, loss=missing, step_seconds=0.01),
        make_curve(16, seed=0, loss=reaching, step_seconds=0.02),
        make_curve(32, seed=0, loss=missing, step_seconds=0.01),
    ]

    found = recommend(curves)

    # (1 + 1) / (1 + 2) is more than (1 + 1) / (2 + 2), although 8 was faster.
    assert found.batch_size == 16
    assert found.doubt is not None
    assert "with 1 of 1" in found.doubt
    assert found.doubt in found.answer
    assert found.plateau == (16,)
    assert isinstance(found.predicted.seconds, NotIdentified)
    assert found.to_dict()["doubt"] == found.doubt


def test_where_no_run_reached_the_target_the_nearest_is_named() -> None:
    curves = [
        make_curve(8, loss=[1.0, 0.8, 0.6], step_seconds=0.01),
        make_curve(16, loss=[1.0, 0.5, 0.7], step_seconds=0.01),
    ]

    with pytest.raises(
        CannotTell, match=r"(?s)no run reached .*the nearest came batch\s+size 16 .*0.5"
    ):
        recommend(curves)


def test_a_target_that_an_untrained_network_has_is_refused() -> None:
    curves = [make_curve(8, seed=seed, loss=[0.05, 0.04], step_seconds=0.01) for seed in (0, 1)]

    with pytest.raises(CannotTell, match="an untrained network already has"):
        recommend(curves)


def test_a_target_that_most_runs_had_untrained_is_refused() -> None:
    curves = [
        make_curve(8, seed=seed, loss=[start, 0.04], step_seconds=0.01)
        for seed, start in enumerate((0.05, 0.05, 2.0))
    ]

    with pytest.raises(CannotTell, match="already has .*, with 2 of 3 runs"):
        recommend(curves)


def test_it_explains_itself_by_the_two_curves(rng: np.random.Generator) -> None:
    found = recommend(make_study(rng, critical=400, overhead=100, seeds=5))
    text = found.explain()

    assert text.startswith(found.answer)
    assert f"{found.batch_size:,}: " in text
    assert "ms per step = " in text
    assert found.next_command in text


def test_the_smallest_size_needs_the_fewest_examples(rng: np.random.Generator) -> None:
    chosen = recommend(make_study(rng, critical=64, overhead=64, seeds=5), "examples")

    assert chosen.batch_size == 8


def test_a_deadline_leaves_the_cheapest_of_those_that_keep_to_it(rng: np.random.Generator) -> None:
    curves = make_study(rng, critical=64, overhead=64, seeds=5)
    free = recommend(curves, "examples")
    assert isinstance(free.predicted.seconds, Interval)
    deadline = free.predicted.seconds.value / 2

    held = recommend(curves, "examples", deadline=deadline)

    assert held.batch_size > free.batch_size
    assert isinstance(held.predicted.seconds, Interval)
    assert held.predicted.seconds.value <= deadline
    assert any("keeps to the deadline" in reason for reason in held.reasons)
    with pytest.raises(CannotTell, match=r"the nearest\s+is batch size"):
        recommend(curves, "examples", deadline=deadline / 1000)


def test_sizes_that_a_limit_forbids_are_named_and_weighed_no_more(rng: np.random.Generator) -> None:
    curves = make_study(rng, critical=64, overhead=64, seeds=5)
    free = recommend(curves, "examples")
    assert isinstance(free.predicted.seconds, Interval)

    held = recommend(curves, "examples", deadline=free.predicted.seconds.value / 2)

    (said,) = (reason for reason in held.reasons if reason.startswith("Left out"))
    assert f" {free.batch_size}" in said
    assert free.batch_size in free.odds
    assert free.batch_size not in held.odds


def test_a_size_with_two_seeds_that_took_a_tenth_less_leaves_the_choice_in_doubt() -> None:
    usual = [30.0, 40.0, 54.0]
    curves = [
        make_curve(size, seed=seed, loss=[max(LEVEL ** (step / steps), 1e-6) for step in STEPS])
        for size, needed in ((8, [27.0, 30.0]), (16, usual))
        for seed, steps in enumerate(needed)
    ]

    found = recommend(curves)

    assert found.batch_size == 16
    assert found.doubt is not None
    assert "batch size 8 took less with its 2 seeds" in found.doubt


def test_a_limit_in_money_binds_as_the_deadline_of_its_seconds(rng: np.random.Generator) -> None:
    curves = make_study(rng, critical=64, overhead=64, seeds=5)
    free = recommend(curves, "examples")
    assert isinstance(free.predicted.seconds, Interval)
    most = free.predicted.seconds.value / 2
    prices = Prices(device_hour=3600.0)

    paid = recommend(curves, "examples", max_cost=2 * most, prices=prices, devices=2)
    timed = recommend(curves, "examples", deadline=most)
    assert paid.batch_size == timed.batch_size > free.batch_size
    assert isinstance(paid.usage.money, Interval)
    assert isinstance(paid.predicted.seconds, Interval)
    assert paid.usage.money.value == pytest.approx(2 * paid.predicted.seconds.value)

    with pytest.raises(CannotTell, match=r"within the\s+cost of 0.00100: the nearest"):
        recommend(curves, deadline=1e9, max_cost=1e-3, prices=prices)
    with pytest.raises(CannotTell, match=r"within the\s+deadline of 0.00100 s: the nearest"):
        recommend(curves, deadline=1e-3, max_cost=1e9, prices=prices)


@pytest.mark.parametrize("objective", PRICED)
def test_what_is_priced_by_the_second_is_least_where_time_is(
    rng: np.random.Generator, objective: str
) -> None:
    curves = make_study(rng, critical=64, overhead=64, seeds=5)
    prices = Prices(device_hour=2.0, kilowatt_hour=0.3, grams_per_kilowatt_hour=400.0)

    found = recommend(curves, objective, prices=prices, watts=300.0)

    assert found.objective == objective
    assert found.batch_size == recommend(curves).batch_size
    assert any(objective in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("objective", "power"),
    [("energy", 1.0), ("carbon", 1.0), ("energy=2", 1.0), ("time=1,energy=3", 0.75)],
)
def test_where_larger_batches_take_more_power_the_least_energy_is_at_a_smaller_one(
    rng: np.random.Generator, objective: str, power: float
) -> None:
    sizes = (8, 16, 32, 64, 128, 256, 512)
    curves = make_study(rng, critical=64, overhead=64, seeds=5, noise=0.02)
    watts = {size: 10.0 * size for size in sizes}
    prices = Prices(grams_per_kilowatt_hour=400.0)

    found = recommend(curves, objective, prices=prices, watts=watts)

    # Energy goes with (1 + 64 / B) (64 + B) B, which rises all the way; a weight of three fourths
    # takes the last B to that power.
    taken = {b: (1 + 64 / b) * (64 + b) * b**power for b in sizes}
    best = min(sizes, key=lambda b: taken[b])
    assert found.batch_size == best
    assert recommend(curves).batch_size > best
    assert all(taken[b] < 1.1 * taken[best] for b in found.plateau)
    reasons = " ".join(found.reasons)
    least = "weighted mean of time and energy" if "," in objective else objective.split("=")[0]
    assert f"the least {least}" in reasons
    assert "80.0 W at batch size 8" in reasons
    assert isinstance(found.usage.kilowatt_hours, Interval)
    assert isinstance(found.predicted.seconds, Interval)
    joules = found.usage.kilowatt_hours.value * 3.6e6
    assert joules == pytest.approx(found.predicted.seconds.value * watts[best])
    assert found.second_counts[64] == pytest.approx(8**power)
    lines = [line for line in found.explain().splitlines() if ", each counting " in line]
    assert len(lines) == len(sizes)
    assert recommend(curves).second_counts == {}


def test_a_limit_in_money_is_of_the_power_at_each_size(rng: np.random.Generator) -> None:
    curves = make_study(rng, critical=64, overhead=64, seeds=5)
    free = recommend(curves)
    assert isinstance(free.predicted.seconds, Interval)
    # From the best size on electricity is so dear that only smaller ones can be paid for.
    watts = {size: 100.0 if size < free.batch_size else 1e5 for size in (8, 16, 32, 64, 128)}
    price = Prices(kilowatt_hour=0.3)
    enough = 3 * free.predicted.seconds.value * 100.0 * 0.3 / 3.6e6

    found = recommend(curves, prices=price, watts=watts, max_cost=enough)

    assert found.batch_size < free.batch_size


def test_prediction_intervals_cover_a_fresh_training(rng: np.random.Generator) -> None:
    covered = []
    for _ in range(200):
        target = Target("val_loss", LEVEL, "<=")
        curves = make_study(rng, critical=64, overhead=64, seeds=3, noise=0.1)
        tuned = tune_sizes(curves, Ranking(quality="val_loss", higher=False, target=target))
        fastest = find_fastest(tuned, target, "seconds")
        assert fastest is not None
        chosen = next(size for size in tuned if size.batch_size == fastest.best)
        fresh = 40 * (1 + 64 / chosen.batch_size) * np.exp(rng.normal(0, 0.1))
        groups = [size.curves for size in tuned]
        steps = predict_training(chosen, groups, target, timings=(), unit="images").steps
        assert isinstance(steps, Interval)
        covered.append(steps.low <= fresh <= steps.high)
    # 95% nominal; picking the lowest mean costs a little, 200 draws have an error of 1.5 points.
    assert 0.90 <= np.mean(covered) <= 0.99


def test_a_size_that_missed_the_target_is_never_chosen(rng: np.random.Generator) -> None:
    curves = make_study(rng, critical=64, overhead=64, seeds=3)
    failed = make_curve(1024, seed=0, loss=[1.0, 0.9], step_seconds=1e-6)

    chosen = recommend([*curves, failed, make_curve(1024, seed=1, loss=[1.0, 0.8])])

    assert chosen.batch_size != 1024


def test_one_seed_of_each_size_is_enough_for_a_doubtful_choice_by_time_and_none_by_quality() -> (
    None
):
    curves = [make_curve(8, loss=[1.0, 0.01]), make_curve(16, loss=[1.0, 0.02])]

    assert recommend(curves).doubt is not None
    assert recommend(curves, "quality").batch_size in (8, 16)


def test_quality_prefers_the_fastest_of_the_equivalent(rng: np.random.Generator) -> None:
    curves = [
        make_curve(size, seed=seed, loss=[1, 0.5, 0.2 + rng.normal(0, 1e-4)], step_seconds=seconds)
        for size, seconds in ((8, 0.1), (16, 0.05), (32, 0.2))
        for seed in range(4)
    ]

    chosen = recommend(curves, "quality")

    assert chosen.batch_size == 16
    assert chosen.plateau == (8, 16, 32)
    # Its whole budget of 20 steps, whether or not it gets to a target.
    assert isinstance(chosen.predicted.seconds, Interval)
    assert chosen.predicted.seconds.value == pytest.approx(20 * 0.0105)


def make_unequal(rng: np.random.Generator) -> list[Curve]:
    """Of 8, which ends a little better, whole budgets take 4.3 s, of 32 they take 1.2 s."""
    return [
        make_curve(
            size,
            seed=seed,
            loss=[*np.linspace(2, 0.05, 41 if size == 8 else 11), end + rng.normal(0, 1e-4)],
        )
        for size, end in ((8, 0.02), (32, 0.04))
        for seed in range(3)
    ]


@pytest.mark.parametrize(("deadline", "chosen"), [(10.0, 8), (4.4, 8), (4.2, 32), (1.2, 32)])
def test_where_quality_counts_a_deadline_is_for_the_whole_budget(
    rng: np.random.Generator, deadline: float, chosen: int
) -> None:
    # At 8 the target is reached after about 390 steps of 410, in 4.1 s.
    found = recommend(make_unequal(rng), "quality", deadline=deadline)

    assert found.batch_size == chosen
    assert found.plateau == (chosen,)
    assert isinstance(found.predicted.steps, Interval)
    assert found.predicted.steps.value == pytest.approx({8: 410, 32: 110}[chosen])
    assert "for its whole budget" in found.reasons[0]


def test_a_deadline_that_no_whole_budget_keeps_to_names_no_target(
    rng: np.random.Generator,
) -> None:
    with pytest.raises(CannotTell, match="the end of its budget") as caught:
        recommend(make_unequal(rng), "quality", deadline=0.5)

    assert "target" not in str(caught.value)


def test_how_surely_a_size_takes_the_least_is_said_with_its_odds(rng: np.random.Generator) -> None:
    found = recommend(make_study(rng, critical=64, overhead=64, seeds=5), "examples")

    assert sum(odds.best for odds in found.odds.values()) == pytest.approx(1)
    # Examples are fewest at the smallest size: 40 (8 + 64) against 40 (16 + 64), 5% of noise.
    assert found.odds[8].best > 0.9
    assert any("the fewest examples with a " in said for said in found.reasons)


def test_few_timed_steps_leave_a_tenth_of_their_time_open(rng: np.random.Generator) -> None:
    analysis = recommend(make_study(rng, critical=64, overhead=64, seeds=5)).analysis
    assert analysis.target is not None
    few, many = (
        weigh_sizes(
            analysis.tuned, analysis.target, {b: (1e-3 * (64 + b),) * n for b in (32, 64, 128, 512)}
        )
        for n in (3, 30)
    )

    # 64 takes 8 units of time, 32 and 128 take 9 each, 512 takes 20.
    assert set(few) == {32, 64, 128, 512}
    assert 0.5 < few[64].best < many[64].best
    assert many[64].best > 0.95
    assert few[512].best < 0.01


def test_a_machine_whose_speed_drifts_is_said_to(rng: np.random.Generator) -> None:
    curves = make_study(rng, critical=64, overhead=64, seeds=5)
    sizes = (8, 16, 32, 64, 128, 256, 512)

    # The steps of a study are timed to take 10.5 ms.
    quiet, loud = (
        recommend(curves, timed_again=[dict.fromkeys(sizes, [seconds] * 9)])
        for seconds in (0.011, 0.014)
    )

    assert not any("drifts" in reason for reason in quiet.reasons)
    (said,) = [reason for reason in loud.reasons if "drifts" in reason]
    assert "a step took 10.5 and 14.0 ms" in said
    (step,) = [reason for reason in loud.reasons if reason.startswith("A step takes")]
    assert step.startswith("A step takes 12.1 ms (median of 3, at the mean speed before and after")
    assert isinstance(quiet.predicted.seconds, Interval)
    assert isinstance(loud.predicted.seconds, Interval)
    # The mean in the log of both times.
    assert loud.predicted.seconds.value / quiet.predicted.seconds.value == pytest.approx(
        math.sqrt(0.014 / 0.011)
    )
    assert loud.predicted.seconds.high > quiet.predicted.seconds.high


def test_a_time_at_which_other_programs_ran_is_told_by_a_third_and_does_not_count(
    rng: np.random.Generator,
) -> None:
    curves = make_study(rng, critical=64, overhead=64, seeds=5)

    # The steps of a study are timed to take 10.5 ms.
    alike, odd = (
        recommend(curves, timed_again=[{64: [first] * 9}, {64: [0.011] * 9}])
        for first in (0.011, 0.055)
    )

    (said,) = [reason for reason in odd.reasons if "Other programs" in reason]
    assert "slowed the timing after them" in said
    assert "a step took 11.0, 55.0 and 11.0 ms in the slowest third of each" in said
    assert isinstance(alike.predicted.seconds, Interval)
    assert isinstance(odd.predicted.seconds, Interval)
    assert odd.predicted.seconds.value == pytest.approx(alike.predicted.seconds.value, rel=0.05)
    assert odd.predicted.seconds.high < 1.3 * alike.predicted.seconds.high


def test_two_seeds_that_got_there_do_not_give_way_to_three_of_which_one_missed() -> None:
    reaching, missing = [1.0, 0.3, 0.05], [1.0, 0.8, 0.6]
    curves = [make_curve(8, seed=seed, loss=reaching) for seed in (0, 1)] + [
        make_curve(16, seed=seed, loss=loss)
        for seed, loss in enumerate((reaching, reaching, missing))
    ]

    found = recommend(curves)

    assert (found.batch_size, found.doubt) == (8, None)


@pytest.mark.parametrize(("ahead", "chosen"), [(1.5, 16), (6.0, 8)])
def test_two_seeds_beat_three_only_where_they_are_ahead_by_more_than_luck(
    ahead: float, chosen: int
) -> None:
    # Steps to the target of three seeds that deviate by 0.3 in their logs.
    usual = [30.0, 40.0, 54.0]
    curves = [
        make_curve(size, seed=seed, loss=[max(LEVEL ** (step / steps), 1e-6) for step in STEPS])
        for size, needed in ((8, [40 / ahead, 44 / ahead]), (16, usual))
        for seed, steps in enumerate(needed)
    ]

    assert recommend(curves).batch_size == chosen


def test_what_accumulating_takes_counts_in_the_choice_and_in_its_time(
    rng: np.random.Generator,
) -> None:
    curves = make_study(rng, critical=64, overhead=64, seeds=5)
    need = MemoryNeed(
        limit_bytes=2**20, fixed_bytes=0, bytes_per_example=2**15, at_most=32, can_split=True
    )

    def slow(by: float) -> dict[int, Estimate]:
        ratio = Interval(value=by, low=by / 1.1, high=by * 1.1, unit="")
        return dict.fromkeys((64, 128, 256, 512), ratio)

    whole = recommend(curves)
    little, much = (recommend(curves, memory=need, slowdowns=slow(by)) for by in (1.02, 3.0))

    # 64 takes 8 units of time, 32 takes 9.
    assert (whole.batch_size, little.batch_size, much.batch_size) == (64, 64, 32)
    assert (little.micro_batch, little.accumulation) == (32, 2)
    assert (much.micro_batch, much.accumulation) == (32, 1)
    assert isinstance(whole.predicted.seconds, Interval)
    assert isinstance(little.predicted.seconds, Interval)
    assert little.predicted.seconds.value == pytest.approx(1.02 * whole.predicted.seconds.value)
    assert little.predicted.seconds.high > 1.02 * whole.predicted.seconds.high
    assert any("takes 1.020 (0.927 to 1.122) times as long" in said for said in little.reasons)
    lines = {said.partition(":")[0]: said for said in much.explain().splitlines()}
    assert "per accumulated step" in lines["64"]
    assert "accumulated" not in lines["32"]
    # Beside the choice, which is not accumulated, the largest size's time is three times as long.
    largest = [
        next(said for said in found.reasons if "at batch size 512" in said)
        for found in (whole, much)
    ]
    assert largest[0] != largest[1]


def test_of_sizes_that_are_as_good_the_fastest_to_accumulate_is_chosen(
    rng: np.random.Generator,
) -> None:
    curves = [
        make_curve(size, seed=seed, loss=[1, 0.5, 0.2 + rng.normal(0, 1e-4)], step_seconds=seconds)
        for size, seconds in ((8, 0.1), (16, 0.05))
        for seed in range(4)
    ]
    ratio = Interval(value=3.0, low=2.9, high=3.1, unit="")

    assert recommend(curves, "quality").batch_size == 16
    assert recommend(curves, "quality", slowdowns={16: ratio}).batch_size == 8


def test_of_several_devices_each_has_its_share_of_the_batch(rng: np.random.Generator) -> None:
    found = recommend(make_study(rng, critical=64, overhead=64, seeds=5), devices=2)

    assert (found.batch_size, found.micro_batch, found.accumulation) == (64, 32, 1)
    assert any("The micro-batch is 32 on each of 2 devices" in said for said in found.reasons)


def test_a_limit_is_of_what_training_takes_on_a_machine_that_became_slower(
    rng: np.random.Generator,
) -> None:
    curves = make_study(rng, critical=64, overhead=64, seeds=5)

    # Steps take 10.5 ms before the runs; 512 and 256 need 45 and 50 of them, others 60 or more.
    assert recommend(curves, deadline=0.55).batch_size == 256
    # At half the speed after the runs it is 1.4 times as long, of one size timed again as of all.
    with pytest.raises(CannotTell, match=r"the\s+nearest\s+is\s+batch\s+size\s+512"):
        recommend(curves, deadline=0.55, timed_again=[{64: [0.021] * 9}])
