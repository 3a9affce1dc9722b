"""The command line: parse, call, show."""

from batchscope.cli import instruments, stores, tasks, training
from batchscope.cli.app import app

__all__ = ["app", "instruments", "main", "stores", "tasks", "training"]

# As a newcomer needs them.
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
    "report",
    "runs",
    "tasks",
    "init",
]
app.registered_commands.sort(
    key=lambda command: _ORDER.index(getattr(command.callback, "__name__", ""))
)


def main() -> None:
    """Run the command."""
    app()
