"""A worker for one call, without a second thread: it has the memory that a plain script has."""

import os
import signal
import sys

from batchscope.workers.messages import read_sealed


def main() -> None:
    """Answer one call from standard input; the answer leaves through what was standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    # What a task prints must not mix with the answer.
    os.dup2(2, 1)
    from batchscope.workers.calls import answer_message, prepare

    try:
        task = prepare(read_sealed(sys.stdin.buffer), answers)
        call = read_sealed(sys.stdin.buffer)
    except EOFError:
        # The parent died or let go.
        return
    answer_message(task, call, answers)


if __name__ == "__main__":
    main()
