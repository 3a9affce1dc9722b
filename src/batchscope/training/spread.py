"""A call carried out by several processes at once, one per device, as torchrun starts them."""

import os
import pickle
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import cloudpickle
import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from batchscope.errors import WorkerDied
from batchscope.task import Task
from batchscope.training.devices import choose_device
from batchscope.workers.travel import TaskSource, source_of

CALL, RESULT, ERROR, PROGRESS = "call.pkl", "result.pkl", "error.pkl", "progress.pkl"
_SECONDS_BETWEEN_LOOKS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class RankCall:
    """What every process is to do: function(task, *arguments, device=, ranks=, report=).

    Attributes:
        device_kind: "cpu" or "cuda", of which each process takes its own.
        threads: of each process.
    """

    source: TaskSource
    function: Callable[..., Any]
    arguments: tuple[object, ...]
    device_kind: str
    threads: int


def call_on_ranks(
    task: Task,
    function: Callable[..., Any],
    arguments: tuple[object, ...],
    *,
    device_name: str | None,
    count: int,
    report: Callable[[object], None],
) -> Any:
    """Call a function in `count` processes of one group, and return what the first one returns.

    Args:
        function: that cloudpickle can write; called with `device`, `ranks` and `report`.
        report: is told what the first process reports.

    Raises:
        BatchscopeError: whatever the task raised.
        MemoryError: memory ran out in one of them.
        WorkerDied: one of them was killed.
    """
    with tempfile.TemporaryDirectory(prefix="batchscope-ranks-") as name:
        folder = Path(name)
        call = RankCall(
            source=source_of(task),
            function=function,
            arguments=arguments,
            device_kind=choose_device(device_name).type,
            threads=max(1, torch.get_num_threads() // count),
        )
        (folder / CALL).write_bytes(cloudpickle.dumps(call))
        ended = threading.Event()
        reader = threading.Thread(target=_pass_on, args=(folder / PROGRESS, report, ended))
        reader.start()
        try:
            _launch(folder, count)
        except ChildFailedError as failure:
            # Whoever died after the result was whole took nothing with it.
            if not (folder / RESULT).exists():
                raise _explain(folder) from failure
        finally:
            ended.set()
            reader.join()
        return pickle.loads((folder / RESULT).read_bytes())


def _launch(folder: Path, count: int) -> None:
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder / "logs"), redirects=Std.ALL),
    )
    elastic_launch(config, sys.executable)(
        "-m", "batchscope.training.rank", str(folder), str(os.getpid())
    )


def _pass_on(path: Path, report: Callable[[object], None], ended: threading.Event) -> None:
    """Hand on what the first process writes, until it has ended and all is read."""
    place = 0
    last = False
    while True:
        if path.exists():
            with path.open("rb") as file:
                file.seek(place)
                while True:
                    try:
                        progress = cast(object, pickle.load(file))
                    except (EOFError, pickle.UnpicklingError):
                        # The end of what is written, or the middle of a line that is not.
                        break
                    place = file.tell()
                    report(progress)
        if last:
            return
        last = ended.wait(_SECONDS_BETWEEN_LOOKS)


def _explain(folder: Path) -> Exception:
    path = folder / ERROR
    if path.exists():
        return cast(Exception, pickle.loads(path.read_bytes()))
    return WorkerDied(
        "a process that trained a part of a run was ended from outside",
        where="--devices",
        expected="every process alive until the run's end",
        do="look for what killed it, such as the kernel for want of memory, and go on with the "
        "same command",
    )
