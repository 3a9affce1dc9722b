import math

import numpy as np
import pytest

from batchscope.decisions.recurring.history import History, Outcome
from batchscope.decisions.recurring.job import Direction


def outcome(size: int, epochs: float, *, reached: bool = True, **others: object) -> Outcome:
    values: dict[str, object] = {
        "power_limit": None,
        "cost": 2.0 * epochs,
        "stopped": False,
        "progress": {},
    }
    return Outcome(batch_size=size, epochs=epochs, reached=reached, **values | others)  # type: ignore[arg-type]


def test_the_spread_between_runs_is_measured_and_begins_at_a_tenth() -> None:
    history = History(100)
    assert history.spread() == pytest.approx(0.1)

    rng = np.random.default_rng(0)
    for _ in range(400):
        history.add(outcome(64, 40 * math.exp(0.3 * rng.standard_normal())))

    # 400 draws: one deviation of their standard deviation is 3.5%.
    assert history.spread() == pytest.approx(0.3, rel=0.11)


def test_a_stopped_run_tells_by_the_level_that_it_had_passed() -> None:
    history = History(100)
    history.add(outcome(64, 20, progress={0.5: 5.0, 0.7: 10.0}))
    stopped = outcome(128, 8, reached=False, stopped=True, progress={0.5: 8.0})
    history.add(stopped)

    seen = {s.at: s for s in history.see_epochs([64, 128])}
    # The other run needed four times the epochs that it had at this level.
    assert seen[1].value == pytest.approx(math.log(32))
    assert not seen[1].is_bound
    assert seen[1].variance > seen[0].variance


@pytest.mark.parametrize("direction", ["max", "min"])
def test_between_two_levels_what_is_left_is_interpolated_up_to_the_target(
    direction: Direction,
) -> None:
    sign = 1 if direction == "max" else -1
    history = History(100, target=0.9 * sign, direction=direction)
    history.add(outcome(64, 20, progress={0.5 * sign: 5.0, 0.7 * sign: 10.0}))
    history.add(outcome(128, 8, reached=False, stopped=True, progress={0.6 * sign: 8.0}))
    history.add(outcome(256, 8, reached=False, stopped=True, progress={0.8 * sign: 8.0}))

    seen = {s.at: s.value for s in history.see_epochs([64, 128, 256])}

    # In logs half-way between four times and twice, and between twice and once.
    assert seen[1] == pytest.approx(math.log(8 * math.sqrt(8)))
    assert seen[2] == pytest.approx(math.log(8 * math.sqrt(2)))


def test_a_failure_without_levels_is_a_bound() -> None:
    history = History(100)
    history.add(outcome(64, 100, reached=False))

    (seen,) = history.see_epochs([64])
    assert seen.is_bound
    assert seen.value == pytest.approx(math.log(100))


def test_drift_is_noticed_and_everything_before_it_forgotten() -> None:
    history = History(100)
    for size, epochs in [(64, 10), (128, 12), (64, 11), (64, 10), (64, 10)]:
        assert history.add(outcome(size, epochs)) is None
    assert history.add(outcome(64, 30)) is None

    assert history.add(outcome(64, 28)) == "epochs"
    assert [s.at for s in history.see_epochs([64, 128])] == [0]
    assert math.exp(history.see_epochs([64, 128])[0].value) == pytest.approx(29, rel=0.01)


def test_failures_after_long_success_are_drift_and_those_that_chance_explains_are_not() -> None:
    def fail_after(reached: int) -> int:
        """How many failures in a row are taken for drift."""
        history = History(100)
        for _ in range(reached):
            history.add(outcome(64, 10))
        for failures in range(1, 20):
            failed = outcome(64, 100, reached=False)
            if history.add(failed) == "share of runs that fail":
                return failures
        return 20

    assert fail_after(30) == 2
    assert 2 < fail_after(3) < 6

    rng = np.random.default_rng(0)
    history, false = History(100), 0
    for _ in range(2000):
        # A fifth fail, all along.
        one = outcome(64, 10, reached=rng.random() > 0.2)
        false += history.add(one) is not None
    # Once in 1,000 per look would be 2; rows of failures overlap.
    assert false <= 4


def test_what_is_given_up_late_has_failed_and_what_may_still_have_won_has_not() -> None:
    history = History(100)
    for epochs in (10, 11, 9, 10):
        history.add(outcome(64, epochs))
    for epochs in (10, 30):
        history.add(outcome(64, epochs, reached=False, stopped=True))
    assert history.count([64]) == ([4], [1], [1])

    # Given up where it had more likely failed, whatever its epochs.
    history.add(outcome(64, 11, reached=False, stopped=True, is_late=True))
    assert history.count([64]) == ([4], [2], [1])


def test_runs_given_up_late_one_after_another_are_drift_and_bound_what_comes() -> None:
    history = History(100)
    for _ in range(20):
        history.add(outcome(64, 10))
    late = [history.add(outcome(64, 20, reached=False, stopped=True)) for _ in range(2)]

    assert late == [None, "share of runs that fail"]
    assert history.count([64]) == ([0], [0], [2])
    assert [s.value for s in history.see_epochs([64])] == [math.log(20)] * 2


def test_all_failures_count_though_few_are_looked_at_one_by_one() -> None:
    history = History(100)
    history.add(outcome(32, 10))
    for _ in range(50):
        history.add(outcome(64, 100, reached=False))

    assert sum(s.count for s in history.see_epochs([32, 64]) if s.is_bound) == 50
    assert len(history.see_epochs([32, 64])) < 12


def test_parts_of_an_epoch_are_told_from_whole_ones() -> None:
    whole, parts = History(100), History(100)
    whole.add(outcome(64, 1.0))
    parts.add(outcome(64, 0.25))

    (of_whole,), (of_parts,) = whole.see_epochs([64]), parts.see_epochs([64])
    assert math.exp(of_whole.value) == pytest.approx(1)
    assert math.exp(of_parts.value) == pytest.approx(0.25)
    # A whole epoch may have been any part of it.
    assert of_whole.variance == pytest.approx(of_parts.variance + 1 / 12)
    assert (whole.least_epochs, parts.least_epochs < 0.01) == (1, True)


def test_runs_that_do_not_change_are_seldom_taken_for_drift() -> None:
    rng = np.random.default_rng(1)
    false = 0
    for _ in range(200):
        history = History(100)
        for _ in range(50):
            # As whole numbers with a long tail, as epochs are.
            one = outcome(64, float(np.ceil(4 * math.exp(0.15 * abs(rng.standard_normal())))))
            false += history.add(one) is not None

    # Once in 1,000 per look would be 10 of 10,000; looks overlap.
    assert false <= 20
