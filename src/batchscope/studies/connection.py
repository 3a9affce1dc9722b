"""How a store is reached: a path or a database URL, looked at before it is opened."""

import os
import shutil
import sqlite3
import time
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event as sa_event
from sqlalchemy import exc as sa_errors

from batchscope.errors import InvalidInput, StoreError
from batchscope.gallery import BUILT_IN

_BUSY_SECONDS = 60
# A new store takes 100 KiB and its log as much again; a run takes a few.
_LEAST_ROOM = 1024 * 1024
BUSY_PRAGMA = f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}"


def path_of(place: str) -> Path | None:
    """The file of a store; None for a database elsewhere."""
    if place.startswith("sqlite:///"):
        return Path(place.removeprefix("sqlite:///"))
    return None if "://" in place else Path(place)


def check_path(path: Path, *, create: bool) -> None:
    """See that a file is there or can be made, with room to grow, and that it is a database.

    Raises:
        StoreError: it is not.
    """
    if create:
        # Writing first: a file system that takes no files also counts no free bytes.
        if not path.exists():
            _check_folder(path.absolute().parent)
        _check_room(path.absolute().parent)
    if not path.exists():
        if create:
            return
        raise StoreError(
            f"there is no store {path}",
            where=str(path.absolute()),
            expected="a file that batchscope study or recommend has written",
            do=_suggest_instead(str(path)),
        )
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise StoreError(
            f"cannot read {path}: {error.strerror}",
            where=str(path.absolute()),
            expected="a readable file",
            do="check the path and its permissions",
        ) from error
    if head and head != b"SQLite format 3\x00":
        raise StoreError(
            f"{path} is not a store",
            where=str(path.absolute()),
            expected="a Batchscope store, an SQLite file",
            do="name another file",
        )


def _suggest_instead(given: str) -> str:
    if given in BUILT_IN or ".py:" in given:
        return f"{given} is a task; name the store first: batchscope.db --study {given}"
    return "give the path of the store, or make one: batchscope study TASK"


def remove(path: Path) -> None:
    """Leave nothing of a store that could not be made."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _check_room(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < _LEAST_ROOM:
        raise StoreError(
            f"the disk of {folder} is full: {free // 1024:,} KiB are left",
            where=str(folder),
            expected=f"room for a store: {_LEAST_ROOM // 1024:,} KiB",
            do="make room, or name another place",
        )


def _check_folder(folder: Path) -> None:
    probe = folder / f".batchscope-{time.time_ns()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StoreError(
            f"cannot write in {folder}: {error.strerror}",
            where=str(folder),
            expected="a folder that exists and can be written",
            do="name another place",
        ) from error


def connect(place: str, path: Path | None, *, create: bool) -> sa.Engine:
    """The engine of a store.

    Args:
        create: it is to be written; what is only read may lie where nothing can be.

    Raises:
        InvalidInput: the URL is none.
        StoreError: its driver is not installed.
    """
    if path is not None:
        url = f"sqlite+pysqlite:///{path}"
        if not create and _is_frozen(path):
            url = sa.URL.create(
                "sqlite+pysqlite",
                database=path.absolute().as_uri(),
                query={"mode": "ro", "immutable": "1", "uri": "true"},
            )
        engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS})
        sa_event.listen(engine, "connect", _set_up_sqlite)
        return engine
    url = place.replace("postgresql://", "postgresql+psycopg://", 1)
    try:
        return sa.create_engine(url, pool_pre_ping=True)
    except (sa_errors.ArgumentError, sa_errors.NoSuchModuleError) as error:
        raise InvalidInput(
            f"{place!r} is not a database URL",
            where="--store",
            expected="a path, or for example postgresql://user@host/name",
            do="mend the URL",
        ) from error
    except ModuleNotFoundError as error:
        raise StoreError(
            f"the driver of {place.partition(':')[0]} is not installed",
            where="--store",
            expected="PostgreSQL's driver psycopg",
            do='pip install "batchscope[postgresql]"',
        ) from error


def _is_frozen(path: Path) -> bool:
    """Whether a store lies in a folder that cannot be written, where SQLite would make files to
    share it; with a log beside it someone else may write it, or was killed.
    """
    can_write = os.access(
        path.absolute().parent, os.W_OK, effective_ids=os.access in os.supports_effective_ids
    )
    return not can_write and not Path(f"{path}-wal").exists()


def _set_up_sqlite(connection: sqlite3.Connection, _: object) -> None:
    connection.execute(BUSY_PRAGMA)
    connection.execute("PRAGMA synchronous=NORMAL")
