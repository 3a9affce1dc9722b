"""A worker for one call, without a second thread: it has the memory that a plain script has."""

import os
import signal
import sys

from batchscope.workers.messages import read_message, write_message


def main() -> None:
    """Answer one call from standard input; the answer leaves through what was standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    # What a task prints must not mix with the answer.
    os.dup2(2, 1)
    from batchscope.workers.calls import answer_call, prepare

    try:
        task = prepare(read_message(sys.stdin.buffer), answers)
        call = read_message(sys.stdin.buffer)
    except EOFError:
        # The parent died or let go.
        return
    answer_call(task, call, lambda kind, value: write_message(answers, (kind, value)))


if __name__ == "__main__":
    main()
