import math
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from batchscope import Advisor, CannotTell, InvalidInput, StoreError
from batchscope.studies import connection
from batchscope.studies.store import Store
from batchscope.verbs.advising import Trial

from ..command import SERVER

SIZES = [32, 64, 128, 256, 512, 1024]


def advisor(state: str | None = None, **others: object) -> Advisor:
    arguments: dict[str, object] = {"default": 512, "max_epochs": 200, "state": state} | others
    return Advisor(SIZES, **arguments)  # type: ignore[arg-type]


def epochs_of(size: int) -> float:
    return 10 * (1 + size / 100)


def cost_of(size: int) -> float:
    return 200 / size + 1


def test_of_these_jobs_128_costs_least_and_its_neighbours_little_more() -> None:
    least = epochs_of(128) * cost_of(128)
    over = {size: epochs_of(size) * cost_of(size) / least for size in SIZES}

    # What the tolerances below rest on: 1.1 takes 256 in, 1.15 still leaves 64 out.
    assert over == pytest.approx(
        {32: 1.64, 64: 1.16, 128: 1.0, 256: 1.09, 512: 1.46, 1024: 2.30}, abs=0.02
    )


def play(one: Advisor, times: int, *, scale: float = 1.0, seed: int = 0) -> list[int]:
    """Run jobs whose best batch size is 128 or its neighbours; the batch sizes of each run."""
    rng = np.random.default_rng(seed)
    chosen: list[int] = []
    done = 0
    while done < times:
        trial = one.ask()
        size = trial.batch_size
        needed = epochs_of(size) * scale * math.exp(0.08 * rng.standard_normal())
        each = cost_of(size)
        reached = needed * each <= (trial.stop_cost or math.inf)
        epochs = needed if reached else math.floor((trial.stop_cost or 0) / each)
        progress = [(share, share * epochs) for share in (0.25, 0.5)]
        one.tell(trial, cost=epochs * each, reached=reached, epochs=epochs, progress=progress)
        chosen.append(size)
        done += reached
    return chosen


def test_the_default_comes_first_and_the_best_is_found() -> None:
    one = advisor(recurrences=60)
    for size in SIZES:
        one.timed(size, cost_of(size))
    chosen = play(one, 60)

    best = min(SIZES, key=lambda size: epochs_of(size) * cost_of(size))
    assert chosen[0] == 512
    good = [
        size
        for size in chosen
        if epochs_of(size) * cost_of(size) <= 1.1 * epochs_of(best) * cost_of(best)
    ]
    assert len(good) >= 0.8 * len(chosen)


def test_without_timings_it_learns_costs_from_the_runs() -> None:
    chosen = play(advisor(recurrences=60), 60)

    late = Counter(chosen[30:]).most_common(1)[0][0]
    assert epochs_of(late) * cost_of(late) <= 1.15 * min(epochs_of(s) * cost_of(s) for s in SIZES)


def test_it_settles_says_so_and_looks_again_after_drift() -> None:
    one = advisor()
    for size in SIZES:
        one.timed(size, cost_of(size))
    play(one, 40)
    settled = one.ask()
    assert "nothing is to be gained" in settled.reason
    assert len({one.ask().batch_size for _ in range(5)}) == 1

    again = advisor()
    for size in SIZES:
        again.timed(size, cost_of(size))
    play(again, 40)
    play(again, 2, scale=3.0, seed=1)
    assert "of the last choice the epochs changed" in again.ask().reason


def test_steps_timed_on_another_machine_count_at_once() -> None:
    one = advisor()
    for size in SIZES:
        one.timed(size, cost_of(size))
    assert play(one, 40)[-1] in (128, 256)

    # There small batches cost ten times as much, so that 512 is best.
    for size in SIZES:
        one.timed(size, 2000 / size + 1)
    trial = one.ask()

    assert trial.batch_size in (512, 1024)
    assert "the timed cost per epoch changed: looking again" in trial.reason


