"""The examples of the README, the docs and the docstrings run."""

import doctest
import importlib
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import batchscope
from batchscope.cli import app

from .command import run_command
from .conftest import SMALL_TASK

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
VERBS = tuple(get_command(app).commands)  # type: ignore[attr-defined]
MODULES = [
    module.name
    for module in pkgutil.walk_packages(batchscope.__path__, "batchscope.")
    if not module.name.endswith(("__main__", "starter")) and ".gallery." not in module.name
]


def examples(page: Path) -> str:
    """All Python blocks of a page, in order: later ones may use earlier names."""
    return "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))


@pytest.mark.parametrize("page", [p for p in PAGES if examples(p)], ids=lambda p: p.name)
def test_the_examples_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    exec(compile(examples(page), page.name, "exec"), {"__name__": page.stem})


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_the_readmes_task_goes_through_the_command(tmp_path: Path) -> None:
    text = examples(ROOT / "README.md")
    (tmp_path / "mytask.py").write_text(text)

    done = run_command(
        "recommend", "mytask.py:task", "--effort", "quick", "--budget", "3ep", folder=tmp_path
    )

    assert done.returncode == 0, done.stderr
    assert "Use batch size" in done.stdout


def test_every_json_key_is_documented(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "command-line.md").read_text()
    (tmp_path / "mytask.py").write_text(SMALL_TASK)
    task = ("mytask.py:task", "--batch-sizes", "8,16")
    calls = [
        ("profile", *task),
        ("study", *task, "--effort", "quick"),
        ("recommend", *task, "--effort", "quick"),
        ("analyze",),
        ("runs",),
        ("report",),
        ("tasks",),
    ]

    for call in calls:
        document = json.loads(run_command(*call, "--json", folder=tmp_path).stdout)
        assert [key for key in document if f"`{key}`" not in page] == []


def test_the_pages_build_without_a_warning_and_name_every_function(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    page = (tmp_path / "python" / "index.html").read_text()
    source = (ROOT / "docs" / "python.md").read_text()
    for name in re.findall(r"^::: ([\w.]+)$", source, re.MULTILINE):
        assert f'id="{name}"' in page


def test_every_verb_and_option_of_the_docs_exists(tmp_path: Path) -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    helped = {verb: run_command(verb, "--help", folder=tmp_path).stdout for verb in VERBS}
    for part in ("ask", "tell", "timed", "record"):
        helped["advise"] += run_command("advise", part, "--help", folder=tmp_path).stdout

    assert set(re.findall(r"(?<!import )batchscope ([a-z]+)\b(?= )", text)) <= {*helped, "VERB"}
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    assert {o for o in options if not any(o in page for page in helped.values())} == set()


def test_the_changelog_names_every_verb() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()

    for verb in VERBS:
        assert verb in text
