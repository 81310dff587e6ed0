"""SQLite: readers from a pool, and one writer connection that commits the waiting turns as a group.

WAL lets readers go on while a writer writes; ``synchronous=FULL`` makes a returned COMMIT survive a power
cut (https://www.sqlite.org/pragma.html#pragma_synchronous). SQLite's own busy handler would sleep inside
C and with it, under gevent, the whole process: it is off, and locks are waited for by polling.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine, create_engine, event, exc, pool
from sqlalchemy.engine import URL

from appbuilder import clock, telemetry
from appbuilder.logs import logger
from appbuilder.settings import Settings
from appbuilder.store.conversations import queries
from appbuilder.store.conversations.conversation_row import Execute
from appbuilder.store.conversations.queries import ConversationSql
from appbuilder.store.databases import create_tables, urls
from appbuilder.store.databases.driver_errors import is_busy
from appbuilder.store.databases.group_commit import Done, GroupCommitter
from appbuilder.store.databases.read_pool import ReadPool
from appbuilder.store.databases.sqlite_file import LOOK_EVERY, DatabaseFile, make_private
from appbuilder.store.databases.sqlite_insert import SQL, encode_time, insert_group
from appbuilder.store.sessions import rows
from appbuilder.store.sessions.message_table import TABLE
from appbuilder.store.sessions.rows import PreparedTurn

_T = TypeVar("_T")

FIRST_PAUSE = 0.001
LONGEST_PAUSE = 0.05


def when_unlocked(action: Callable[[], _T], deadline: float) -> _T:
    """Runs *action* until no foreign lock is in its way; after *deadline* the lock's error is raised."""
    pause = FIRST_PAUSE
    while True:
        try:
            return action()
        except (sqlite3.OperationalError, exc.OperationalError) as error:
            if not is_busy(error) or clock.monotonic() >= deadline:
                raise
        # Random, so that two processes that wait for each other's commits do not step in time.
        time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
        pause = min(2 * pause, LONGEST_PAUSE)


