"""The command in a process of its own, without the seconds that its imports take."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

# The first optimizer of a process imports this.
import torch._dynamo  # noqa: F401  # pyright: ignore[reportUnusedImport]

from batchscope.cli import main
from batchscope.reports import page, progress, terminal  # noqa: F401  # pyright: ignore[reportUnusedImport]

# Of processes that have imported all this.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload([__name__])


def run_command(
    *arguments: str, folder: Path, timeout: float = 240, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, in a folder.

    The process is forked from one that has imported what the command imports: nothing but that is
    spared. `run_module` starts a fresh interpreter.
    """
    with tempfile.TemporaryDirectory() as written:
        process = SERVER.Process(target=_be_command, args=(arguments, folder, written, environment))
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            raise subprocess.TimeoutExpired(["batchscope", *arguments], timeout)
        assert process.exitcode is not None
        output, errors = (Path(written, name).read_text() for name in ("output", "errors"))
        return subprocess.CompletedProcess(arguments, process.exitcode, output, errors)


def _be_command(
    arguments: Sequence[str], folder: Path, written: str, environment: Mapping[str, str]
) -> None:
    os.chdir(folder)
    os.environ.update(environment)
    for name, descriptor in (("output", 1), ("errors", 2)):
        os.dup2(os.open(Path(written, name), os.O_CREAT | os.O_WRONLY), descriptor)
    # As the command finds them that a shell has started.
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    sys.argv = ["batchscope", *arguments]
    sys.path.insert(0, "")

    main()