@pytest.mark.parametrize("max_epochs", [25, 200])
def test_where_runs_fail_by_chance_no_batch_size_is_asked_for_over_and_over(
    max_epochs: int,
) -> None:
    # Three in ten fail; 1024 needs 42.7 epochs, and within 25 never gets there.
    costs = {size: 30 / size + 0.1 for size in SIZES}
    for seed in range(12):
        one = Advisor(
            SIZES, default=512, max_epochs=max_epochs, recurrences=60, state=None, seed=seed
        )
        for size in SIZES:
            one.timed(size, costs[size])
        rng = np.random.default_rng(seed)
        asked: Counter[int] = Counter()
        reached = 0
        while reached < 60 and asked.total() < 400:
            trial = one.ask()
            size = trial.batch_size
            asked[size] += 1
            needed = math.ceil(12 * (1 + size / 400) * math.exp(0.1 * rng.standard_normal()))
            fails = rng.random() < 0.3 or needed > max_epochs
            epochs = max_epochs if fails else needed
            most = (trial.stop_cost or 1e9) // (costs[size] * (1 - 1e-9))
            got = not fails and epochs <= most
            epochs = min(epochs, most)
            one.tell(trial, cost=epochs * costs[size], reached=got, epochs=epochs)
            reached += got

        # Of 60 that get there 86 are begun on average, and some are given up.
        assert asked.total() < 200, (seed, asked)


def test_a_run_of_the_best_that_is_given_up_on_a_slower_machine_has_not_failed() -> None:
    one = Advisor([64], default=64, max_epochs=100, state=None)
    for _ in range(12):
        one.record(64, cost=20, reached=True, epochs=20)
    one.record(64, cost=100, reached=False, epochs=100)
    for _ in range(2):
        trial = one.ask()
        assert trial.stop_cost is not None
        epochs = trial.stop_cost // 3
        one.tell(trial, cost=3 * epochs, reached=False, epochs=epochs)

    assert "of the last choice the cost per epoch changed" in one.ask().reason
    # Both epochs and the one failure are still known.
    assert one._record.history.count([64]) == ([12], [1], [2])


def test_a_second_tell_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    state = str(tmp_path / "advisor.db")
    one, other = advisor(state), advisor()
    for each in (one, other):
        trial = each.ask()
        each.tell(trial, cost=10, reached=True, epochs=5)

    with pytest.raises(InvalidInput, match="told of before"):
        one.tell(trial.id, cost=99, reached=False, epochs=1)
    assert advisor(state).ask() == other.ask()


def test_a_trial_of_another_advisor_is_refused() -> None:
    one, other = advisor(), advisor(default=64)
    one.ask()

    with pytest.raises(InvalidInput, match="a trial of this advisor"):
        one.tell(other.ask(), cost=1, reached=True, epochs=1)


def test_a_size_that_fails_at_once_is_left_also_under_a_limit_of_cost() -> None:
    asked: dict[float | None, list[int]] = {}
    for limit in (None, 100.0):
        one = Advisor([32, 64, 128], default=64, max_epochs=50, max_cost=limit, state=None)
        costs = {32: 4.0, 64: 2.0, 128: 1.0}
        for size, cost in costs.items():
            one.timed(size, cost)
        asked[limit] = []
        for _ in range(12):
            trial = one.ask()
            size = trial.batch_size
            asked[limit].append(size)
            if size == 128:
                one.tell(trial, cost=0, reached=False, epochs=0)
            else:
                one.tell(trial, cost=20 * costs[size], reached=True, epochs=20)

    assert asked[100.0] == asked[None]
    assert set(asked[None][-8:]) == {64}


def test_a_size_whose_first_epoch_costs_too_much_is_not_asked_for_again_and_has_not_failed() -> (
    None
):
    one = advisor(max_cost=100.0)
    first = one.ask()
    one.tell(first, cost=0, reached=False, epochs=0)
    later: list[int] = []
    for _ in range(8):
        trial = one.ask()
        later.append(trial.batch_size)
        epochs = epochs_of(trial.batch_size)
        one.tell(trial, cost=2 * epochs, reached=2 * epochs <= 100, epochs=epochs)

    assert first.batch_size not in later
    assert one._record.history.count(SIZES)[1] == [0] * len(SIZES)


