"""The commands of the instruments as a person runs them: each test starts real processes."""

import json
from pathlib import Path

import pytest

from .command import run_command
from .conftest import SMALL_TASK


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("instruments")
    (made / "mytask.py").write_text(SMALL_TASK)
    (made / "normed.py").write_text(
        SMALL_TASK.replace("nn.Linear(4, 2)", "nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))")
    )
    return made


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("noise",), "Gradient noise scale of mytask.py:task, after 1ep"),
        (("fit", "--memory", "2GiB", "--largest", "2"), "The largest batch to train on is 2"),
        (("curvature", "--after", "2ep"), "compare with another place of like"),
        (("energy", "--watts", "65", "--batch-size", "8"), "By "),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_reading_fits_80_columns_and_leaves_no_file(
    folder: Path, arguments: tuple[str, ...], words: str
) -> None:
    before = sorted(path.name for path in folder.iterdir() if path.name != "__pycache__")

    done = run_command(arguments[0], "mytask.py:task", *arguments[1:], folder=folder)

    assert done.returncode == 0, done.stderr
    assert words in " ".join(done.stdout.split())
    assert max(map(len, (done.stdout + done.stderr).splitlines())) <= 80
    after = sorted(path.name for path in folder.iterdir() if path.name != "__pycache__")
    assert after == before


def test_json_is_one_document_with_estimates_in_full(folder: Path) -> None:
    done = run_command("noise", "mytask.py:task", "--json", folder=folder)

    document = json.loads(done.stdout)
    assert {"noise_scale", "gradient_squared", "noise_trace", "preconditioned", "layers"} <= set(
        document
    )
    for estimate in (document["noise_scale"], *document["layers"].values()):
        assert {"value", "low", "high", "unit", "confidence"} <= set(estimate)


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (("noise", "mytask.py:task", "--method", "guess"), "the method 'guess' is not known", 1),
        (("noise", "mytask.py:task", "--after", "soon"), "'soon'", 1),
        (("noise", "mytask.py:task", "--weights", "no.pt"), "cannot load the weights", 1),
        (("noise", "normed.py:task"), "batch norm in training mode", 3),
        (("fit", "mytask.py:task", "--memory", "lots"), "'lots' is no amount of memory", 1),
        (("fit", "mytask.py:task", "--memory", "1MiB"), "nothing fits", 3),
        (("bottleneck", "mytask.py:task", "--batch-size", "9000"), "cannot be made", 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_clear_message(
    folder: Path, arguments: tuple[str, ...], message: str, code: int
) -> None:
    done = run_command(*arguments, folder=folder)

    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 12
    assert max(map(len, done.stderr.splitlines())) <= 80
