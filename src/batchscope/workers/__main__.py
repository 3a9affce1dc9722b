"""A worker process: it loads one task, then calls functions of it until its parent is gone."""

import os
import queue
import signal
import sys
import threading
from typing import BinaryIO

from batchscope.workers.messages import read_message, write_message


def main() -> None:
    """Serve calls from standard input; answers leave through what was standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    # What a task prints must not mix with the answers.
    os.dup2(2, 1)
    calls: queue.Queue[object] = queue.Queue()
    threading.Thread(target=_read_calls, args=(sys.stdin.buffer, calls), daemon=True).start()
    _serve(calls, answers)


def _read_calls(source: BinaryIO, calls: "queue.Queue[object]") -> None:
    while True:
        try:
            calls.put(read_message(source))
        except EOFError:
            # The parent died or let go: whatever runs here has no one to answer to.
            os._exit(0)


def _serve(calls: "queue.Queue[object]", answers: BinaryIO) -> None:
    from batchscope.workers.calls import answer_call, prepare

    task = prepare(calls.get(), answers)
    while True:
        answer_call(task, calls.get(), lambda kind, value: write_message(answers, (kind, value)))


if __name__ == "__main__":
    main()
