import tomllib
from pathlib import Path
from typing import Any

import pytest

import batchscope as bs
from batchscope.errors import InvalidInput

from ..command import run_command
from ..conftest import SMALL_TASK, make_staying_task, make_task


@pytest.mark.parametrize(
    "rates",
    [
        ("--batch-sizes", "8,16", "--learning-rates", "0.1,0.3"),
        ("--learning-rates", "8=0.1,8=0.3,16=0.2,16=0.4"),
    ],
    ids=["rates of all sizes", "rates of each size"],
)
def test_what_was_said_is_written_beside_the_store_and_repeats_the_study(
    tmp_path: Path, rates: tuple[str, ...]
) -> None:
    (tmp_path / "mytask.py").write_text(SMALL_TASK)
    said = (*rates, "--seeds", "1", "--jobs", "1")
    first = run_command("study", "mytask.py:task", *said, folder=tmp_path)
    (settings,) = tmp_path.glob("batchscope-*.toml")

    again = run_command("study", "--config", settings.name, folder=tmp_path)

    assert first.returncode == 0, first.stderr
    assert f"The same again: batchscope study --config {settings.name}" in first.stdout
    assert "4 runs, 0 trained now" in again.stdout
    assert list(tmp_path.glob("batchscope-*.toml")) == [settings]


def test_flags_go_before_what_the_file_says(tmp_path: Path) -> None:
    (tmp_path / "mytask.py").write_text(SMALL_TASK)
    (tmp_path / "study.toml").write_text(
        'task = "mytask.py:task"\nbatch-sizes = [8, 16]\nseeds = 1\nlearning_rates = [0.1]\n'
    )

    done = run_command(
        "study", "--config", "study.toml", "--batch-sizes", "32", "--dry-run", folder=tmp_path
    )

    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[:2] for row in rows if row and row[0] in ("8", "16", "32")] == [["32", "1"]]
    assert not (tmp_path / "batchscope.db").exists()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('budgett = "2ep"', "'budgett', which study does not take"),
        ("seeds = ", "cannot read study.toml"),
        ('task = "mytask.py:task"\nseeds = "many"', "Invalid value for '--seeds'"),
    ],
)
def test_a_file_that_says_nonsense_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "study.toml").write_text(text)

    done = run_command("study", "--config", "study.toml", folder=tmp_path)

    assert done.returncode == 2
    assert complaint in " ".join(done.stderr.split())


@pytest.mark.parametrize("rates", [[0.1], {8: [0.1]}], ids=["of all sizes", "of each size"])
def test_the_file_is_the_arguments_of_the_verb(tmp_path: Path, rates: Any) -> None:
    done = bs.study(
        make_task(),
        batch_sizes=[8],
        learning_rates=rates,
        seeds=1,
        jobs=1,
        store=f"{tmp_path}/r.db",
    )

    said = tomllib.loads(Path(done.settings).read_text())

    assert "task" not in said
    again = bs.study(make_task(), **said)
    assert (again.id, again.trained) == (done.id, 0)


def test_the_noise_scale_that_led_a_search_is_written_with_it(tmp_path: Path) -> None:
    asked = {"batch_sizes": [8, 16], "effort": "frugal", "noise_scale": 64, "jobs": 1}
    done = bs.study(make_staying_task(), store=f"{tmp_path}/r.db", **asked)
    said = tomllib.loads(Path(done.settings).read_text())
    other = bs.study(make_staying_task(), store=done.store, **asked | {"noise_scale": None})

    assert repr(said["noise_scale"]) == "64.0"
    assert other.id != done.id
    again = bs.study(make_staying_task(), **said)
    assert (again.id, again.trained) == (done.id, 0)


def test_a_preview_starts_nothing_and_knows_times_once_they_were_measured(tmp_path: Path) -> None:
    options = {"batch_sizes": [8, 16], "learning_rates": [0.1, 0.3], "seeds": 2}
    place = f"{tmp_path}/r.db"

    before = bs.preview(make_task(), store=place, **options)
    assert not Path(place).exists()
    bs.study(make_task(), store=place, jobs=1, **options)
    after = bs.preview(make_task(), store=place, **options)

    assert (before.runs, before.seconds) == (8, None)
    assert after.seconds is not None
    assert after.seconds > 0
    assert [size.steps for size in after.sizes] == [24, 12]
    assert bs.table(after)["runs"].to_list() == [4, 4]
    assert list(bs.figure(after).data[0].x) == ["8", "16"]
    # Weights, their gradients and a batch, at the very least.
    assert all((size.peak_bytes or 0) > 4 * 10 * 2 for size in after.sizes)


def test_a_preview_checks_what_a_study_checks() -> None:
    with pytest.raises(InvalidInput):
        bs.preview(make_task(), batch_sizes=[8], effort="some")
