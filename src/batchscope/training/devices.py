"""Which device a run uses, and what it is called."""

import errno
import os
import platform
import time
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, cast

import psutil
import torch

from batchscope.errors import InvalidInput
from batchscope.records import Precision

_LOOK_SECONDS, _LOOK_LASTS = 0.5, 30.0
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_KINDS = ("cuda", "mps", "cpu")
_OUT_OF_MEMORY = (
    "out of memory",  # CUDA, HIP, MPS and XPU
    "not enough memory",
    "can't allocate memory",  # torch's allocator on the CPU
    "cannot allocate memory",
    "could not allocate memory",
    "failed to allocate",
    "cublas_status_alloc_failed",
    "cublas_status_not_initialized",  # its handle no longer fitted
    "cudnn_status_alloc_failed",
    "cudnn_status_not_supported",  # for want of a workspace
    "miopenstatusallocfailed",
    "hiperroroutofmemory",
    "ur_result_error_out_of_device_memory",
    "std::bad_alloc",
    "cannot map zero-fill pages",  # a library that no longer fits
    "failed to map segment",
    "could not create a primitive",  # oneDNN, where its scratch memory did not fit
    "could not create a memory",
    "could not execute a primitive",
)
_OTHER_FAILURES = ("device-side assert", "illegal memory access", "illegal instruction")


def choose_device(wanted: str | None) -> torch.device:
    """The wanted device, or the best that there is: cuda, then mps, then cpu.

    Raises:
        InvalidInput: the wanted one is unknown or absent.
    """
    there = [kind for kind in _KINDS if is_available(kind)]
    if wanted is None:
        return torch.device(there[0])
    if wanted.partition(":")[0] not in there:
        raise InvalidInput(
            f"the device {wanted!r} is not available",
            where="--device",
            expected=f"one of {', '.join(there)}",
            do="leave --device out to take the best one that there is",
        )
    try:
        return torch.device(wanted)
    except RuntimeError as error:
        raise InvalidInput(
            f"{wanted!r} is not a device", "--device", "for example cpu or cuda:0", "mend it"
        ) from error


def is_available(kind: str) -> bool:
    """Whether there is a device of this kind: "cpu", "cuda" or "mps"."""
    if kind == "cuda":
        return torch.cuda.is_available()
    return kind == "cpu" or (kind == "mps" and torch.backends.mps.is_available())


def is_absent(wanted: str | None) -> bool:
    """Whether a device is asked for that torch knows and that is not here."""
    kind = (wanted or "cpu").partition(":")[0]
    return kind in _KINDS and not is_available(kind)


def describe_device(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    if device.type == "cpu":
        name = _cpu_name() or name
        return f"{name}, {count_cores()} cores"
    return f"{device.type} on {name}"


def count_cores() -> int:
    """Processors that this process may use."""
    return (
        len(psutil.Process().cpu_affinity())
        if hasattr(os, "sched_getaffinity")
        else (os.cpu_count() or 1)
    )


def count_free_cores() -> int:
    """Of them, those free for half a second of these thirty; at least one."""
    free = (psutil.cpu_count() or 1) - count_busy(int(time.monotonic() / _LOOK_LASTS))
    return max(1, min(count_cores(), free))


# Many short studies, one after another, would look for as long as they train.
@lru_cache(maxsize=1)
def count_busy(period: int) -> int:
    """Processors of the machine that are busy, looked at once in a period."""
    del period
    return round(psutil.cpu_percent(interval=_LOOK_SECONDS) / 100 * (psutil.cpu_count() or 1))


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """The context in which a forward pass runs at this precision."""
    if precision == "float32":
        return nullcontext()
    return cast(Any, torch.autocast)(device.type, dtype=_DTYPES[precision])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on any device.

    The class tells first. Where a library below torch ran out, only the text does; a device-side
    assert or a bug is none, whatever else it says.
    """
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error).lower()
    return (
        isinstance(error, (RuntimeError, ImportError))
        and not any(sign in text for sign in _OTHER_FAILURES)
        and any(sign in text for sign in _OUT_OF_MEMORY)
    )


def _cpu_name() -> str | None:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = (line.partition(":")[2].strip() for line in file if "model name" in line)
            return next(names, None)
    except OSError:
        return None
