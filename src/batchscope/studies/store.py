"""Where runs are kept: one SQLite file, or a database by its URL."""

import contextlib
import time
from collections.abc import Generator, Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc as sa_errors
from sqlalchemy.dialects import postgresql, sqlite

from batchscope.errors import StoreError
from batchscope.records import Measurement, PowerReading, Run
from batchscope.studies import schema
from batchscope.studies.connection import BUSY_PRAGMA, check_path, connect, path_of, remove
from batchscope.studies.encoding import (
    measurement_from_row,
    measurement_to_row,
    power_from_row,
    power_to_row,
    run_from_row,
    run_to_row,
)
from batchscope.studies.outages import patient

DEFAULT_STORE = "batchscope.db"
_LOCK = 7_226_284
_BEFORE_LEASES = 1


class Store:
    """An open store. A run is either wholly in it or not at all.

    Args:
        place: a path or a database URL.
        create: make it where there is none.

    Raises:
        StoreError: there is none, it is not ours, it is from a newer version, or it cannot be
            read or written.
    """

    def __init__(self, place: str, *, create: bool) -> None:
        self.place = place
        path = path_of(place)
        if path is not None:
            check_path(path, create=create)
        is_new = path is not None and not path.exists()
        self.engine = connect(place, path, create=create)
        try:
            with self.speaking():
                self._check_schema(create=create)
        except BaseException:
            self.close()
            if path is not None and is_new:
                remove(path)
            raise

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()

    @patient
    def save_runs(self, runs: Iterable[Run]) -> None:
        """Keep runs and give up the claims on them, all at once."""
        with self.speaking(), self.engine.begin() as connection:
            for run in runs:
                connection.execute(self._insert_new(schema.runs, run_to_row(run)))
                connection.execute(sa.delete(schema.claims).where(schema.claims.c.key == run.key))

    @patient
    def read_runs(self, keys: Iterable[str] | None = None) -> list[Run]:
        """The runs with these keys, or all, in the order of batch size, rate and seed."""
        table = schema.runs
        query = sa.select(table).order_by(
            table.c.batch_size, table.c.learning_rate, table.c.seed, table.c.key
        )
        if keys is not None:
            query = query.where(table.c.key.in_(list(keys)))
        with self.speaking(), self.engine.connect() as connection:
            return [run_from_row(row) for row in connection.execute(query).mappings()]

    @patient
    def save_task(
        self, fingerprint: str, *, name: str, parts: Mapping[str, str], facts: Mapping[str, object]
    ) -> None:
        """Keep what is known of a task."""
        row = {
            "fingerprint": fingerprint,
            "name": name,
            "parts": dict(parts),
            "facts": dict(facts),
            "seen": time.time(),
        }
        with self.speaking(), self.engine.begin() as connection:
            connection.execute(
                sa.delete(schema.tasks).where(schema.tasks.c.fingerprint == fingerprint)
            )
            connection.execute(self._insert_new(schema.tasks, row))

    @patient
    def read_task(self, fingerprint: str) -> sa.RowMapping:
        """What was kept of the task with this fingerprint."""
        query = sa.select(schema.tasks).where(schema.tasks.c.fingerprint == fingerprint)
        with self.speaking(), self.engine.connect() as connection:
            return connection.execute(query).mappings().one()

    @patient
    def read_versions(self, name: str) -> list[sa.RowMapping]:
        """The tasks of this name, the one used last first."""
        query = (
            sa.select(schema.tasks)
            .where(schema.tasks.c.name == name)
            .order_by(schema.tasks.c.seen.desc())
        )
        with self.speaking(), self.engine.connect() as connection:
            return list(connection.execute(query).mappings())

    @patient
    def save_study(
        self, study: str, *, task: str, fingerprint: str, plan: Mapping[str, object]
    ) -> None:
        """Keep a study, or note that it was used again; its first plan stays."""
        row = {
            "id": study,
            "task": task,
            "fingerprint": fingerprint,
            "plan": dict(plan),
            "used": time.time(),
        }
        with self.speaking(), self.engine.begin() as connection:
            connection.execute(self._insert_new(schema.studies, row))
            connection.execute(
                sa.update(schema.studies)
                .where(schema.studies.c.id == study)
                .values(used=row["used"])
            )

    @patient
    def note(self, study: str, **notes: Mapping[str, object] | int) -> None:
        """Add to a study's plan what was found out, or asked, since it began."""
        table = schema.studies
        mine = table.c.id == study
        with self.speaking(), self.engine.begin() as connection:
            plan = connection.execute(sa.select(table.c.plan).where(mine)).scalar_one()
            connection.execute(sa.update(table).where(mine).values(plan={**plan, **notes}))

    @patient
    def read_plan(self, study: str) -> Mapping[str, object] | None:
        """The plan that a study was kept with; None where there is no such study."""
        query = sa.select(schema.studies.c.plan).where(schema.studies.c.id == study)
        with self.speaking(), self.engine.connect() as connection:
            return connection.scalar(query)

    @patient
    def add_to_study(self, study: str, keys: Iterable[str]) -> None:
        """Say that these runs belong to a study."""
        with self.speaking(), self.engine.begin() as connection:
            for key in keys:
                connection.execute(
                    self._insert_new(schema.study_runs, {"study": study, "key": key})
                )

    @patient
    def list_studies(self) -> list[sa.RowMapping]:
        """All studies, the latest first."""
        query = sa.select(schema.studies).order_by(schema.studies.c.used.desc())
        with self.speaking(), self.engine.connect() as connection:
            return list(connection.execute(query).mappings())

    def find_study(self, wanted: str | None) -> sa.RowMapping:
        """The latest study, or the latest with this id or task.

        Raises:
            StoreError: there is none.
        """
        studies = self.list_studies()
        for study in studies:
            if wanted is None or wanted in (study["id"], study["task"]):
                return study
        known = ", ".join(f"{study['id']} ({study['task']})" for study in studies[:5])
        raise StoreError(
            f"{self.place} holds no study {wanted!r}" if wanted else f"{self.place} is empty",
            where=self.place,
            expected=f"one of {known}" if known else "a store with a study in it",
            do="batchscope study TASK makes one",
        )

    @patient
    def read_study(self, study: str) -> list[Run]:
        """The finished runs of a study, in a fixed order."""
        query = sa.select(schema.study_runs.c.key).where(schema.study_runs.c.study == study)
        with self.speaking(), self.engine.connect() as connection:
            keys = list(connection.scalars(query))
        return self.read_runs(keys)

    @patient
    def save_measurement(self, measurement: Measurement) -> None:
        """Keep a measurement."""
        with self.speaking(), self.engine.begin() as connection:
            connection.execute(
                sa.insert(schema.measurements).values(measurement_to_row(measurement))
            )

    @patient
    def read_measurements(self, fingerprint: str) -> list[Measurement]:
        """The measurements of a task, the latest first."""
        table = schema.measurements
        query = (
            sa.select(table).where(table.c.fingerprint == fingerprint).order_by(table.c.id.desc())
        )
        with self.speaking(), self.engine.connect() as connection:
            rows = connection.execute(query).mappings()
            return [measurement_from_row(row) for row in rows]

    @patient
    def save_power(self, reading: PowerReading) -> None:
        """Keep a reading of power."""
        self._make_room(schema.powers)
        with self.speaking(), self.engine.begin() as connection:
            connection.execute(sa.insert(schema.powers).values(power_to_row(reading)))

    @patient
    def read_powers(self, fingerprint: str) -> list[PowerReading]:
        """The readings of power of a task, the latest first."""
        table = schema.powers
        if not self._has(table):
            return []
        query = (
            sa.select(table).where(table.c.fingerprint == fingerprint).order_by(table.c.id.desc())
        )
        with self.speaking(), self.engine.connect() as connection:
            return [power_from_row(row) for row in connection.execute(query).mappings()]

    @patient
    def save_answer(self, key: str, *, task: str, fingerprint: str, answer: object) -> None:
        """Keep what a call on a task returned, in JSON; an answer that is there stays."""
        row = {"key": key, "task": task, "fingerprint": fingerprint, "answer": [answer]}
        with self.speaking(), self.engine.begin() as connection:
            connection.execute(self._insert_new(schema.answers, row))

    @patient
    def read_answers(self, fingerprint: str) -> dict[str, Any]:
        """What calls on a task returned, by their keys."""
        table = schema.answers
        self._make_room(table)
        query = sa.select(table.c.key, table.c.answer).where(table.c.fingerprint == fingerprint)
        with self.speaking(), self.engine.connect() as connection:
            return {key: answer for key, (answer,) in connection.execute(query)}

    def _has(self, table: sa.Table) -> bool:
        with self.speaking():
            return table.name in sa.inspect(self.engine).get_table_names()

    def _make_room(self, table: sa.Table) -> None:
        """Give a store from before there was a table of this kind that table."""
        if not self._has(table):
            with self.speaking():
                self._make_tables()

    def _insert_new(self, table: sa.Table, row: Mapping[str, object]) -> sa.Insert:
        """An insert that leaves a row with the same key as it is."""
        dialect = postgresql if self.engine.dialect.name == "postgresql" else sqlite
        return dialect.insert(table).values(**row).on_conflict_do_nothing()

    def _make_tables(self) -> None:
        """Make what is missing, one process at a time, wholly or not at all."""
        with self.engine.connect() as connection:
            if self.engine.dialect.name == "sqlite":
                connection.execution_options(isolation_level="AUTOCOMMIT")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            is_new = schema.about.name not in sa.inspect(connection).get_table_names()
            schema.metadata.create_all(connection)
            if is_new:
                connection.execute(
                    sa.insert(schema.about).values(schema_version=schema.SCHEMA_VERSION)
                )
            if self.engine.dialect.name == "sqlite":
                connection.exec_driver_sql("COMMIT")
            else:
                connection.commit()

    def _give_claims_leases(self) -> None:
        """Bring a store from before leases up to date; claims last no longer than their runs."""
        with self.engine.begin() as connection:
            schema.claims.drop(connection, checkfirst=True)
            schema.claims.create(connection)
            connection.execute(sa.update(schema.about).values(schema_version=schema.SCHEMA_VERSION))

    def _prefer_wal(self) -> None:
        """Let readers never wait for a writer.

        Two that ask at once would each wait for the other, so nobody waits: whoever comes next to
        an idle store changes it for good.
        """
        with self.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout=0")
            with contextlib.suppress(sa_errors.OperationalError):
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            connection.exec_driver_sql(BUSY_PRAGMA)

    def _check_schema(self, *, create: bool) -> None:
        tables = sa.inspect(self.engine).get_table_names()
        if not tables and create:
            self._make_tables()
            tables = sa.inspect(self.engine).get_table_names()
        if not tables:
            raise StoreError(
                f"{self.place} is empty: nothing was kept in it yet",
                where=self.place,
                expected="a store with a study",
                do="batchscope study TASK makes one; one that was killed as it began goes on with "
                "the same command",
            )
        if schema.about.name not in tables:
            raise self._refusal("is a database, but not a Batchscope store")
        if create and self.engine.dialect.name == "sqlite":
            self._prefer_wal()
        with self.engine.connect() as connection:
            version = connection.scalar(sa.select(schema.about.c.schema_version))
        if version == _BEFORE_LEASES:
            if create:
                self._give_claims_leases()
        elif version != schema.SCHEMA_VERSION:
            raise self._refusal(
                f"has version {version}; this Batchscope reads version {schema.SCHEMA_VERSION}"
            )

    def _refusal(self, what: str) -> StoreError:
        return StoreError(
            f"{self.place} {what}",
            where=self.place,
            expected="a store that this version of Batchscope wrote",
            do="name another file with --store, or install the version that wrote it",
        )

    @contextlib.contextmanager
    def speaking(self) -> Generator[None]:
        """Turn what a database raises into one sentence."""
        try:
            yield
        except sa_errors.DBAPIError as error:
            reason = str(error.orig).strip().splitlines()[0]
            if "malformed" in reason or "not a database" in reason:
                raise StoreError(
                    f"the store is damaged: {reason}",
                    where=self.place,
                    expected="a store that was written and copied whole",
                    do="take a copy from before, or begin another one with --store",
                ) from error
            raise StoreError(
                f"the store failed: {reason}",
                where=self.place,
                expected="a store that can be read and written, on a disk with room",
                do="make room or mend access; finished runs are kept, and the same command goes on",
            ) from error
