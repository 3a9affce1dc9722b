"""All published studies by one command, shortened: with two seeds nothing can be told."""

import json
from pathlib import Path

import pytest

from batchscope.replications.reproducing import NAMES

from ..command import run_command


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_every_study_goes_through_with_two_seeds(tmp_path: Path) -> None:
    words = ("reproduce", "--all", "--scale", "quick", "--seeds", "2", "--json")
    done = run_command(*words, folder=tmp_path, timeout=2400)

    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [study["name"] for study in document["studies"]] == list(NAMES)
    for study in document["studies"]:
        assert {claim["verdict"] for claim in study["claims"]} == {"cannot tell"}
        assert (tmp_path / study["page"]).exists()
    index = (tmp_path / document["index"]).read_text()
    assert all(f'href="{name}.html"' in index for name in NAMES)
