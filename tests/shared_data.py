"""Public measurements that are not part of the project."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "shared" / "data"


def measured(name: str) -> Path:
    """A file of the measurements; the test is skipped where they are absent."""
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"public measurements: no {path}")
    return path
