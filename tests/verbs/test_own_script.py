"""A task of one's own, from a script without a main guard and from a notebook."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from ..command import run_command
from ..conftest import SMALL_TASK

VERBS = """
options = dict(batch_sizes=[8, 16], effort="quick", store="mine.db", jobs=2)
print(bs.profile(task, batch_sizes=[8, 16], store="mine.db").smallest_efficient)
study = bs.study(task, budget=bs.epochs(2), **options)
print(len(study.runs))
print(bs.recommend(task, budget=bs.epochs(2), **options).batch_size)
print(bs.report(study, "mine.html"))
"""


def test_a_script_without_a_main_guard_uses_every_verb(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SMALL_TASK + VERBS)

    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "mine.html")
    # Once for each verb: a worker that ran the script again would print as well.
    assert len(done.stdout.splitlines()) == 4


@pytest.mark.slow
def test_a_notebook_uses_every_verb_and_shows_tables(tmp_path: Path) -> None:
    cells = [
        SMALL_TASK,
        VERBS,
        "bs.table(study)",
        "bs.recommend(task, budget=bs.epochs(2), **options)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])

    NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()

    assert (tmp_path / "mine.html").exists()
    shown = notebook.cells[2].outputs[0]["data"]
    assert "<table" in shown["text/html"]
    assert "<table" in notebook.cells[3].outputs[0]["data"]["text/html"]


def test_twenty_lines_without_metrics_or_a_test_set_go_through_the_command(
    tmp_path: Path,
) -> None:
    (tmp_path / "mytask.py").write_text(SMALL_TASK)
    assert len(SMALL_TASK.strip().splitlines()) <= 20

    for verb in ("profile", "study", "recommend"):
        sizes = ("--batch-sizes", "8,16")
        done = run_command(verb, "mytask.py:task", *sizes, folder=tmp_path)
        assert done.returncode == 0, done.stderr
    page = run_command("report", "batchscope.db", folder=tmp_path)

    assert "no test data" in (tmp_path / "batchscope-report.html").read_text()
    assert page.returncode == 0
