"""List the runs of a study."""

from contextlib import closing
from dataclasses import dataclass

import polars as pl
import sqlalchemy as sa

from batchscope.budget import parse_budget
from batchscope.findings.curves import tabulate_runs
from batchscope.records import Measurement, Run
from batchscope.studies.speed import find_measurement, median_seconds
from batchscope.studies.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class RunList:
    """The runs of a study.

    Attributes:
        frame: a row per run and evaluation, what `analyze` reads.
    """

    study: str
    task: str
    runs: tuple[Run, ...]
    frame: pl.DataFrame

    def to_dict(self) -> dict[str, object]:
        """The runs as JSON, without their trajectories."""
        return {
            "study": self.study,
            "task": self.task,
            "runs": [
                {
                    "key": run.key,
                    "status": run.status,
                    "steps": run.steps,
                    **run.configuration.to_dict(),
                    "provenance": run.provenance.to_dict(),
                }
                for run in self.runs
            ],
        }


def list_runs(place: str, *, which: str | None = None) -> RunList:
    """The runs of a study in a store.

    Raises:
        StoreError: there is no such store or study.
    """
    with closing(Store(place, create=False)) as store:
        row = store.find_study(which)
        runs = tuple(store.read_study(row["id"]))
        measured = read_measurement(store, row)
    return RunList(
        study=row["id"],
        task=row["task"],
        runs=runs,
        frame=tabulate_runs(
            runs, median_seconds(measured), budget=parse_budget(row["plan"]["budget"])
        ),
    )


def read_measurement(store: Store, row: sa.RowMapping) -> Measurement | None:
    """The step times of a study's task at all of its sizes, the latest, wherever measured."""
    plan = row["plan"]
    return find_measurement(
        store,
        row["fingerprint"],
        precision=plan["precision"],
        device_kind=plan["device_kind"],
        batch_sizes=plan["batch_sizes"],
    )