def test_runs_given_up_for_their_cost_are_no_drift_of_epochs_and_no_successes() -> None:
    one = Advisor([64, 128, 256], default=128, max_epochs=50, max_cost=100, state=None)
    needed, slow = {64: 22, 128: 20, 256: 30}, 1.0
    reasons: list[str] = []
    for number in range(24):
        if number == 12:
            slow = 4.0
        trial = one.ask()
        each = slow * {64: 5.0, 128: 4.0, 256: 3.9}[trial.batch_size]
        epochs = needed[trial.batch_size]
        stop = trial.stop_cost or math.inf
        reached = epochs * each <= stop
        epochs = epochs if reached else int(stop // each)
        one.tell(trial, cost=epochs * each, reached=reached, epochs=epochs)
        reasons.append(one.ask().reason)

    told = [reason for reason in reasons if "changed" in reason]
    assert told
    assert all("the cost per epoch changed" in reason for reason in told)
    assert "no batch size is expected to reach the target within 50 epochs" in reasons[-1]
    assert "and a cost of 100" in reasons[-1]


@pytest.mark.parametrize("timings", [1, 3])
def test_what_runs_cost_beside_their_steps_changes_no_answer(timings: int) -> None:
    answers: list[list[int]] = []
    for beside in (1.0, 1.15):
        one = advisor()
        for size in SIZES * timings:
            one.timed(size, cost_of(size))
        answers.append([])
        for _ in range(16):
            trial = one.ask()
            assert "changed" not in trial.reason
            answers[-1].append(trial.batch_size)
            epochs = epochs_of(trial.batch_size)
            cost = beside * epochs * cost_of(trial.batch_size)
            one.tell(trial, cost=cost, reached=True, epochs=epochs)

    assert answers[0] == answers[1]


def test_what_could_not_be_kept_is_not_taken_and_bars_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = str(tmp_path / "advisor.db")
    monkeypatch.setattr(connection, "BUSY_PRAGMA", "PRAGMA busy_timeout=100")
    one, other = advisor(state), advisor(state)
    reader = sqlite3.connect(state, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM events").fetchall()
    with pytest.raises(StoreError, match="locked"):
        one.record(32, cost=1, reached=True, epochs=1)
    reader.close()

    fresh = advisor()
    for each in (other, fresh):
        each.record(64, cost=100, reached=True, epochs=20)
    assert one.ask() == fresh.ask()
    one.record(32, cost=1, reached=True, epochs=1)


def test_nothing_of_a_run_that_took_nothing_is_refused() -> None:
    one = advisor()
    one.tell(one.ask(), cost=0, reached=False, epochs=0)

    assert one.ask().batch_size != 512


def test_where_no_run_cost_anything_none_is_given_up_for_its_cost() -> None:
    one = advisor()
    one.tell(one.ask(), cost=0, reached=True, epochs=0)

    assert one.ask().stop_cost is None


def test_a_run_that_was_at_its_target_as_it_began_is_paid_for_as_an_epoch() -> None:
    one, other = advisor(), advisor()
    one.tell(one.ask(), cost=12.0, reached=True, epochs=0)
    other.tell(other.ask(), cost=12.0, reached=True, epochs=1)

    assert one.ask() == other.ask()


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"cost": -1.0}, "cost of -1"),
        ({"epochs": math.nan}, "epochs of nan"),
        ({"cost": "1"}, "cost of '1'"),
        ({"progress": [(0.5, -1.0)]}, "progress of"),
        ({"progress": {0.5: 3.0}}, "progress of"),
        ({"epochs": 2, "reached": False, "progress": [(0.7, 1), (0.9, 2)]}, "at the target of 0.8"),
        ({"reached": "no"}, "reached of 'no'"),
        ({"epochs": 400.0}, "after 400 epochs, and max_epochs of 200"),
        ({"progress": [(0.5, 3.0)]}, "in 1 epochs"),
        ({"epochs": 9, "progress": [(0.5, 7.0), (0.6, 3.0)]}, r"\(0.6, 3.0\)\] in 9 epochs"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(named: dict[str, object], said: str) -> None:
    one = advisor(target=0.8)
    trial = one.ask()
    good: dict[str, object] = {"cost": 1.0, "epochs": 1.0, "reached": True}

    with pytest.raises(InvalidInput, match=said):
        one.tell(trial, **good | named)  # type: ignore[arg-type]
    one.tell(trial, **good)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"default": 100}, "default of 100"),
        ({"max_epochs": 0}, "max_epochs of 0"),
        ({"recurrences": 0}, "recurrences of 0"),
        ({"direction": "up"}, "direction of 'up'"),
        ({"max_cost": -1.0}, "max_cost of -1"),
        ({"default": 64.5}, "default of 64.5"),
        ({"recurrences": 2.5}, "recurrences of 2.5"),
        ({"max_epochs": "ten"}, "max_epochs of 'ten'"),
        ({"target": math.nan}, "target of nan"),
        ({"power_limits": [100, 0]}, "power limit of 0"),
    ],
)
def test_settings_that_contradict_are_refused(named: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        advisor(**named)


def test_another_job_cannot_use_the_state(tmp_path: Path) -> None:
    state = str(tmp_path / "advisor.db")
    advisor(state)

    with pytest.raises(InvalidInput, match=r"default\s+512,\s+not\s+64"):
        advisor(state, default=64)


def test_a_file_that_is_no_state_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("nothing of the kind")

    with pytest.raises(StoreError, match="an SQLite file"):
        advisor(str(path))


def test_a_store_of_studies_is_no_state(tmp_path: Path) -> None:
    place = tmp_path / "batchscope.db"
    Store(str(place), create=True).close()

    with pytest.raises(StoreError, match=r"holds\s+studies"):
        advisor(str(place))


@pytest.mark.parametrize("made", ["CREATE TABLE notes (id)", "CREATE TABLE events (id, day)"])
def test_the_file_of_another_program_is_refused_and_left_alone(tmp_path: Path, made: str) -> None:
    place = tmp_path / "theirs.db"
    with closing(sqlite3.connect(place)) as theirs:
        theirs.execute(made)
    before = place.read_bytes()

    with pytest.raises(StoreError, match=r"another\s+program"):
        advisor(str(place))

    assert place.read_bytes() == before


def test_jobs_may_share_a_state_in_postgresql(postgresql: str) -> None:
    one, other = advisor(postgresql), advisor(postgresql)
    first = one.ask()
    other.tell(first.id, cost=10, reached=True, epochs=5)

    with pytest.raises(InvalidInput, match="told of before"):
        one.tell(first, cost=10, reached=True, epochs=5)
    assert int(other.ask().id) == int(first.id) + 1


def test_no_run_passes_the_users_limit() -> None:
    one = advisor(max_cost=30.0, recurrences=30)
    for size in SIZES:
        one.timed(size, cost_of(size))

    assert all((one.ask().stop_cost or math.inf) <= 30.0 for _ in range(4))


def test_a_run_that_is_lost_is_no_failure_and_may_still_be_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = advisor(lease_seconds=60)
    trial = one.ask()
    assert "open" in one.ask().reason
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 120)

    assert "open" not in one.ask().reason
    assert one.ask().reason
    one.tell(trial, cost=60, reached=True, epochs=40)