class SqliteBackend:
    """One process's connections to one SQLite database."""

    sql = SQL
    catalogue_indexes = queries.SQLITE_INDEXES
    conversation_sql = ConversationSql(queries.SQLITE)
    together = 100

    def __init__(self, url: URL, settings: Settings, prepare: Callable[[SqliteBackend], None]) -> None:
        """:param prepare: makes all that was asked for so far, in a file that took the place of another."""
        self._url = url
        self._settings = settings
        self._memory = urls.in_memory(url)
        self._to_make = urls.file_to_make(url)
        self._engine = self._make_engine()
        self._readers = ReadPool(self._connect, max(1, settings.db_pool), settings.db_timeout)
        self._writer: sqlite3.Connection | None = None
        self._group = GroupCommitter[PreparedTurn](self._write_group)
        # A database without a file has one connection, which all share by turns.
        self._alone = threading.Lock() if self._memory else None
        self._file = DatabaseFile()
        self._look_at = 0.0
        self._prepare_anew = prepare
        self._going_over = threading.Lock()
        self._writer_file: tuple[int, int] | None = None

    def _make_engine(self) -> Engine:
        options: dict[str, Any] = {"poolclass": pool.StaticPool}
        if not self._memory:
            options = {
                "poolclass": pool.QueuePool,
                "pool_size": max(1, self._settings.db_pool),
                "max_overflow": 0,
                "pool_timeout": self._settings.db_timeout,
                "pool_use_lifo": True,
            }
        engine = create_engine(
            self._url,
            hide_parameters=True,
            isolation_level="AUTOCOMMIT",
            connect_args={"check_same_thread": False, "timeout": 0},
            **options,
        )
        event.listen(engine, "do_connect", lambda *_: self._make_file())
        event.listen(engine, "connect", lambda connection, _: self._set_up(connection))
        return engine

    def _set_up(self, connection: Any) -> None:
        deadline = self._deadline()
        if not self._memory:
            mode = when_unlocked(lambda: _wal(connection), deadline)
            if mode != "wal":
                logger.warning("SQLite keeps no write-ahead log here (journal_mode=%s): slower.", mode)
        connection.execute("PRAGMA synchronous=FULL")
        # On macOS fsync alone leaves data in the drive's cache; elsewhere these do nothing.
        connection.execute("PRAGMA fullfsync=1")
        connection.execute("PRAGMA checkpoint_fullfsync=1")
        self._file.is_open(connection)

    def _make_file(self) -> None:
        if self._to_make and not os.path.exists(self._to_make):
            make_private(self._to_make)

    def _deadline(self) -> float:
        return clock.monotonic() + self._settings.db_timeout

    def _follow(self) -> None:
        """Goes over to the file that has the name now: what is written to another is lost."""
        if self._memory or not self._file.is_other_file():
            return
        with self._going_over:
            if self._file.is_other_file():
                self._go_over()

    def _go_over(self) -> None:
        # The writer is left to who writes: it may be in the middle of a commit.
        self._readers.close()
        self._engine.dispose()
        self._prepare_anew(self)
        self._file.take()

    # Reading

    def ping(self) -> None:
        # Reads a page of the file, which `SELECT 1` would not.
        self.read("PRAGMA schema_version", ())

    def read(self, sql: str, parameters: tuple[Any, ...]) -> list[Any]:
        return self._read(sql, parameters, sqlite3.Cursor.fetchall)

    def read_within(
        self, sql: str, parameters: tuple[Any, ...], most_bytes: int, column: int
    ) -> tuple[list[Any], bool]:
        # Row by row, as an index gives them in their order: what does not fit any more is not read.
        *given, limit = parameters
        return self._read(
            sql,
            (*given, limit + 1),
            # What a text takes in memory: one with emoji takes four bytes a character.
            lambda cursor: rows.within(cursor, limit, most_bytes, lambda row: sys.getsizeof(row[column])),
        )

    def _read(self, sql: str, parameters: tuple[Any, ...], take: Callable[[sqlite3.Cursor], _T]) -> _T:
        return self._unless_deleted(lambda: self._read_once(sql, parameters, take))

    def _unless_deleted(self, read: Callable[[], _T]) -> _T:
        try:
            return read()
        except (sqlite3.OperationalError, exc.OperationalError) as error:
            if "no such table" not in str(error):
                raise
        # The file was deleted since this process opened it; SQLite has made an empty one.
        with self._going_over:
            self._go_over()
        return read()

    def _read_once(self, sql: str, parameters: tuple[Any, ...], take: Callable[[sqlite3.Cursor], _T]) -> _T:
        if self._alone is not None:
            with self._alone, self._raw() as shared, contextlib.closing(shared.cursor()) as cursor:
                return take(cursor.execute(sql, parameters))
        began = clock.monotonic()
        if began >= self._look_at:
            self._look_at = began + LOOK_EVERY
            if self._file.is_replaced():
                self._follow()
        connection, idle = self._readers.acquire()
        telemetry.current.pool_waited(clock.monotonic() - began)
        try:
            with contextlib.closing(connection.cursor()) as cursor:
                return when_unlocked(lambda: take(cursor.execute(sql, parameters)), self._deadline())
        finally:
            self._readers.release(connection, idle)

    def _sharing(self) -> contextlib.AbstractContextManager[Any]:
        return self._alone or contextlib.nullcontext()

    # Writing

    def write(self, turn: PreparedTurn) -> None:
        self._group.submit(turn, self._deadline())

    def write_later(self, turn: PreparedTurn, tell: Done) -> None:
        self._group.submit_later(turn, self._deadline(), tell)

    def try_write(self, turn: PreparedTurn, timeout: float) -> None:
        deadline = clock.monotonic() + timeout
        self._file.check_space()
        self._group.submit(turn, deadline)
        if not self._memory:
            # Other connections have pages in memory that may be damaged in the file by now.
            with contextlib.closing(self._connect()) as fresh:
                when_unlocked(lambda: fresh.execute(SQL.page, (turn.session_id, "", 1)).fetchall(), deadline)

    def _write_group(
        self, take: Callable[[], list[PreparedTurn]], deadline: float
    ) -> Sequence[Exception | None]:
        began = clock.monotonic()
        with self._sharing():
            connection = self._begin(deadline)
            group = take()
            try:
                insert_group(connection, group)
                self._commit(connection, deadline)
            except Exception as error:  # noqa: BLE001 - each turn of the group gets its own error
                self._forget_writer()
                if len(group) == 1 and not self._stored(group[0]):
                    return [error]
                return [self._write_alone(turn) for turn in group]
            except BaseException:
                self._forget_writer()
                raise
            telemetry.current.committed(clock.monotonic() - began, len(group))
            return [None] * len(group)

    def _write_alone(self, turn: PreparedTurn) -> Exception | None:
        """A turn of a group that failed: one bad turn must not fail the others."""
        began, deadline = clock.monotonic(), self._deadline()
        try:
            if self._stored(turn):
                return None
            connection = self._begin(deadline)
            insert_group(connection, [turn])
            self._commit(connection, deadline)
            telemetry.current.committed(clock.monotonic() - began, 1)
        except Exception as error:  # noqa: BLE001 - handed to the thread that waits for this turn
            self._forget_writer()
            return error
        return None

    def _begin(self, deadline: float) -> sqlite3.Connection:
        self._follow()
        if self._writer_file != self._file.opened:
            self._forget_writer()
        if self._writer is None:
            if not self._memory:
                self.prepare()
            self._writer_file = self._file.opened
            self._writer = self._open_writer()
        writer = self._writer
        try:
            when_unlocked(lambda: writer.execute("BEGIN IMMEDIATE"), deadline)
        except sqlite3.Error as error:
            if not is_busy(error):
                self._forget_writer()
            raise
        return writer

    def _open_writer(self) -> sqlite3.Connection:
        if self._memory:
            with self._raw() as shared:
                return shared
        return self._connect()

    def _connect(self) -> sqlite3.Connection:
        (path,), options = self._engine.dialect.create_connect_args(self._url)
        uri = bool(options.get("uri"))
        self._make_file()
        connection = sqlite3.connect(path, timeout=0, check_same_thread=False, isolation_level=None, uri=uri)
        try:
            self._set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _commit(self, connection: sqlite3.Connection, deadline: float) -> None:
        # Without WAL a reader may be in the way of a commit.
        when_unlocked(lambda: connection.execute("COMMIT"), deadline)

    def _stored(self, turn: PreparedTurn) -> bool:
        with self._raw() as connection:
            ids = turn.ids
            (count,) = connection.execute(SQL.stored(len(ids)), ids).fetchone()
            return bool(count == len(ids))

    def _forget_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is None:
            return
        with contextlib.suppress(sqlite3.Error):
            writer.rollback()
        if not self._memory:
            with contextlib.suppress(sqlite3.Error):
                writer.close()

    # The conversation repository

    encode = staticmethod(encode_time)
    decode = staticmethod(datetime.fromisoformat)

    def change(self, session_id: str, work: Callable[[Execute], _T]) -> _T:
        # The lock of the database is that of all sessions.
        self._follow()
        with self._sharing(), self._raw() as connection, self._transaction(connection):
            return work(connection.execute)

    def change_each(self, works: Sequence[tuple[str, Callable[[Execute], _T]]]) -> list[_T]:
        return self.change("", lambda execute: [work(execute) for _, work in works])

    def transact(self, work: Callable[[Connection], _T]) -> _T:
        self._follow()
        with self._sharing(), self._engine.connect() as connection, self._transaction(_driver(connection)):
            return work(connection)

    def mark(self) -> tuple[int, str]:
        last = self.read(f"SELECT rowid, id FROM {TABLE} ORDER BY rowid DESC LIMIT 1", ())  # noqa: S608
        return last[0] if last else (0, "")

    def changed_since(self, mark: tuple[int, str]) -> Mapping[str, Any] | None:
        """SQLite numbers the rows in the order of their commits, as one transaction writes at a time."""
        number, row_id = mark
        still = self.read(f"SELECT id FROM {TABLE} WHERE rowid = ?", (number,))  # noqa: S608
        if still != [(row_id,)]:
            return None  # VACUUM numbered them again, or it is another file
        return dict(self.read(self.conversation_sql.changed, (number,)))

    # The rest

    def prepare(self) -> None:
        self.alter(lambda connection: not create_tables.is_complete(connection), create_tables.make)

    def alter(self, lacking: Callable[[Connection], bool], work: Callable[[Connection], None]) -> None:
        with self._sharing(), self._engine.connect() as connection:
            if not lacking(connection):
                return
            with self._transaction(_driver(connection)):
                work(connection)

    def refresh(self, work: Callable[[Connection], _T]) -> _T:
        if self._file.is_replaced():
            self._follow()
        return self._unless_deleted(lambda: self._look_once(work))

    def _look_once(self, work: Callable[[Connection], _T]) -> _T:
        with self._sharing(), self._engine.connect() as connection:
            return when_unlocked(lambda: work(connection), self._deadline())

    @contextlib.contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        when_unlocked(lambda: connection.execute("BEGIN IMMEDIATE"), self._deadline())
        try:
            yield
            when_unlocked(lambda: connection.execute("COMMIT"), self._deadline())
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def close(self) -> None:
        self._forget_writer()
        self._readers.close()
        self._engine.dispose()

    @contextlib.contextmanager
    def _raw(self) -> Iterator[sqlite3.Connection]:
        fairy = self._engine.raw_connection()
        try:
            yield cast(sqlite3.Connection, fairy.driver_connection)
        finally:
            fairy.close()


def _driver(connection: Connection) -> sqlite3.Connection:
    return cast(sqlite3.Connection, connection.connection.driver_connection)


def _wal(connection: sqlite3.Connection) -> str:
    try:
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    except sqlite3.OperationalError as error:
        if "readonly" not in str(error):
            raise
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    return str(mode)
