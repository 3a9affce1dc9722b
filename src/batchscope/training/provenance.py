"""On what something was measured."""

import os
import platform
import shlex
import socket
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

import psutil
import torch

from batchscope.records import Provenance
from batchscope.training.devices import describe_device


@dataclass(frozen=True, slots=True)
class Origin:
    """What a person started, and from which state of their repository."""

    command: str
    commit: str


def find_origin() -> Origin:
    """The command of this process, and the commit of the working folder; empty where unknown."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude", "*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        commit = found.stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        commit = ""
    name = os.path.basename(sys.argv[0]) or "python"
    return Origin(shlex.join([name, *sys.argv[1:]]), commit)


def describe_machine(device: torch.device, origin: Origin, *, seconds: float) -> Provenance:
    """This process on its machine, now."""
    return Provenance(
        device=describe_device(device),
        host=socket.gethostname(),
        threads=torch.get_num_threads(),
        python_version=platform.python_version(),
        torch_version=torch.__version__,
        batchscope_version=version("batchscope"),
        command=origin.command,
        commit=origin.commit,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        load_average=psutil.getloadavg()[0],
        seconds=seconds,
    )