def ask_and_die(state: str, told: bool) -> int:
    trial = advisor(state).ask()
    if told:
        one = advisor(state)
        epochs = epochs_of(trial.batch_size)
        one.tell(trial, cost=epochs * cost_of(trial.batch_size), reached=True, epochs=epochs)
    return trial.batch_size


def test_eight_jobs_at_once_neither_wait_nor_all_try_the_same(tmp_path: Path) -> None:
    state = str(tmp_path / "advisor.db")
    one = advisor(state)
    for size in SIZES:
        one.timed(size, cost_of(size))
    one.tell(one.ask(), cost=epochs_of(512) * cost_of(512), reached=True, epochs=epochs_of(512))
    with SERVER.Pool(8) as pool:
        sizes = pool.starmap(ask_and_die, [(state, False)] * 8)

    assert len(set(sizes)) >= 3
    # None of them could win by what timings and the curve say: 32 costs seven times as much.
    assert 32 not in sizes
    with SERVER.Pool(8) as pool:
        pool.starmap(ask_and_die, [(state, True)] * 16)
    trial = advisor(state).ask()
    assert int(trial.id) == 1 + 8 + 16 + 1


def test_jobs_begun_before_any_is_told_of_spread_and_their_answers_settle_nothing() -> None:
    sizes = [8, 16, 32, 64, 128, 256, 512, 1024]
    one = Advisor(sizes, default=128, max_epochs=4000, state=None)

    def tell(trial: Trial) -> None:
        epochs = 20 * (1 + trial.batch_size / 20)
        cost = epochs * (200 / trial.batch_size + 50)
        one.tell(trial, cost=cost, reached=True, epochs=epochs)

    together = [one.ask() for _ in range(9)]
    assert len({trial.batch_size for trial in together}) >= 3
    assert all("a guess" in trial.reason for trial in together[1:])
    for trial in together:
        tell(trial)
    later: list[int] = []
    for _ in range(20):
        trial = one.ask()
        later.append(trial.batch_size)
        tell(trial)

    # It costs a third less than the next.
    assert set(later[-5:]) == {8}


