"""How much memory a training may take here, and how a process keeps to it."""

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
import torch

from batchscope.errors import InvalidInput

try:
    import resource
except ImportError:  # Windows bounds no process this way
    resource = None

_SHARE_OF_FREE = 0.8
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_CGROUP = Path("/sys/fs/cgroup")
_KERNEL_COUNTS = Path("/proc/vmstat")

LimitKind = Literal["device", "address space", "resident"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimit:
    """What a process may take.

    Attributes:
        amount: in bytes, the process's own start included.
        kind: what is counted: a device's memory, all addresses, or what is resident.
        words: where it comes from.
    """

    amount: int
    kind: LimitKind
    words: str


def find_limit(device: torch.device, given: str | None) -> MemoryLimit:
    """The memory that there is, or the given one.

    On the CPU it is the smallest of the address-space limit, the control group's, and 80% of what
    is free now.

    Args:
        given: such as "8GiB"; None to find it.
    """
    if given is not None:
        kind: LimitKind = "resident" if device.type == "cpu" else "device"
        return MemoryLimit(amount=parse_bytes(given), kind=kind, words="as given")
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return MemoryLimit(amount=free, kind="device", words="free on the device")
    limits = [
        MemoryLimit(
            amount=int(_SHARE_OF_FREE * psutil.virtual_memory().available),
            kind="resident",
            words="80% of the memory that is free",
        )
    ]
    if (group := _read_group_limit()) is not None:
        limits.append(
            MemoryLimit(amount=group, kind="resident", words="80% of what its control group has")
        )
    if (addresses := _read_address_limit()) is not None:
        limits.append(
            MemoryLimit(amount=addresses, kind="address space", words="the address-space limit")
        )
    return min(limits, key=lambda limit: limit.amount)


def count_memory_kills() -> int:
    """How many processes this machine's kernel has killed for memory; 0 where it does not say."""
    try:
        counts = dict(line.split() for line in _KERNEL_COUNTS.read_text().splitlines())
    except OSError:
        return 0
    return int(counts.get("oom_kill", 0))


def bound_this_process(limit: MemoryLimit, *, resident: int) -> None:
    """Fail an allocation beyond the limit here, and be the first that the kernel would kill.

    Args:
        resident: what counts as resident now, in bytes.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    if resource is None or limit.kind != "resident":
        return
    status = read_status()
    if "VmData" not in status:
        return
    # Private writable memory is what grows; the rest of what is resident stays as it is.
    room = max(0, limit.amount - resident)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = status["VmData"] + room
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def read_status() -> dict[str, int]:
    """This process's memory in bytes, by the kernel's names; nothing where it tells none."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return {}
    found = re.findall(r"^(Vm\w+|Rss\w+):\s+(\d+) kB$", text, re.MULTILINE)
    return {name: 1024 * int(value) for name, value in found}


def forget_peak() -> None:
    """Let the peak of what is resident begin anew."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def parse_bytes(given: str | int) -> int:
    """Read "8GiB", "512M" or a plain number of bytes.

    Raises:
        InvalidInput: it is none of these, or not above 0.

    Example:
        >>> parse_bytes("8GiB"), parse_bytes("512M")
        (8589934592, 536870912)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*", f"{given}".lower())
    if found is None or float(found[1]) <= 0:
        raise InvalidInput(
            f"{given!r} is no amount of memory",
            where="--memory",
            expected="a number with a unit",
            do="write for example 8GiB or 512MiB",
        )
    return int(float(found[1]) * _UNITS[found[2]])


def _read_address_limit() -> int | None:
    if resource is None:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def _read_group_limit() -> int | None:
    """What this process's control group has left, in its first or second version."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            names = (_CGROUP / path.lstrip("/"), "memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            names = (
                _CGROUP / "memory" / path.lstrip("/"),
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
            )
        else:
            continue
        with contextlib.suppress(OSError, ValueError):
            folder, limit, usage = names
            left = int((folder / limit).read_text()) - int((folder / usage).read_text())
            if left < psutil.virtual_memory().total:
                return max(1, int(_SHARE_OF_FREE * left))
    return None
