from io import StringIO
from pathlib import Path

import polars as pl
from rich.console import Console

import batchscope as bs
from batchscope.reports.terminal import show_runs
from batchscope.verbs.listing import list_runs

from ..conftest import make_task


def test_a_run_that_ended_before_the_budget_reads_as_stopped_in_every_form(tmp_path: Path) -> None:
    task = make_task(budget=bs.epochs(4))
    done = bs.study(
        task, batch_sizes=[8, 16], effort="frugal", store=str(tmp_path / "runs.db"), jobs=1
    )
    found = list_runs(done.store)
    shown = StringIO()

    show_runs(Console(file=shown, width=80), found)

    ended = {run.key: run.steps * run.configuration.batch_size for run in found.runs}
    longest = max(ended.values())
    said = {run["key"]: run["status"] for run in found.to_dict()["runs"]}  # type: ignore[index]
    assert {said[key] for key, examples in ended.items() if examples < longest / 2} == {"stopped"}
    assert {said[key] for key, examples in ended.items() if examples == longest} == {"finished"}
    rows = pl.read_csv(StringIO(found.frame.write_csv())).select("run", "status").unique()
    assert dict(rows.iter_rows()) == said
    stopped = list(said.values()).count("stopped")
    assert shown.getvalue().count("stopped") == stopped > 0
