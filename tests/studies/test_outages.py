import logging
from pathlib import Path

import pytest

import batchscope as bs
from batchscope.errors import StoreError
from batchscope.studies.outages import through_outages
from batchscope.studies.progress import Unwatched

from ..conftest import PostgreSQL, make_task


class StopAfterOneRun(Unwatched):
    """Takes the database away as soon as a run is kept."""

    def __init__(self, server: PostgreSQL) -> None:
        self._server = server
        self.stopped = False

    def end(self, label: str, *, runs: int = 0) -> None:
        if label.startswith("batch") and not self.stopped:
            self.stopped = True
            self._server.stop()


class StartWhenMissed(logging.Handler):
    """Brings it back once somebody waits for it."""

    def __init__(self, server: PostgreSQL) -> None:
        super().__init__()
        self._server = server
        self.missed = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.missed += 1
        self._server.start()


def test_a_study_waits_for_a_database_that_goes_away_and_goes_on(
    postgresql: str, postgresql_server: PostgreSQL, tmp_path: Path
) -> None:
    options = {"batch_sizes": [8, 16], "learning_rates": [0.1, 0.3], "seeds": 2, "jobs": 1}
    undisturbed = bs.study(make_task(), store=f"{tmp_path}/u.db", **options)
    watcher, handler = StopAfterOneRun(postgresql_server), StartWhenMissed(postgresql_server)
    logging.getLogger("batchscope").addHandler(handler)
    try:
        found = bs.study(make_task(), store=postgresql, watcher=watcher, **options)
    finally:
        logging.getLogger("batchscope").removeHandler(handler)

    assert watcher.stopped
    assert handler.missed == 1
    assert [run.key for run in found.runs] == [run.key for run in undisturbed.runs]


def test_a_refusal_that_waiting_does_not_mend_is_raised_at_once() -> None:
    asked: list[bool] = []

    def refuse(again: bool) -> None:
        asked.append(again)
        raise StoreError("the disk is full", where="here", expected="room", do="make room")

    with pytest.raises(StoreError, match="disk is full"):
        through_outages(refuse)
    assert asked == [False]
