"""A worker process: it loads one task, then calls functions of it until its parent is gone."""

import os
import queue
import signal
import sys
import threading
from typing import BinaryIO

from batchscope.workers.messages import read_sealed


def main() -> None:
    """Serve calls from standard input; answers leave through what was standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    # What a task prints must not mix with the answers.
    os.dup2(2, 1)
    calls: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_read_calls, args=(sys.stdin.buffer, calls), daemon=True).start()
    _serve(calls, answers)


def _read_calls(source: BinaryIO, calls: "queue.Queue[bytes]") -> None:
    while True:
        try:
            calls.put(read_sealed(source))
        except EOFError:
            # The parent died or let go: whatever runs here has no one to answer to.
            os._exit(0)


def _serve(calls: "queue.Queue[bytes]", answers: BinaryIO) -> None:
    from batchscope.workers.calls import answer_message, prepare

    task = prepare(calls.get(), answers)
    while True:
        answer_message(task, calls.get(), answers)


if __name__ == "__main__":
    main()
