"""The command line: parse, call, show."""

import os

from batchscope.cli import advising, costs, instruments, reproducing, stores, tasks, training
from batchscope.cli.app import app

__all__ = [
    "advising",
    "app",
    "costs",
    "instruments",
    "main",
    "reproducing",
    "stores",
    "tasks",
    "training",
]

# Each of these modules adds its commands; a newcomer needs them in this order.
_ORDER = [
    "recommend",
    "study",
    "profile",
    "noise",
    "fit",
    "branch",
    "bottleneck",
    "energy",
    "curvature",
    "analyze",
    "cost",
    "forecast",
    "devices",
    "laws",
    "report",
    "runs",
    "status",
    "tasks",
    "init",
    "reproduce",
]


def _place(command: object) -> int:
    callback = getattr(command, "callback", None)
    return _ORDER.index(getattr(callback, "__name__", ""))


app.registered_commands.sort(key=_place)


def main() -> None:
    """Run the command."""
    # Its threads would keep workers from being forked, and nothing here computes with it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    app()
