import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
import torch

import batchscope as bs
from batchscope.errors import StoreError
from batchscope.records import Progress, Run
from batchscope.studies import schema
from batchscope.studies.claims import (
    LEASE_SECONDS,
    claim,
    read_claims,
    release,
    renew,
)
from batchscope.studies.in_workers import train_job
from batchscope.studies.plan import configure, make_plan
from batchscope.studies.store import Store
from batchscope.training.provenance import Origin

from ..conftest import fill, make_task
from .claimants import claim_by_processes

_NOBODY = 65534


def train_one(seed: int = 0, lr: float = 0.1) -> Run:
    task = make_task()
    plan = make_plan(task, device=torch.device("cpu"), batch_sizes=[16])
    configuration = configure(task, plan, "0" * 16, batch_size=16, lr=lr, seed=seed)
    (run,) = train_job(task, (configuration,), "cpu", Origin("test", ""), report=lambda _: None)
    return run


def as_text(run: Run) -> str:
    return repr(run)


def test_a_run_comes_back_as_it_went(store: Store) -> None:
    run = train_one()

    store.save_runs([run])

    (found,) = store.read_runs([run.key])
    # repr tells every digit of a float, and NaN from NaN.
    assert as_text(found) == as_text(run)


def test_a_run_is_kept_once(store: Store) -> None:
    store.save_runs([train_one()])
    store.save_runs([train_one()])

    assert len(store.read_runs()) == 1


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there\s+is\s+no\s+store"):
        Store(str(tmp_path / "missing.db"), create=False)

    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("milk, bread, and a good deal of butter")

    with pytest.raises(StoreError, match=r"is\s+not\s+a\s+store"):
        Store(str(path), create=True)

    assert path.read_text().startswith("milk")


def test_somebody_elses_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")

    with pytest.raises(StoreError, match=r"not\s+a\s+Batchscope\s+store"):
        Store(str(path), create=True)


@pytest.fixture
def frozen_folder() -> Iterator[Path]:
    """A folder that this process cannot write in, as nobody where it is root."""
    folder = Path(tempfile.mkdtemp())
    try:
        with closing(Store(str(folder / "runs.db"), create=True)) as store:
            store.save_runs([train_one()])
        folder.chmod(0o555)
        with as_nobody():
            yield folder
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


@contextlib.contextmanager
def as_nobody() -> Generator[None]:
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def test_a_store_where_nothing_can_be_written_is_read(frozen_folder: Path) -> None:
    with closing(Store(str(frozen_folder / "runs.db"), create=False)) as store:
        assert len(store.read_runs()) == 1
        with pytest.raises(StoreError, match="readonly"):
            store.save_task("0" * 16, name="mine", parts={}, facts={})

    assert [path.name for path in frozen_folder.iterdir()] == ["runs.db"]


def test_a_file_without_tables_is_said_to_be_empty_and_a_study_begins_in_it(tmp_path: Path) -> None:
    place = str(tmp_path / "r.db")
    # As a kill leaves it that comes between the file and its tables.
    Path(place).touch()

    with pytest.raises(StoreError, match=r"is\s+empty"):
        Store(place, create=False)
    with closing(Store(place, create=True)) as store:
        assert store.read_runs() == []


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "runs.db")
    Store(path, create=True).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE batchscope SET schema_version = {schema.SCHEMA_VERSION + 1}")

    with pytest.raises(StoreError, match=r"version\s+2"):
        Store(path, create=False)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot\s+write"):
        Store(str(tmp_path / "nowhere" / "runs.db"), create=True)


def test_a_full_disk_is_one_sentence_and_keeps_what_was_there(small_disk: Path) -> None:
    store = Store(str(small_disk / "runs.db"), create=True)
    store.save_runs([train_one()])
    filler = fill(small_disk, leave=50_000)

    with pytest.raises(StoreError, match="full"):
        for seed in range(1, 200):
            store.save_runs([train_one(seed)])
    filler.unlink()

    assert store.read_runs()[0].configuration.seed == 0
    store.save_runs([train_one(seed=500)])
    store.close()


@pytest.mark.parametrize("room", [0, 30_000, 300_000])
def test_a_store_that_finds_no_room_leaves_nothing_behind(small_disk: Path, room: int) -> None:
    filler = fill(small_disk, leave=room)

    with pytest.raises(StoreError, match="room"):
        Store(str(small_disk / "runs.db"), create=True)

    assert list(small_disk.iterdir()) == [filler]


def test_a_claim_keeps_others_out_until_it_is_given_up(store: Store) -> None:
    assert claim(store, "a")
    assert not claim(store, "a")

    release(store, ["a"])

    assert claim(store, "a")


def test_the_claim_of_a_dead_process_is_taken_at_once(store: Store) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    assert claim(store, "a")
    with store.engine.begin() as connection:
        connection.execute(schema.claims.update().values(process=dead.pid))

    assert claim(store, "a")


def test_a_process_number_given_out_again_is_not_the_owner(store: Store) -> None:
    assert claim(store, "a")
    with store.engine.begin() as connection:
        connection.execute(schema.claims.update().values(started=1.0))

    assert claim(store, "a")


def test_a_claim_of_another_machine_is_respected_while_its_lease_runs(store: Store) -> None:
    assert claim(store, "a", label="batch 8")
    with store.engine.begin() as connection:
        connection.execute(schema.claims.update().values(host="elsewhere", process=2**22 - 1))

    assert not claim(store, "a")
    (seen,) = read_claims(store)
    assert (seen.label, seen.owner) == ("batch 8", f"process {2**22 - 1} on elsewhere")

    with store.engine.begin() as connection:
        aged = schema.claims.c.renewed - LEASE_SECONDS
        connection.execute(schema.claims.update().values(renewed=aged))
    assert read_claims(store) == []
    assert claim(store, "a")


