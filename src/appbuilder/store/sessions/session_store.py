"""Conversations in a SQL database."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy import exc
from sqlalchemy.engine import URL

from appbuilder.core.cancel import CancelToken
from appbuilder.core.locks import SessionLocks
from appbuilder.core.store import COMPLETE, STATE, TurnEntry, TurnRecord
from appbuilder.errors import AppBuilderError, ConfigurationError
from appbuilder.ids import new_id, new_row_id
from appbuilder.logs import logger
from appbuilder.settings import Settings
from appbuilder.store.conversations.repository import SqlConversations
from appbuilder.store.databases import create_tables, urls
from appbuilder.store.databases.base import Backend
from appbuilder.store.databases.driver_errors import (
    CONNECT_FAILURES,
    FAILURES,
    failures,
    unavailable,
    unusable,
)
from appbuilder.store.databases.failure_kinds import BAD_OPTION, NO_PACKAGE
from appbuilder.store.locks import exclusive_lock
from appbuilder.store.locks.base import FreeLocks
from appbuilder.store.sessions import rows

if TYPE_CHECKING:
    from appbuilder.store.databases.client_server import ServerBackend
    from appbuilder.store.databases.postgres import PostgresBackend
    from appbuilder.store.runs.run_registry import SqlRunRegistry
    from appbuilder.store.service.api_keys import SqlApiKeys
    from appbuilder.store.service.diagnostics import Check
    from appbuilder.store.service.history_index import SqlHistoryIndex
    from appbuilder.store.service.tables import ServiceTables

_T = TypeVar("_T")

_TRIAL = "." * 65536
"""What is written to see whether turns can be."""
_locks: dict[object, Any] = {}
# Backends made before a fork. To close a connection that belongs to the parent would harm the parent.
_inherited: list[Backend] = []


def _here() -> tuple[int, object]:
    """This process, with the threading module as it is now: gevent may patch it late."""
    return os.getpid(), threading.Lock


def process_lock() -> Any:
    """A lock made here, so that no other process or kind of thread ever held it."""
    return _locks.setdefault(_here(), threading.Lock())


class SqlStore:
    """A :class:`appbuilder.core.store.SessionStore` on SQLite, PostgreSQL, MariaDB or MySQL.

    Connections are made at first use, and again in each forked process.
    """

    def __init__(self, url: URL, settings: Settings) -> None:
        """:param url: as :func:`appbuilder.store.databases.urls.parse` returns it."""
        self.url = url
        self._settings = settings
        self._backend: Backend | None = None
        self._home: object = None
        self._repository = SqlConversations(url, self._live)
        self._locks: SessionLocks | None = None
        self._further: list[Callable[[Backend], None]] = []

    def __repr__(self) -> str:
        return f"SqlStore({urls.show(self.url)!r})"

    def prepare(self) -> None:
        """Reaches the database, makes table and indexes where missing, and gives all connections back.

        :raises ConfigurationError: it cannot be reached or written; the sentence says what to do.
        """
        if urls.in_memory(self.url):
            self._live()
            return
        self._check_folder()
        self._preparing(lambda backend: backend.prepare())

    def repository(self) -> SqlConversations:
        """The conversations in it, as lists show them; the same object each time."""
        return self._repository

    def prepare_conversations(self) -> None:
        """Makes the indexes lists need, and lists what was begun over ``POST /chat`` or by the SDK.

        The first time that takes some seconds for a million rows.

        :raises ConfigurationError: as :meth:`prepare`.
        :raises StoreUnavailable: the database was lost meanwhile.
        """
        self.prepare()
        self._prepare_further(_prepare_conversations)
        self._repository.sync()

    def prepare_service(self) -> None:
        """What :meth:`prepare_conversations` makes, and the tables and indexes that only the service has.

        :raises ConfigurationError: as :meth:`prepare`; also where Alembic is not installed, or where a newer
            release has changed the tables.
        :raises StoreUnavailable: the database was lost meanwhile.
        """
        from appbuilder.store.service import schema

        self.prepare_conversations()
        self._prepare_further(schema.bring_up)

    def _prepare_further(self, work: Callable[[Backend], None]) -> None:
        if urls.in_memory(self.url):
            work(self._live())
        else:
            self._preparing(work)
        if work not in self._further:
            self._further.append(work)

    def _prepare_again(self, backend: Backend) -> None:
        """All that was asked for so far: a SQLite file may be replaced while we run."""
        backend.prepare()
        for work in self._further:
            work(backend)

    def keys(self) -> SqlApiKeys:
        """The API keys of the service; after :meth:`prepare_service`, as the two below."""
        from appbuilder.store.service.api_keys import SqlApiKeys

        return SqlApiKeys(self._tables())

    def run_register(self, worker_id: str = "") -> SqlRunRegistry:
        """What the service's workers know of each other's runs.

        :param worker_id: as of :class:`appbuilder.store.runs.run_registry.SqlRunRegistry`.
        """
        from appbuilder.store.runs.run_registry import SqlRunRegistry

        return SqlRunRegistry(self._tables(), worker_id)

    def transcripts(self) -> SqlHistoryIndex:
        """The sessions of clients that send a conversation whole each time."""
        from appbuilder.store.service.history_index import SqlHistoryIndex

        return SqlHistoryIndex(self._tables())

    def describe(self) -> list[Check]:
        """What is to be known of the database: durability, clock, connections, schema. It changes nothing.

        :raises ConfigurationError: as :meth:`prepare`; also where Alembic is not installed.
        """
        from appbuilder.store.service.diagnostics import Check, run_checks

        def refresh(backend: Backend) -> list[Check]:
            return run_checks(backend, self.url.get_backend_name(), self._tables().now, self._settings)

        if urls.in_memory(self.url):
            return refresh(self._live())
        self._check_folder()
        path = self.url.database or ""
        if self.url.get_backend_name() == "sqlite" and not self.url.query and not os.path.exists(path):
            return [Check("database", "not there yet", None, "The file is made at the first start.")]
        return self._preparing(refresh)

    def warn_of_pooling(self) -> None:
        """Logs a warning where session locks do not hold, as connections are pooled by the transaction.

        :raises ConfigurationError: as :meth:`prepare`.
        """
        if self.url.get_backend_name() != "postgresql":
            return
        from appbuilder.store.service.diagnostics import TRANSACTION_POOLING

        if self._preparing(lambda backend: cast("PostgresBackend", backend).pooler()) == "transaction":
            logger.warning(TRANSACTION_POOLING)

    def _tables(self) -> ServiceTables:
        from appbuilder.store.service.tables import ServiceTables

        return ServiceTables(self.url, self._live)

    def session_locks(self) -> SessionLocks:
        """Locks that keep other processes on this database from a session; the same object each time."""
        if self._locks is None:
            with process_lock():
                self._locks = self._locks or self._make_locks()
        return self._locks

    def _make_locks(self) -> SessionLocks:
        if urls.in_memory(self.url):
            return FreeLocks()
        if self.url.get_backend_name() == "sqlite":
            return exclusive_lock.open_locks(self._database_file, alone=self._settings.workers <= 1)
        from appbuilder.store.locks import lock_connections

        return lock_connections.open_locks(
            self.url, self._settings, lambda: cast("ServerBackend", self._live())
        )

    def _database_file(self) -> str:
        backend = self._live()
        try:
            ((_, _, path), *_) = backend.read("PRAGMA database_list", ())
        except FAILURES as error:
            raise unavailable(error, self.url, "its path was asked for") from None
        return str(path)

    def _preparing(self, work: Callable[[Backend], _T]) -> _T:
        try:
            backend = self._make()
        except (exc.SQLAlchemyError, ImportError, TypeError, ValueError) as error:
            kind = NO_PACKAGE if isinstance(error, ImportError) else BAD_OPTION
            raise unusable(error, self.url, kind) from None
        try:
            self._reach(backend)
            return work(backend)
        except AppBuilderError:
            raise
        except FAILURES as error:
            raise unusable(error, self.url) from None
        finally:
            backend.close()

    def _reach(self, backend: Backend) -> None:
        try:
            backend.ping()
        except CONNECT_FAILURES as error:
            raise unusable(error, self.url) from None

    def history(
        self, session_id: str, key: str, limit: int, before: tuple[datetime, str] | None = None
    ) -> list[dict[str, Any]]:
        if limit <= 0 or not (rows.is_valid_query(session_id) and rows.is_valid_query(key)):
            return []
        backend = self._live()
        end = None if before is None else (backend.encode(before[0]), before[1])

        def page(count: int, after: tuple[Any, str] | None) -> Sequence[tuple[str, Any, str]]:
            if after is None:
                return backend.read(backend.sql.page, (session_id, key, count))
            return backend.read(backend.sql.older_page, (session_id, key, after[0], *after, count))

        try:
            return rows.newest_finished(page, limit, end)
        except FAILURES as error:
            raise unavailable(error, self.url, "history was read") from None

    def commit(self, turn: TurnRecord) -> None:
        if not turn.rows and turn.entry is None:
            return
        prepared = rows.PreparedTurn.of(turn)
        backend = self._live()
        try:
            backend.write(prepared)
        except FAILURES as error:
            raise unavailable(error, self.url, "a turn was written") from None

    @property
    def failures(self) -> int:
        """How often something failed for the database's sake, in this process."""
        return failures[self.url]

    @property
    def defers_commits(self) -> bool:
        """Whether :meth:`commit_later` is there: where turns of one process are written in groups."""
        return self.url.get_backend_name() == "sqlite"

    def commit_later(self, turn: TurnRecord, tell: Callable[[BaseException | None], None]) -> None:
        """As :meth:`commit`, but returns at once: *tell* is called, in another thread, when the turn is
        durable, or with the error it failed with.
        """

        def told(error: BaseException | None) -> None:
            if isinstance(error, FAILURES):
                try:  # raised, as the log shows the texts of errors that this package has raised
                    raise unavailable(error, self.url, "a turn was written") from None
                except AppBuilderError as raised:
                    error = raised
            tell(error)

        self._live().write_later(rows.PreparedTurn.of(turn), told)

    def ping(self) -> None:
        backend = self._live()
        try:
            backend.ping()
        except FAILURES as error:
            raise unavailable(error, self.url, "it was asked for a sign of life") from None

    def check_writable(self, timeout: float, *, locking: bool = True) -> None:
        """Proves that a turn could be stored now: does all that storing one takes, and leaves no trace.

        :param timeout: seconds it waits for locks of others.
        :param locking: whether a session is locked as well. A process that locks one makes a service that
            has a SQLite file to itself share it.
        :raises StoreUnavailable: it could not.
        """
        session_id = new_id()
        if locking:
            locks = self.session_locks()
            lock = locks.try_acquire(session_id) or locks.acquire(session_id, timeout, CancelToken())
            lock.release()
        entry = TurnEntry(new_row_id(), "", "", {STATE: COMPLETE})
        record = TurnRecord(session_id, session_id, [("trial", {"content": _TRIAL})], entry)
        turn = rows.PreparedTurn.of(record)
        backend = self._live()
        try:
            backend.try_write(replace(turn, trial=True), timeout)
        except FAILURES as error:
            raise unavailable(error, self.url, "it was tried whether a turn can be written") from None

    def close(self) -> None:
        if self._locks is not None:
            self._locks.close()
        with process_lock():
            backend, self._backend = self._backend, None
            mine = self._home == _here()
        if backend is None:
            return
        if mine:
            backend.close()
        else:
            _inherited.append(backend)

    def _live(self) -> Backend:
        backend = self._backend
        if backend is not None and self._home == _here():
            return backend
        with process_lock():
            if self._backend is None or self._home != _here():
                if self._backend is not None:
                    _inherited.append(self._backend)
                self._backend = self._start()
                self._home = _here()
            return self._backend

    def _start(self) -> Backend:
        if urls.in_memory(self.url):
            backend = self._make()
            backend.prepare()
            return backend
        try:
            self.prepare()
        except ConfigurationError as error:
            # No one called prepare(): the program is running, so it is the database that is not there.
            raise unavailable(error, self.url, "it was opened") from None
        return self._make()

    def _make(self) -> Backend:
        name = self.url.get_backend_name()
        if name == "sqlite":
            from appbuilder.store.databases.sqlite import SqliteBackend

            return SqliteBackend(self.url, self._settings, self._prepare_again)
        if name == "postgresql":
            from appbuilder.store.databases.postgres import PostgresBackend

            return PostgresBackend(self.url, self._settings)
        from appbuilder.store.databases.mysql import MysqlBackend

        return MysqlBackend(self.url, self._settings)

    def _check_folder(self) -> None:
        if self.url.get_backend_name() != "sqlite" or self.url.query.get("uri"):
            return
        path = self.url.database or ""
        folder = os.path.dirname(path)
        if not os.path.isdir(folder):
            raise ConfigurationError(f"The folder {folder} for the database does not exist: create it.")
        if os.path.isdir(path):
            raise ConfigurationError(f"{path} is a folder: name a file in {urls.PLACES}.")
        if not os.access(folder, os.W_OK) or (os.path.exists(path) and not os.access(path, os.W_OK)):
            raise ConfigurationError(
                f"The database {path} cannot be written (the folder, too, must be writable): "
                f"change its permissions, or name another place in {urls.PLACES}."
            )


def _prepare_conversations(backend: Backend) -> None:
    indexes = backend.catalogue_indexes
    backend.alter(
        lambda found: bool(create_tables.lacks(found, indexes)),
        lambda found: create_tables.add(found, indexes),
    )
