"""Who trains which run: a claim in the store, so that no run is trained twice."""

import os
import socket
from collections.abc import Iterable

import psutil
import sqlalchemy as sa
from sqlalchemy import exc as sa_errors

from batchscope.studies import schema
from batchscope.studies.store import Store


def claim(store: Store, key: str) -> bool:
    """Take a run for this process, and say whether it is ours to train.

    It is not when another process that is alive holds it, or when it is finished. The claim of a
    dead process on this machine is taken over at once.
    """
    mine = _owner()
    table = schema.claims
    with store.speaking(), store.engine.begin() as connection:
        if store.engine.dialect.name == "sqlite":
            # Readers that later write would fail where another has written in between.
            connection.exec_driver_sql("UPDATE claims SET process = process WHERE 0")
        finished = sa.select(schema.runs.c.key).where(schema.runs.c.key == key)
        if connection.scalar(finished) is not None:
            return False
        try:
            with connection.begin_nested():
                connection.execute(sa.insert(table).values(key=key, **mine))
            return True
        except sa_errors.IntegrityError:
            pass
        row = connection.execute(sa.select(table).where(table.c.key == key)).mappings().first()
        if row is None or _is_alive(row):
            return False
        taken = connection.execute(
            sa.update(table)
            .where(
                table.c.key == key,
                table.c.process == row["process"],
                table.c.started == row["started"],
            )
            .values(**mine)
        )
        return taken.rowcount == 1


def release(store: Store, keys: Iterable[str]) -> None:
    """Give up claims of this process whose runs did not finish."""
    table, mine = schema.claims, _owner()
    with store.speaking(), store.engine.begin() as connection:
        connection.execute(
            sa.delete(table).where(
                table.c.key.in_(list(keys)),
                table.c.host == mine["host"],
                table.c.process == mine["process"],
            )
        )


def describe_owner(store: Store, key: str) -> str | None:
    """Who holds a claim, in words."""
    query = sa.select(schema.claims).where(schema.claims.c.key == key)
    with store.speaking(), store.engine.connect() as connection:
        row = connection.execute(query).mappings().first()
    return None if row is None else f"process {row['process']} on {row['host']}"


def _owner() -> dict[str, str | int | float]:
    return {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "started": psutil.Process().create_time(),
    }


def _is_alive(row: sa.RowMapping) -> bool:
    """Whether the owner of a claim lives; one on another machine is taken to."""
    if row["host"] != socket.gethostname():
        return True
    try:
        owner = psutil.Process(row["process"])
        if owner.status() == psutil.STATUS_ZOMBIE:
            return False
        # A process number that was given out again has another start time.
        return abs(owner.create_time() - row["started"]) < 1
    except psutil.NoSuchProcess:
        return False
