"""Who trains which run: a claim in the store, so that no run is trained twice."""

import os
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import psutil
import sqlalchemy as sa
from sqlalchemy import exc as sa_errors

from batchscope.records import Progress
from batchscope.studies import schema
from batchscope.studies.outages import patient, through_outages
from batchscope.studies.store import Store

# Many renewals long, so that a busy disk or network ends no living claim.
LEASE_SECONDS = 120.0
RENEWED_EVERY_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A run that somebody trains now."""

    label: str
    owner: str
    progress: Progress


def claim(store: Store, key: str, *, label: str = "") -> bool:
    """Take a run for this process, and say whether it is ours to train.

    It is not when another process that is alive holds it, or when it is finished. The claim of a
    dead process on this machine is taken over at once, one of another machine when its lease has
    run out.

    Args:
        label: the run in words, for those who watch.
    """
    return through_outages(lambda again: _claim(store, key, label, is_ours=again))


def _claim(store: Store, key: str, label: str, *, is_ours: bool) -> bool:
    """Claim once; `is_ours` where a claim of this process may be one whose answer was lost."""
    table = schema.claims
    with store.speaking(), store.engine.begin() as connection:
        if store.engine.dialect.name == "sqlite":
            # Readers that later write would fail where another has written in between.
            connection.exec_driver_sql("UPDATE claims SET process = process WHERE 0")
        if _is_finished(connection, key) or not _take(connection, key, label, is_ours=is_ours):
            return False
        # Whoever held it before may have finished it between the question and the taking.
        if _is_finished(connection, key):
            connection.execute(sa.delete(table).where(table.c.key == key))
            return False
        return True


def _is_finished(connection: sa.Connection, key: str) -> bool:
    finished = sa.select(schema.runs.c.key).where(schema.runs.c.key == key)
    return connection.scalar(finished) is not None


def _take(connection: sa.Connection, key: str, label: str, *, is_ours: bool) -> bool:
    table = schema.claims
    now = _now(connection)
    mine = {**_owner(), "renewed": now, "label": label, "share": 0.0, "loss": None}
    try:
        with connection.begin_nested():
            connection.execute(sa.insert(table).values(key=key, **mine))
        return True
    except sa_errors.IntegrityError:
        pass
    row = connection.execute(sa.select(table).where(table.c.key == key)).mappings().first()
    if row is None or (_is_alive(row, now) and not (is_ours and _is_own(row))):
        return False
    taken = connection.execute(
        sa.update(table)
        .where(
            table.c.key == key,
            table.c.process == row["process"],
            table.c.started == row["started"],
            table.c.renewed == row["renewed"],
        )
        .values(**mine)
    )
    return taken.rowcount == 1


@patient
def renew(store: Store, progress: Mapping[str, Progress]) -> None:
    """Prolong the leases of this process on these runs, and say how far they are."""
    table, mine = schema.claims, _owner()
    with store.speaking(), store.engine.begin() as connection:
        now = _now(connection)
        for key, at in progress.items():
            connection.execute(
                sa.update(table)
                .where(
                    table.c.key == key,
                    table.c.host == mine["host"],
                    table.c.process == mine["process"],
                )
                .values(renewed=now, share=at.share, loss=at.loss)
            )


@patient
def read_claims(store: Store) -> list[Claim]:
    """The runs that living processes train now."""
    with store.speaking(), store.engine.connect() as connection:
        now = _now(connection)
        rows = connection.execute(sa.select(schema.claims)).mappings()
        return [
            Claim(
                label=row["label"],
                owner=_describe(row),
                progress=Progress(share=row["share"], loss=row["loss"]),
            )
            for row in rows
            if _is_alive(row, now)
        ]


@patient
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


@patient
def describe_owner(store: Store, key: str) -> str | None:
    """Who holds a claim, in words."""
    query = sa.select(schema.claims).where(schema.claims.c.key == key)
    with store.speaking(), store.engine.connect() as connection:
        row = connection.execute(query).mappings().first()
    return None if row is None else _describe(row)


def _owner() -> dict[str, str | int | float]:
    return {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "started": psutil.Process().create_time(),
    }


def _is_own(row: sa.RowMapping) -> bool:
    return all(row[name] == value for name, value in _owner().items())


def _describe(row: sa.RowMapping) -> str:
    return f"process {row['process']} on {row['host']}"


def _now(connection: sa.Connection) -> float:
    """Seconds by the clock that all who share the store go by."""
    if connection.dialect.name == "sqlite":
        return time.time()
    return float(connection.scalar(sa.select(sa.extract("epoch", sa.func.clock_timestamp()))) or 0)


def _is_alive(row: sa.RowMapping, now: float) -> bool:
    """Whether the owner of a claim lives; one on another machine does while its lease runs."""
    if row["host"] != socket.gethostname():
        return now - row["renewed"] < LEASE_SECONDS
    try:
        owner = psutil.Process(row["process"])
        if owner.status() == psutil.STATUS_ZOMBIE:
            return False
        # A process number that was given out again has another start time.
        return abs(owner.create_time() - row["started"]) < 1
    except psutil.NoSuchProcess:
        return False