def test_a_limit_below_one_epoch_says_what_one_takes() -> None:
    one = advisor(max_cost=1.0)
    for size in SIZES:
        one.timed(size, cost_of(size))

    with pytest.raises(CannotTell) as caught:
        one.ask()
    assert "one epoch costs 1.2" in caught.value.args[0]
    assert "at batch size 1024" in caught.value.args[0]


def test_runs_of_the_weeks_before_are_used() -> None:
    one = advisor(recurrences=20)
    for size in (64, 128, 256, 512):
        one.record(size, cost=epochs_of(size) * cost_of(size), reached=True, epochs=epochs_of(size))

    assert one.ask().batch_size in {64, 128, 256}


def test_numbers_of_numpy_are_taken(tmp_path: Path) -> None:
    one = Advisor(
        np.array(SIZES),  # type: ignore[arg-type]
        default=np.int64(512),  # type: ignore[arg-type]
        power_limits=np.array([100, 200]),  # type: ignore[arg-type]
        max_epochs=np.float64(100),
        state=str(tmp_path / "advisor.db"),
    )
    one.timed(np.int64(64), np.float64(3.0), np.int64(100))  # type: ignore[arg-type]
    one.tell(one.ask(), cost=np.float64(9), reached=np.bool_(True), epochs=np.int64(3))  # type: ignore[arg-type]

    assert one.ask().batch_size in SIZES


def test_of_power_limits_the_cheapest_is_taken() -> None:
    one = advisor(power_limits=[100, 200])
    for size in SIZES:
        one.timed(size, cost_of(size), power_limit=200)
        one.timed(size, 0.8 * cost_of(size), power_limit=100)

    assert one.ask().power_limit == 100
    with pytest.raises(InvalidInput, match="power limit of 150"):
        one.timed(64, 1.0, power_limit=150)


@pytest.mark.parametrize("power_limit", [None, 100.0])
def test_a_default_whose_epoch_costs_more_than_a_run_may_is_not_begun_with(
    power_limit: float | None,
) -> None:
    limits = None if power_limit is None else [power_limit]
    one = advisor(max_cost=150.0, default=1024, power_limits=limits)
    for size in SIZES:
        cost = 200.0 if size == 1024 else cost_of(size)
        one.timed(size, cost, power_limit=power_limit)

    assert one.ask().batch_size != 1024


def test_the_reason_says_what_has_run_and_what_has_failed() -> None:
    one = advisor(recurrences=40, default=64)
    for size in SIZES:
        one.timed(size, cost_of(size))
    one.tell(one.ask(), cost=120.0, reached=False, epochs=200)
    assert "a guess: no run has reached the target yet" in one.ask().reason

    # Of 256 many runs were good, and now they fail.
    other = advisor(default=256)
    for _ in range(30):
        other.record(256, cost=36.0 * cost_of(256), reached=True, epochs=36)
    for _ in range(2):
        other.record(256, cost=200 * cost_of(256), reached=False, epochs=200)
    reason = other.ask().reason
    assert "no run has reached the target yet since" in reason
    assert "the share of runs that fail changed" in reason
