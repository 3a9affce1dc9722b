"""Runs with columns made by hand."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

from batchscope.replications.lab import Arm, Trained


def make_trained(
    columns: Mapping[Arm, Mapping[str, Sequence[float]]], *, diverged: Sequence[Arm] = ()
) -> Trained:
    """Of no study."""
    runs: Any = {
        arm: SimpleNamespace(
            status="diverged" if arm in diverged else "finished",
            trajectory=SimpleNamespace(columns=own, last=lambda name, own=own: own[name][-1]),
        )
        for arm, own in columns.items()
    }
    return Trained(cast(Any, None), runs)
