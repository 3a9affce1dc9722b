"""List the runs of a study."""

from contextlib import closing
from dataclasses import dataclass

import polars as pl

from batchscope.budget import parse_budget
from batchscope.findings.curves import tabulate_runs
from batchscope.records import Run
from batchscope.studies.store import Store
from batchscope.verbs.timings import read_step_seconds


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

    @property
    def statuses(self) -> dict[str, str]:
        """Run -> how it ended; one that spent less than the study's budget was stopped."""
        if self.frame.is_empty():
            return {}
        return dict(self.frame.select("run", "status").unique().iter_rows())

    def to_dict(self) -> dict[str, object]:
        """The runs as JSON, without their trajectories."""
        statuses = self.statuses
        return {
            "study": self.study,
            "task": self.task,
            "runs": [
                {
                    "key": run.key,
                    "status": statuses[run.key],
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
        seconds = read_step_seconds(store, row)
    return RunList(
        study=row["id"],
        task=row["task"],
        runs=runs,
        frame=tabulate_runs(runs, seconds, budget=parse_budget(row["plan"]["budget"])),
    )
