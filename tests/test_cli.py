"""The command as a person runs it: each call is a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from batchscope.verbs.example_runs import write_example
from batchscope.verbs.recommending import read_recommendation

from .command import run_command
from .conftest import SMALL_TASK, fill

QUICK = ("--batch-sizes", "8,16", "--effort", "quick", "--jobs", "1")


def recommend(folder: Path, *more: str, task: str = "mytask.py:task"):
    return run_command("recommend", task, *QUICK, *more, folder=folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a recommendation was made."""
    made = tmp_path_factory.mktemp("made")
    (made / "mytask.py").write_text(SMALL_TASK)
    done = recommend(made)
    assert done.returncode == 0, done.stderr
    return made


def test_the_last_line_is_the_absolute_path_of_the_page_alone(folder: Path) -> None:
    done = recommend(folder)

    assert done.stdout.splitlines()[-1] == str(folder / "batchscope-report.html")
    assert "Use batch size" in done.stdout
    assert "torch.optim.SGD(" in done.stdout


def test_a_second_call_trains_nothing(folder: Path) -> None:
    done = recommend(folder)

    assert "are in the store" in done.stderr


def test_output_fits_80_columns(folder: Path) -> None:
    done = recommend(folder)

    lines = [*done.stdout.splitlines()[:-1], *done.stderr.splitlines()]
    assert max(map(len, lines)) <= 80


def test_json_alone_is_on_standard_output(folder: Path) -> None:
    document = json.loads(recommend(folder, "--json").stdout)

    assert {
        "batch_size",
        "learning_rate",
        "micro_batch",
        "accumulation",
        "plateau",
        "predicted",
        "spent",
        "reasons",
        "report",
    } <= set(document)
    assert document["batch_size"] in document["plateau"]
    assert set(document["predicted"]) == {"seconds", "steps", "examples"}
    spent = {"runs", "examples", "seconds", "evaluated", "full_runs", "share_of_grid"}
    assert set(document["spent"]) == spent
    for estimate in document["predicted"].values():
        assert {"value", "low", "high", "unit", "confidence"} <= set(estimate)


def test_terms_are_said_in_the_answer_on_the_page_and_in_the_next_command(folder: Path) -> None:
    terms = ("--objective", "cost", "--device-hour", "2.5", "--deadline", "2h")
    done = recommend(folder, *terms, "--output", "priced.html")

    assert done.returncode == 0, done.stderr
    words = " ".join(done.stdout.split())
    assert "One fresh training takes money" in words
    assert "keeps to the deadline of 7,200 s with a probability" in words
    assert "--objective cost --deadline 7200s --device-hour 2.5" in words
    assert "Money, one fresh training" in (folder / "priced.html").read_text()
    assert "are in the store" in done.stderr, "what is priced reads the runs of time"


def test_power_by_batch_size_leads_the_search_and_stands_in_the_next_command(
    tmp_path: Path,
) -> None:
    (tmp_path / "mytask.py").write_text(SMALL_TASK)
    # Where a second at 16 takes a thousand times as much, time says nothing of energy.
    done = recommend(tmp_path, "--objective", "energy", "--watts", "8=1,16=1000", "--json")

    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["batch_size"] == 8
    assert "--objective energy --watts 8=1,16=1000" in document["next_command"]
    assert any("1.00 W at batch size 8" in reason for reason in document["reasons"])
    # The study itself remembers what it was searched for.
    later = read_recommendation(str(tmp_path / "batchscope.db"))
    assert (later.objective, later.batch_size) == ("energy", 8)
    assert "--objective energy --watts 8=1,16=1000" in later.next_command


def test_a_batch_is_split_where_memory_is_short(folder: Path) -> None:
    whole = json.loads(recommend(folder, "--json", "--memory", "1GiB").stdout)
    need = whole["memory"]
    least = need["fixed_bytes"] + need["bytes_per_example"] * (whole["batch_size"] // 2)

    split = json.loads(recommend(folder, "--json", "--memory", str(round(1.1 * least))).stdout)

    assert (whole["micro_batch"], whole["accumulation"]) == (whole["batch_size"], 1)
    assert split["batch_size"] == whole["batch_size"]
    assert split["accumulation"] > 1
    assert split["micro_batch"] * split["accumulation"] >= split["batch_size"]
    assert f"accumulation = {split['accumulation']}" in split["script"]
    assert any("accumulated over" in reason for reason in split["reasons"])


@pytest.mark.parametrize("verb", ["analyze", "report", "runs"])
def test_verbs_on_a_store_name_the_study_in_their_first_line(folder: Path, verb: str) -> None:
    done = run_command(verb, "batchscope.db", folder=folder)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("Study ")
    assert "mytask.py:task" in done.stdout.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (("analyze",), "findings"),
        (("runs",), "runs"),
        (("forecast", "batchscope.db", "--batch-sizes", "24"), "left_out"),
        (("cost", "batchscope.db", "--device-hour", "2", "--watts", "50"), "frontier"),
        (("report",), "report"),
        (("tasks",), "tasks"),
        (("profile", "mytask.py:task", "--batch-sizes", "8,16"), "smallest_efficient"),
        (("study", "mytask.py:task", *QUICK), "trained"),
    ],
)
def test_every_verb_speaks_json(folder: Path, arguments: tuple[str, ...], key: str) -> None:
    done = run_command(*arguments, "--json", folder=folder)

    assert key in json.loads(done.stdout)


