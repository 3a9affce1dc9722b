"""Worker processes that stay for the next study of the same task.

A process that is not forked takes seconds to load torch. What trains many small studies, one after
another, would pay that for each of them.
"""

from collections import OrderedDict
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from batchscope.workers.calls import TaskFunction
from batchscope.workers.pool import Answer, Pool, ProcessPool
from batchscope.workers.travel import TaskSource

# Pools that wait: those that train two tasks, and those that time them.
_MOST = 4

_Key = tuple[TaskSource, int, int]
_kept: "ContextVar[_Keep | None]" = ContextVar("kept", default=None)


@contextmanager
def keeping_workers() -> Generator[None]:
    """Let the local workers of studies inside wait for the next one; at the end they end."""
    keep = _Keep()
    token = _kept.set(keep)
    try:
        yield
    finally:
        _kept.reset(token)
        keep.close()


def open_processes(source: TaskSource, *, count: int, threads: int) -> Pool:
    """Processes of this machine for a task, those that wait for it if there are any.

    Args:
        count: processes at most, each with `threads` threads.
    """
    keep = _kept.get()
    if keep is None:
        return ProcessPool(source, count=count, threads=threads)
    return keep.lend((source, count, threads))


class _Keep:
    def __init__(self) -> None:
        self._waiting: OrderedDict[_Key, ProcessPool] = OrderedDict()

    def lend(self, key: _Key) -> Pool:
        source, count, threads = key
        pool = self._waiting.pop(key, None) or ProcessPool(source, count=count, threads=threads)
        return _Lent(self, key, pool)

    def take_back(self, key: _Key, pool: ProcessPool) -> None:
        """Keep what is idle; what still trains when it is given back was interrupted."""
        if not pool.is_idle or key in self._waiting:
            pool.close()
            return
        self._waiting[key] = pool
        while len(self._waiting) > _MOST:
            self._waiting.popitem(last=False)[1].close()

    def close(self) -> None:
        while self._waiting:
            self._waiting.popitem()[1].close()


class _Lent(Pool):
    """A pool that goes back when it is closed."""

    def __init__(self, keep: _Keep, key: _Key, pool: ProcessPool) -> None:
        self._keep = keep
        self._key = key
        self._pool = pool

    def close(self) -> None:
        self._keep.take_back(self._key, self._pool)

    @property
    def free(self) -> int:
        return self._pool.free

    def submit(self, label: str, function: TaskFunction, *arguments: object) -> None:
        self._pool.submit(label, function, *arguments)

    def wait(self, timeout: float | None) -> Answer | None:
        return self._pool.wait(timeout)
