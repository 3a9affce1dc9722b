"""Processes that claim runs of no work from one store, each in an order of its own."""

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from batchscope.budget import epochs
from batchscope.records import Configuration, Provenance, Run, Trajectory
from batchscope.studies.claims import claim
from batchscope.studies.store import Store

# From where these processes can import this module.
_ROOT = Path(__file__).parents[2]
CONFIGURATION = Configuration(
    fingerprint="0" * 16,
    batch_size=8,
    micro_batch=8,
    optimizer="SGD",
    hyper_parameters={"lr": 0.1},
    seed=0,
    budget=epochs(1),
    precision="float32",
    device_kind="cpu",
    torch_version="none",
)
PROVENANCE = Provenance(
    device="none",
    host="none",
    threads=1,
    python_version="",
    torch_version="",
    batchscope_version="",
    command="",
    commit="",
    started="",
    load_average=0.0,
    seconds=0.0,
)


def claim_all(place: str, worker: int, runs: int) -> list[int]:
    """Claim and finish whatever is free; returns the seeds of the runs that were this worker's."""
    seeds = list(range(runs))
    random.Random(worker).shuffle(seeds)
    mine: list[int] = []
    with closing(Store(place, create=False)) as store:
        for seed in seeds:
            configuration = replace(CONFIGURATION, seed=seed)
            if claim(store, configuration.key):
                run = Run(
                    task="nothing",
                    configuration=configuration,
                    status="finished",
                    steps=0,
                    trajectory=Trajectory(columns={}),
                    provenance=PROVENANCE,
                )
                store.save_runs([run])
                mine.append(seed)
    return mine


def claim_by_processes(place: str, *, workers: int, runs: int) -> Sequence[list[int]]:
    """What each of so many processes finished."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.studies.claimants", place, str(worker), str(runs)],
            cwd=_ROOT,
            stdout=subprocess.PIPE,
        )
        for worker in range(workers)
    ]
    return [json.loads(process.communicate()[0]) for process in started]


if __name__ == "__main__":
    print(json.dumps(claim_all(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
