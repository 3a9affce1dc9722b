"""Where replications train in tests."""

from pathlib import Path

from batchscope.replications.lab import Lab
from batchscope.studies.progress import Unwatched


def make_lab(
    folder: Path, *, is_quick: bool = True, count: int = 2, is_control: bool = False
) -> Lab:
    """With a store in a folder."""
    return Lab(
        is_quick=is_quick,
        first_seed=0,
        count=count,
        is_control=is_control,
        store=str(folder / "runs.db"),
        watcher=Unwatched(),
    )
