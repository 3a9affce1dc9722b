"""A list that several processes read and add to, one at a time: in memory, a file, a database."""

import contextlib
import threading
from collections.abc import Generator, Mapping
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy import exc as sa_errors

from batchscope.errors import StoreError
from batchscope.studies.connection import check_path, connect, path_of
from batchscope.studies.outages import through_outages

_LOCK = 7_226_285

metadata = sa.MetaData()
events = sa.Table(
    "events",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("body", sa.JSON, nullable=False),
)

Event = Mapping[str, Any]


class Turn(Protocol):
    """The list while no other process may add to it."""

    def read(self, after: int) -> list[Event]:
        """The events after the first so many."""
        ...

    def add(self, event: Event) -> None:
        """Add one at the end; kept once the turn ends without an error."""
        ...


class MemoryEvents:
    """A list that ends with the process."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._lock = threading.RLock()

    @contextlib.contextmanager
    def turn(self) -> Generator[Turn]:
        """One reader and writer at a time."""
        with self._lock:
            yield self

    def read(self, after: int) -> list[Event]:
        """The events after the first so many."""
        return self._events[after:]

    def add(self, event: Event) -> None:
        """Add one at the end."""
        self._events.append(event)


class StoredEvents:
    """A list in a file or a database, made where there is none.

    Raises:
        StoreError: it is not ours, or it cannot be read or written.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._path = path_of(place)
        if self._path is not None:
            check_path(self._path, create=True)
        self._engine = connect(place, self._path, create=True)
        self._lock = threading.RLock()
        through_outages(lambda _: self._make_table())

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    @contextlib.contextmanager
    def turn(self) -> Generator[Turn]:
        """One reader and writer at a time, among threads and processes."""
        with self._lock, self._speaking(), self._engine.connect() as connection:
            self._take(connection)
            try:
                yield _StoredTurn(connection)
                connection.commit()
            except BaseException:
                # After a commit that failed the transaction is open still, and bars all others.
                connection.invalidate()
                raise

    def _make_table(self) -> None:
        with self._speaking(), self._engine.connect() as connection:
            if sa.inspect(connection).has_table("batchscope"):
                raise StoreError(
                    f"{self.place} holds studies",
                    where=self.place,
                    expected="a place of the advisor's own",
                    do="name another, such as advisor.db",
                )
            if self._path is not None and self._is_foreign(connection):
                raise StoreError(
                    f"{self.place} is a database of another program",
                    where=self.place,
                    expected="a state of the advisor, or a file that is not there yet",
                    do="name another, such as advisor.db",
                )
            if not sa.inspect(connection).has_table(events.name):
                connection.rollback()
                self._take(connection)
                metadata.create_all(connection)
                connection.commit()

    @staticmethod
    def _is_foreign(connection: sa.Connection) -> bool:
        """Whether a file has tables, and not the one of a state; a database may hold others too."""
        inspector = sa.inspect(connection)
        if not inspector.has_table(events.name):
            return bool(inspector.get_table_names())
        names = {column["name"] for column in inspector.get_columns(events.name)}
        return names != set(events.columns.keys())

    def _take(self, connection: sa.Connection) -> None:
        if self._path is not None:
            # A read that becomes a write would have to begin anew.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")

    @contextlib.contextmanager
    def _speaking(self) -> Generator[None]:
        try:
            yield
        except sa_errors.DBAPIError as error:
            raise StoreError(
                f"cannot read or write {self.place}: {error.orig}",
                where=self.place,
                expected="a state of the advisor",
                do="check the place, its permissions and the room on its disk",
            ) from error


class _StoredTurn:
    """The list in one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def read(self, after: int) -> list[Event]:
        query = sa.select(events.c.body).order_by(events.c.number).offset(after)
        return [row.body for row in self._connection.execute(query)]

    def add(self, event: Event) -> None:
        self._connection.execute(sa.insert(events).values(body=dict(event)))