def test_a_forecast_fits_80_columns_and_says_what_a_training_takes(folder: Path) -> None:
    prices = ("--watts", "50", "--device-hour", "2")
    wanted = ("--batch-sizes", "24", "--task", "mytask.py:task")
    done = run_command("forecast", "batchscope.db", *wanted, *prices, folder=folder)

    assert done.returncode == 0
    assert "ms per step" in done.stdout
    assert "A step holds at least" in done.stdout
    assert "left out" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_runs_are_exported_as_csv_with_a_row_per_evaluation(folder: Path) -> None:
    done = run_command("runs", "--csv", folder=folder)

    head, *rows = done.stdout.splitlines()
    assert head.startswith(
        "run,batch_size,learning_rate,constants,seed,status,step,examples,seconds"
    )
    assert len(rows) > 20


def test_a_study_is_picked_by_its_task_and_an_unknown_one_refused(folder: Path) -> None:
    found = run_command("analyze", "--study", "mytask.py:task", folder=folder)
    missing = run_command("analyze", "--study", "nothing", folder=folder)

    assert found.returncode == 0
    assert missing.returncode == 1
    assert "no study 'nothing'" in missing.stderr


@pytest.mark.parametrize("verb", ["analyze", "report", "runs"])
def test_reading_verbs_never_make_a_store(tmp_path: Path, verb: str) -> None:
    done = run_command(verb, "missing.db", folder=tmp_path)

    assert done.returncode == 1
    assert "there is no store" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_task_given_for_a_store_is_told_from_a_missing_file(tmp_path: Path) -> None:
    done = run_command("forecast", "digits-cnn", "--batch-sizes", "48", folder=tmp_path)

    assert done.returncode == 1
    assert "batchscope.db --study digits-cnn" in " ".join(done.stderr.split())