def test_a_renewed_claim_says_how_far_its_run_is(store: Store) -> None:
    assert claim(store, "a")
    with store.engine.begin() as connection:
        connection.execute(schema.claims.update().values(renewed=0.0))

    renew(store, {"a": Progress(share=0.5, loss=1.25), "of nobody": Progress(share=1, loss=None)})

    (seen,) = read_claims(store)
    assert seen.progress == Progress(share=0.5, loss=1.25)
    with store.engine.connect() as connection:
        assert connection.scalar(sa.select(schema.claims.c.renewed)) > 1e9


def make_old_store(folder: Path, *changes: str) -> str:
    """With a run, as it was before the changes that these statements undo."""
    place = str(folder / "old.db")
    with closing(Store(place, create=True)) as store:
        store.save_runs([train_one()])
        with store.engine.begin() as connection:
            for statement in changes:
                connection.exec_driver_sql(statement)
    with closing(Store(place, create=False)) as store:
        assert len(store.read_runs()) == 1
    return place


def test_a_store_from_before_leases_is_read_and_brought_up_to_date(tmp_path: Path) -> None:
    place = make_old_store(
        tmp_path,
        "ALTER TABLE claims DROP COLUMN renewed",
        "UPDATE batchscope SET schema_version = 1",
    )

    with closing(Store(place, create=True)) as store:
        assert claim(store, "a")
        assert len(store.read_runs()) == 1


def keep_answers(store: Store) -> None:
    assert store.read_answers("0" * 16) == {}
    store.save_answer("a", task="t", fingerprint="0" * 16, answer={"trace": 1.5})
    store.save_answer("b", task="t", fingerprint="0" * 16, answer=None)
    store.save_answer("c", task="t", fingerprint="1" * 16, answer=[1])
    # What is there stays.
    store.save_answer("a", task="t", fingerprint="0" * 16, answer=7)

    assert store.read_answers("0" * 16) == {"a": {"trace": 1.5}, "b": None}


def test_answers_are_kept_once_by_their_task(store: Store) -> None:
    keep_answers(store)


def test_a_store_from_before_power_was_kept_has_none_and_is_not_changed(tmp_path: Path) -> None:
    place = make_old_store(tmp_path, "DROP TABLE powers")

    with closing(Store(place, create=False)) as store:
        assert store.read_powers("0" * 16) == []
        assert "powers" not in sa.inspect(store.engine).get_table_names()


def test_a_store_from_before_answers_gets_room_for_them(tmp_path: Path) -> None:
    place = make_old_store(tmp_path, "DROP TABLE answers")

    with closing(Store(place, create=True)) as store:
        keep_answers(store)
        assert len(store.read_runs()) == 1


def test_a_finished_run_cannot_be_claimed(store: Store) -> None:
    run = train_one()
    assert claim(store, run.key)

    store.save_runs([run])

    assert not claim(store, run.key)


def test_postgresql_keeps_runs_and_claims_as_sqlite_does(postgresql: str) -> None:
    store = Store(postgresql, create=True)
    run = train_one()

    assert claim(store, run.key)
    assert not claim(store, run.key)
    store.save_runs([run])
    store.save_study("abc", task="t", fingerprint="0" * 16, plan={})
    store.add_to_study("abc", [run.key])

    assert as_text(store.read_study("abc")[0]) == as_text(run)
    assert not claim(store, run.key)
    keep_answers(store)
    store.close()


def test_an_unreachable_database_is_one_sentence() -> None:
    with pytest.raises(StoreError, match="the store failed"):
        Store("postgresql://nobody@127.0.0.1:9/none", create=True)


def test_a_budget_is_kept_to_the_last_example() -> None:
    task = make_task()
    plan = make_plan(
        task, device=torch.device("cpu"), batch_sizes=[16], budget=bs.examples(1_234_567)
    )
    configuration = configure(task, plan, "0" * 16, batch_size=16, lr=0.1, seed=0)

    assert configuration.to_dict()["budget"] == "1234567ex"


def test_processes_that_make_a_store_at_once_all_get_it(tmp_path: Path) -> None:
    code = (
        "import sys; from batchscope.studies.store import Store\n"
        "for n in range(5):\n"
        "    store = Store(f'{sys.argv[1]}/{n}.db', create=True)\n"
        "    store.save_study('abc', task='t', fingerprint='0' * 16, plan={})\n"
        "    assert len(store.list_studies()) == 1\n"
        "    store.close()\n"
    )
    makers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE)
        for _ in range(4)
    ]

    outcomes = [(maker.communicate(timeout=120)[1], maker.returncode) for maker in makers]

    assert [code for _, code in outcomes] == [0] * 4, outcomes


def test_a_run_and_its_store_work_over_a_url_as_over_a_path(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there\s+is\s+no\s+store"):
        Store(f"sqlite:///{tmp_path}/missing.db", create=False)

    assert not (tmp_path / "missing.db").exists()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_processes_that_claim_at_once_lose_no_run_and_train_none_twice(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place = str(tmp_path / "shared.db") if kind == "sqlite" else request.getfixturevalue(kind)
    before = len(Store(place, create=True).read_runs())

    finished = claim_by_processes(place, workers=4, runs=60)

    assert sorted(seed for mine in finished for seed in mine) == list(range(60))
    assert len(Store(place, create=False).read_runs()) == before + 60
