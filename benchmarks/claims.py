"""Sixteen workers claim and finish 10,000 runs of no work: the file beside the server.

A PostgreSQL is needed: BATCHSCOPE_BENCH_POSTGRESQL=postgresql://user@host/empty-database
"""

import os
import tempfile
import time
from contextlib import closing

from tests.studies.claimants import claim_by_processes

from batchscope.studies.store import Store
from benchmarks.row import Row, compare

WORKERS, RUNS = 16, 10_000


def measure() -> list[Row]:
    server = os.environ["BATCHSCOPE_BENCH_POSTGRESQL"]
    return [
        compare(
            "claims",
            module="claims",
            what=f"{WORKERS} workers claim and finish {RUNS:,} runs of no work, SQLite",
            against="PostgreSQL",
            unit="s",
            ours=_time_file,
            theirs=lambda: _time(server),
            pairs=1,
        )
    ]


def _time_file() -> float:
    with tempfile.TemporaryDirectory() as folder:
        return _time(f"{folder}/store.db")


def _time(place: str) -> float:
    with closing(Store(place, create=True)) as store:
        assert not store.read_runs()
        began = time.perf_counter()
        finished = claim_by_processes(place, workers=WORKERS, runs=RUNS)
        seconds = time.perf_counter() - began
        assert sorted(seed for mine in finished for seed in mine) == list(range(RUNS))
        assert len(store.read_runs()) == RUNS
    print(f"{place.partition(':')[0]}: {RUNS / seconds:.0f} claims per second", flush=True)
    return seconds