BROKEN = {
    "digit-cnn": ("digit-cnn", (), "did you mean digits-cnn?"),
    "syntax error": ("broken.py:task", (), "SyntaxError"),
    "missing file": ("nowhere.py:task", (), "cannot read nowhere.py"),
    "missing module": ("no.such.module:task", (), "ModuleNotFoundError"),
    "vector loss": ("vector.py:task", (), "not one number"),
    "NaN": ("nan.py:task", (), "nan on the first examples"),
    "no data": ("empty.py:task", (), "`train` has no examples"),
    "batch 0": ("mytask.py:task", ("--batch-sizes", "0"), "batch sizes of 0"),
    "batch too large": ("mytask.py:task", ("--batch-sizes", "65"), "a batch of 65"),
    "batch sizes": ("mytask.py:task", ("--batch-sizes", "many"), "names no batch sizes"),
    "unknown metric": ("mytask.py:task", ("--target", "f1<=0.1"), "no metric 'f1'"),
    "target": ("mytask.py:task", ("--target", "good"), "is not a target"),
    "budget": ("mytask.py:task", ("--budget", "25"), "is not a budget"),
    "objective": (
        "mytask.py:task",
        ("--objective", "joy"),
        "one of time, cost, energy, carbon, examples, quality",
    ),
    "device": ("mytask.py:task", ("--device", "tpu"), "'tpu' is not available"),
    "jobs": ("mytask.py:task", ("--jobs", "0"), "0 workers"),
    "not a store": ("mytask.py:task", ("--store", "mytask.py"), "is not a store"),
    "folder": ("mytask.py:task", ("--store", "no/where.db"), "cannot write"),
    "unwritable": ("mytask.py:task", ("--store", "/proc/runs.db"), "cannot write in /proc"),
    "output": ("mytask.py:task", ("--output", "no/where.html"), "cannot write the report"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_bad_input_is_one_clear_message_before_any_training(tmp_path: Path, case: str) -> None:
    (tmp_path / "mytask.py").write_text(SMALL_TASK)
    (tmp_path / "broken.py").write_text("def f(:\n")
    vector = SMALL_TASK.replace("batch[1])", 'batch[1], reduction="none")')
    (tmp_path / "vector.py").write_text(vector)
    (tmp_path / "nan.py").write_text(
        SMALL_TASK.replace("x = torch.randn", "x = 0 / 0 * torch.randn").replace(
            "0 / 0", "float('nan')"
        )
    )
    (tmp_path / "empty.py").write_text(
        SMALL_TASK.replace("train=(x[:64], y[:64])", "train=(x[:0], y[:0])")
    )
    before = sorted(tmp_path.iterdir())
    task, arguments, message = BROKEN[case]

    done = run_command("recommend", task, *arguments, folder=tmp_path)

    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 12
    assert max(map(len, done.stderr.splitlines())) <= 80
    assert sorted(p for p in tmp_path.iterdir() if p.name != "__pycache__") == before


def test_memory_below_one_example_is_refused_before_any_training(tmp_path: Path) -> None:
    (tmp_path / "mytask.py").write_text(SMALL_TASK)

    done = recommend(tmp_path, "--memory", "10")

    assert done.returncode == 3
    assert done.stdout == ""
    assert "one example needs" in " ".join(done.stderr.split())
    assert not list(tmp_path.glob("*.db"))


def test_a_full_disk_is_one_clear_message_before_any_training(small_disk: Path) -> None:
    (small_disk / "mytask.py").write_text(SMALL_TASK)
    fill(small_disk, leave=100_000)
    before = sorted(small_disk.iterdir())

    done = recommend(small_disk)

    assert done.returncode == 1
    assert done.stdout == ""
    assert "room" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 12
    assert sorted(p for p in small_disk.iterdir() if p.name != "__pycache__") == before


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = run_command("recommend", "nothing", "--debug", folder=tmp_path)

    assert "Traceback" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mytask.py").write_text(SMALL_TASK)
    tmp_path.chmod(0o555)

    assert "cannot write" in recommend(tmp_path).stderr


def test_where_every_rate_diverges_the_exit_code_is_3_and_the_lowest_rate_named(
    tmp_path: Path,
) -> None:
    text = SMALL_TASK.replace("lr=0.3", "lr=1e30").replace(
        "nn.functional.cross_entropy(model(batch[0]), batch[1])", "model(batch[0]).square().mean()"
    )
    (tmp_path / "hopeless.py").write_text(text)

    done = recommend(tmp_path, task="hopeless.py:task")

    assert done.returncode == 3
    # Three rates about the task's own, and four below them.
    assert "diverged, down to the learning rate 3.2e+27" in " ".join(done.stderr.split())


@pytest.mark.slow
def test_an_edit_trains_anew_and_says_what_changed(tmp_path: Path) -> None:
    path = tmp_path / "mytask.py"
    path.write_text(SMALL_TASK)
    first = run_command("study", "mytask.py:task", *QUICK, "--json", folder=tmp_path)
    path.write_text(SMALL_TASK + "\n# a note\n")

    second = run_command("study", "mytask.py:task", *QUICK, "--json", folder=tmp_path)
    path.write_text(SMALL_TASK + "\n# another note\n")
    third = run_command(
        "study", "mytask.py:task", *QUICK, "--reuse-changed", "--json", folder=tmp_path
    )

    assert json.loads(first.stdout)["trained"] > 0
    assert "its source changed since its last use" in " ".join(second.stderr.split())
    assert json.loads(second.stdout)["trained"] == json.loads(first.stdout)["trained"]
    assert json.loads(third.stdout)["trained"] == 0


def test_the_task_that_init_writes_runs_as_it_is(tmp_path: Path) -> None:
    written = run_command("init", "mine.py", folder=tmp_path)
    done = recommend(tmp_path, task="mine.py:task")

    assert written.returncode == 0
    assert "batchscope recommend mine.py:task" in (tmp_path / "mine.py").read_text()
    assert done.returncode == 0, done.stderr
    again = run_command("init", "mine.py", folder=tmp_path)
    assert "already there" in again.stderr


@pytest.mark.parametrize(
    "verb", ["init", "tasks", "profile", "study", "recommend", "analyze", "report", "runs"]
)
def test_help_has_an_example(tmp_path: Path, verb: str) -> None:
    done = run_command(verb, "--help", folder=tmp_path)

    assert f"Example: batchscope {verb}" in " ".join(done.stdout.split())
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_an_unknown_option_is_misuse(tmp_path: Path) -> None:
    assert (
        run_command("recommend", "digits-cnn", "--bath-sizes", "8", folder=tmp_path).returncode == 2
    )


def test_help_loads_no_torch(tmp_path: Path) -> None:
    code = "import sys, batchscope.cli; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_built_in_tasks_are_listed_a_line_each(tmp_path: Path) -> None:
    lines = run_command("tasks", folder=tmp_path).stdout.splitlines()

    assert [line.split()[0] for line in lines] == [
        "digits-cnn",
        "digits-mlp",
        "blobs-mlp",
        "breast-cancer-mlp",
        "stdlib-lm",
    ]
    assert max(map(len, lines)) <= 80


def test_the_command_and_python_have_the_same_default_places() -> None:
    from batchscope.cli import options
    from batchscope.reports.page import DEFAULT_PAGE
    from batchscope.studies.store import DEFAULT_STORE

    # The command names them again so that --help loads no torch.
    assert options.STORE == DEFAULT_STORE
    assert str(options.REPORT) == DEFAULT_PAGE


@pytest.mark.parametrize("asked", [("--study", "a1"), ("--budget", "2ep")])
@pytest.mark.parametrize("groups", [(), ("--group", "seed")], ids=["whole", "groups"])
def test_what_only_a_store_can_tell_is_refused_of_a_table(
    tmp_path: Path, asked: tuple[str, str], groups: tuple[str, ...]
) -> None:
    (tmp_path / "runs.csv").write_text(write_example())

    done = run_command("analyze", "runs.csv", *groups, *asked, folder=tmp_path)

    assert done.returncode == 1
    assert "is a table of runs, not a store" in done.stderr
