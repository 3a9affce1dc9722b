"""One of the processes that carry out a call together."""

import contextlib
import os
import pickle
import sys
import threading
from pathlib import Path

import cloudpickle
import psutil
import torch
from torch import distributed

from batchscope.training.devices import is_out_of_memory
from batchscope.training.ranks import DataParallelRanks
from batchscope.training.spread import CALL, ERROR, PROGRESS, RESULT, RankCall
from batchscope.workers.calls import as_batchscope_error
from batchscope.workers.travel import load_task


def main() -> None:
    """Carry out the call of a folder as the rank that torchrun's environment names."""
    folder, parent = Path(sys.argv[1]), int(sys.argv[2])
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    call: RankCall = cloudpickle.loads((folder / CALL).read_bytes())
    torch.set_num_threads(call.threads)
    try:
        result = _carry_out(call, folder)
    except Exception as error:
        kept = MemoryError(str(error)) if is_out_of_memory(error) else as_batchscope_error(error)
        _write_once(folder / ERROR, kept)
        # Without goodbye: the others may wait for this one, and are ended from outside.
        os._exit(1)
    if os.environ["RANK"] == "0":
        _write_once(folder / RESULT, result)
    # One that leaves early takes the connections of the others with it.
    distributed.barrier()
    distributed.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of its connections that outlive the interpreter may abort it.
    os._exit(0)


def _carry_out(call: RankCall, folder: Path) -> object:
    device = torch.device(call.device_kind)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    task = load_task(call.source)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    ranks = DataParallelRanks(device)

    def report(progress: object) -> None:
        if ranks.rank == 0:
            with (folder / PROGRESS).open("ab") as file:
                file.write(pickle.dumps(progress))

    return call.function(task, *call.arguments, device=device, ranks=ranks, report=report)


def _write_once(path: Path, value: object) -> None:
    """Write whole or not at all; the first of several that fail is the one that is told."""
    part = path.with_suffix(f".{os.getpid()}")
    part.write_bytes(cloudpickle.dumps(value))
    try:
        os.link(part, path)
    except FileExistsError:
        return


def _end_with(parent: int) -> None:
    """Whoever asked is gone: what is trained here has no one to answer to."""
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(parent).wait()
    os._exit(1)


if __name__ == "__main__":
    main()
