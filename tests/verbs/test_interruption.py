"""Kills at any moment lose at most the runs in flight, and change no result."""

import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from batchscope.studies.store import Store
from batchscope.verbs.recommending import read_recommendation

from ..command import run_command
from ..conftest import SMALL_TASK

# About a quarter of a second a run, so that kills fall into all parts of a study.
TASK = SMALL_TASK.replace("epochs(2)", "epochs(60)")
OPTIONS = ("--batch-sizes", "4,8,16", "--effort", "quick", "--json")


RACE = ("--objective", "examples", "--effort", "standard")


def command(*more: str, verb: str = "study") -> list[str]:
    return [sys.executable, "-m", "batchscope", verb, "mytask.py:task", *OPTIONS, *more]


def trajectories(folder: Path) -> dict[str, dict[str, tuple[float, ...]]]:
    """Every run, but for the clock."""
    store = Store(str(folder / "batchscope.db"), create=False)
    runs = store.read_runs()
    store.close()
    return {
        run.key: {
            name: values for name, values in run.trajectory.columns.items() if name != "seconds"
        }
        for run in runs
    }


def assert_same_runs(one: Path, other: Path) -> None:
    """The same runs; each its own program's to the bit, others' up to the order of sums."""
    mine, theirs = trajectories(one), trajectories(other)
    assert sorted(mine) == sorted(theirs)
    for key, columns in mine.items():
        assert list(columns) == list(theirs[key])
        for name, values in columns.items():
            np.testing.assert_allclose(values, theirs[key][name], rtol=1e-3, atol=1e-5)


def started(folder: Path) -> dict[str, str]:
    # A kill may come between the file and its tables, which the next command makes.
    store = Store(str(folder / "batchscope.db"), create=True)
    found = {run.key: run.provenance.started for run in store.read_runs()}
    store.close()
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "mytask.py").write_text(TASK)
    done = run_command(*command()[3:], folder=folder)
    assert done.returncode == 0, done.stderr
    return folder


def kill_at(
    folder: Path, seconds: float, how: signal.Signals, words: list[str] | None = None
) -> int:
    """Start the command, and kill it after so many seconds."""
    process = subprocess.Popen(
        words or command(), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(how)
    return process.wait(timeout=60)


def examples_answer(folder: Path) -> dict[str, Any]:
    """What the same runs recommend where examples count, without the times."""
    done = run_command(*command("--objective", "examples")[3:], folder=folder)
    assert done.returncode == 0, done.stderr
    answer: Any = read_recommendation(str(folder / "batchscope.db")).to_dict()
    keys = ("batch_size", "learning_rate", "plateau", "target")
    steps = [answer["predicted"]["steps"][name] for name in ("value", "low", "high")]
    return {key: answer[key] for key in keys} | {"steps": np.array(steps, dtype=float)}


def check(folder: Path, undisturbed: Path, before: dict[str, str]) -> None:
    done = run_command(*command()[3:], folder=folder)
    assert done.returncode == 0, done.stderr

    assert_same_runs(folder, undisturbed)
    after = started(folder)
    assert {key: after[key] for key in before} == before, "a finished run was trained again"

    # Each store has timed its own steps; examples to the target have no clock in them, and that
    # answer is the same.
    mine, theirs = (examples_answer(place) for place in (folder, undisturbed))
    np.testing.assert_allclose(mine.pop("steps"), theirs.pop("steps"), rtol=1e-3)
    assert mine == theirs
    assert_same_runs(folder, undisturbed)


def test_a_killed_study_goes_on_to_the_same_runs(tmp_path: Path, undisturbed: Path) -> None:
    (tmp_path / "mytask.py").write_text(TASK)
    kill_at(tmp_path, 9.0, signal.SIGKILL)
    before = started(tmp_path) if (tmp_path / "batchscope.db").exists() else {}

    check(tmp_path, undisturbed, before)


def test_a_killed_recommendation_goes_on_to_the_same_runs(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        (folder / "mytask.py").write_text(TASK)
    words = command(*RACE, verb="recommend")
    undisturbed = run_command(*words[3:], folder=whole)
    for seconds in (5.0, 6.5):
        kill_at(killed, seconds, signal.SIGKILL, words)

    done = run_command(*words[3:], folder=killed)

    assert done.returncode == undisturbed.returncode == 0, done.stderr
    assert_same_runs(killed, whole)
    assert json.loads(done.stdout)["batch_size"] == json.loads(undisturbed.stdout)["batch_size"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_at_random_moments_change_nothing(tmp_path: Path, undisturbed: Path) -> None:
    draw = random.Random(0)
    for number in range(4):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "mytask.py").write_text(TASK)
        before: dict[str, str] = {}
        for _ in range(5):
            kill_at(folder, draw.uniform(2.0, 12.0), signal.SIGKILL)
            if (folder / "batchscope.db").exists():
                now = started(folder)
                assert {key: now[key] for key in before} == before
                before = now
        check(folder, undisturbed, before)


def kill_workers(folder: Path, *, times: int, draw: random.Random) -> int:
    """Carry the command through while its workers are killed; returns how many were."""
    process = subprocess.Popen(
        command(), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    killed = 0
    while killed < times:
        try:
            process.wait(timeout=draw.uniform(0.5, 3.0))
            break
        except subprocess.TimeoutExpired:
            # Its one child is what workers are forked from.
            nurseries = psutil.Process(process.pid).children()
            workers = [worker for nursery in nurseries for worker in nursery.children()]
            # The one that times steps is no run's: without it there is nothing to go on with.
            if len(workers) == 2:
                draw.choice(workers).kill()
                killed += 1
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    return killed


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_of_workers_change_nothing(tmp_path: Path, undisturbed: Path) -> None:
    draw, killed = random.Random(1), 0
    for number in range(20):
        if killed >= 20:
            break
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "mytask.py").write_text(TASK)
        killed += kill_workers(folder, times=min(5, 20 - killed), draw=draw)
        check(folder, undisturbed, {})
    assert killed == 20


def test_ctrl_c_says_what_is_kept_and_exits_with_130(tmp_path: Path) -> None:
    (tmp_path / "mytask.py").write_text(TASK)
    process = subprocess.Popen(
        command(), cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    while not (line := process.stderr.readline()).startswith("About"):
        assert line, "it ended before training"

    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)

    assert process.returncode == 130
    assert output == ""
    assert "finished runs are kept in batchscope.db" in errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_two_processes_on_one_store_train_each_run_once(tmp_path: Path, undisturbed: Path) -> None:
    (tmp_path / "mytask.py").write_text(TASK)
    study = command("--jobs", "1")
    first, second = (
        subprocess.Popen(
            study, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    )
    outputs = [process.communicate(timeout=240) for process in (first, second)]

    assert [process.returncode for process in (first, second)] == [0, 0], outputs
    assert_same_runs(tmp_path, undisturbed)
    answers = [json.loads(output) for output, _ in outputs]
    assert answers[0]["runs"] == answers[1]["runs"] == len(trajectories(tmp_path))
    # What each trained adds up to the runs that there are: none was trained twice.
    assert sum(answer["trained"] for answer in answers) == answers[0]["runs"]
    store = Store(str(tmp_path / "batchscope.db"), create=False)
    assert len(store.list_studies()) == 1
    store.close()
