import io
import shlex

import pytest
from rich.console import Console

from batchscope.reports.terminal_parts import say_command

LONG = (
    "batchscope recommend my/folder/with/tasks.py:task --seeds 6 --batch-sizes 8,16,32,64,128 "
    "--budget '8ep until plateau' --deadline 3600s --store postgresql+psycopg://user@host/runs"
)


def test_a_line_of_python_is_printed_as_it_is() -> None:
    screen = io.StringIO()
    say_command(Console(file=screen, width=80), "bs.recommend(task, seeds=6, ...)")

    assert screen.getvalue().strip() == "bs.recommend(task, seeds=6, ...)"


@pytest.mark.parametrize("command", ["batchscope study digits-cnn --seeds 6", LONG])
@pytest.mark.parametrize("width", [40, 80])
def test_a_command_can_be_pasted_into_a_shell(command: str, width: int) -> None:
    screen = io.StringIO()
    say_command(Console(file=screen, width=width), command)

    lines = screen.getvalue().splitlines()
    # A shell reads on behind a backslash at the end of a line.
    pasted = "\n".join(lines).replace("\\\n", "")
    assert "\n" not in pasted
    assert shlex.split(pasted) == shlex.split(command)
    if width == 80:
        assert max(map(len, lines)) <= 80
        assert len(lines) == (1 if command is not LONG else 3)
