import json
import tomllib
from pathlib import Path

import batchscope as bs

from ..command import run_command
from ..conftest import SMALL_TASK, make_task

TERMS = ("--objective", "cost", "--device-hour", "2.5", "--deadline", "2h", "--memory", "1GiB")
QUICK = ("--batch-sizes", "8,16", "--effort", "quick", "--jobs", "1")


def test_the_page_of_a_store_and_the_file_keep_the_terms_that_were_asked_for(
    tmp_path: Path,
) -> None:
    (tmp_path / "mytask.py").write_text(SMALL_TASK)
    asked = run_command("recommend", "mytask.py:task", *QUICK, *TERMS, "--json", folder=tmp_path)
    (settings,) = tmp_path.glob("batchscope-*.toml")
    on_page = ("keeps to the deadline of 7,200 s", "Money, one fresh training", "fits in memory")

    page = run_command("report", "batchscope.db", folder=tmp_path)
    again = run_command("recommend", "--config", settings.name, "--json", folder=tmp_path)

    assert asked.returncode == page.returncode == again.returncode == 0, again.stderr
    html = (tmp_path / "batchscope-report.html").read_text()
    assert all(words in html for words in on_page)
    assert "are in the store" in again.stderr
    assert json.loads(again.stdout) == json.loads(asked.stdout)

    plain = run_command("recommend", "mytask.py:task", *QUICK, folder=tmp_path)
    page = run_command("report", "batchscope.db", folder=tmp_path)

    assert plain.returncode == page.returncode == 0, plain.stderr
    html = (tmp_path / "batchscope-report.html").read_text()
    assert not any(words in html for words in on_page)


def test_terms_asked_from_python_are_written_as_options(tmp_path: Path) -> None:
    found = bs.recommend(
        make_task(),
        batch_sizes=[8, 16],
        effort="quick",
        jobs=1,
        prices=bs.Prices(device_hour=2.5, kilowatt_hour=0.3, waiting_hour=1.5),
        watts={8: 90.0},
        max_cost=100.0,
        deadline=1234567,
        store=f"{tmp_path}/r.db",
    )
    (settings,) = tmp_path.glob("r-*.toml")
    said = tomllib.loads(settings.read_text())

    options = ("device_hour", "kilowatt_hour", "waiting_hour", "watts", "max_cost", "deadline")
    assert [said[name] for name in options] == [2.5, 0.3, 1.5, "90", 100.0, "1234567s"]
    page = Path(bs.report(f"{tmp_path}/r.db", f"{tmp_path}/page.html")).read_text()
    assert any(reason in page for reason in found.reasons if "100" in reason)
