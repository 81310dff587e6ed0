"""What PostgreSQL and MariaDB/MySQL have in common: a pool, a transaction a turn, a lock a session."""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine, create_engine, exc, pool
from sqlalchemy.engine import URL

from appbuilder import clock, telemetry
from appbuilder.cooperation import before_blocking
from appbuilder.errors import StoreUnavailable
from appbuilder.settings import Settings
from appbuilder.store.conversations import conversation_row
from appbuilder.store.conversations.conversation_row import Execute
from appbuilder.store.conversations.queries import ConversationSql
from appbuilder.store.databases.group_commit import Done
from appbuilder.store.sessions import rows
from appbuilder.store.sessions.rows import PreparedTurn
from appbuilder.store.sessions.statements import Statements

CONNECT_TIMEOUT = 5
"""Seconds to reach the server, if the settings' time-out is not shorter."""
GRACE = 1.0
"""Seconds the server's own time-outs come before ours, so that as a rule a connection is kept."""
PREPARE_TIMEOUT = 3600.0
"""Seconds an index may take to build on a table that is already there."""
RETRY_PAUSE = 0.1
LAG = timedelta(hours=1)
"""How far the clocks of hosts that write may be apart, before a list needs a restart to see all."""
_LONG_AGO = datetime(1970, 1, 2)  # noqa: DTZ001 - as in the table, without a zone

_T = TypeVar("_T")


class ServerBackend(ABC):
    """One process's connections to one database server."""

    sql: Statements
    conversation_sql: ConversationSql
    catalogue_indexes: Mapping[str, str]
    together = 1  # each has its own lock

    def __init__(self, url: URL, settings: Settings) -> None:
        self._url = url
        self._timeout = max(1.0, settings.db_timeout)
        self._engine = self._make_engine(
            poolclass=pool.QueuePool,
            pool_size=max(1, settings.db_pool),
            max_overflow=0,
            pool_timeout=self._timeout,
            pool_pre_ping=True,
            pool_use_lifo=True,
        )

    def _make_engine(self, **options: Any) -> Engine:
        engine = create_engine(
            self._url,
            hide_parameters=True,
            # Reads need no BEGIN and ROLLBACK around them; a write says BEGIN itself.
            isolation_level="AUTOCOMMIT",
            **self.options(self._timeout),
            **options,
        )
        self.listen(engine, self._timeout)
        return engine

    def connect_separately(self) -> Any:
        """A driver's connection like those of the pool, but not of it; the caller closes it."""
        fairy = self._make_engine(poolclass=pool.NullPool).raw_connection()
        connection = fairy.driver_connection
        fairy.detach()
        return connection

    @abstractmethod
    def options(self, timeout: float) -> dict[str, Any]:
        """Of ``create_engine``: connect and read time-outs of the driver."""

    @abstractmethod
    def listen(self, engine: Engine, timeout: float) -> None:
        """Sets up each new connection of *engine*."""

    @abstractmethod
    def transaction(self, connection: Connection, session_id: str) -> AbstractContextManager[None]:
        """Begins a transaction that sees all a session holds, under a lock kept until it has ended."""

    @abstractmethod
    def accelerated(self, connection: Connection, timeout: float) -> AbstractContextManager[None]:
        """Within it the transaction waits for locks of others no longer than *timeout* seconds."""

    @abstractmethod
    def upgrade(self, connection: Connection) -> None:
        """Makes what is missing, with one process at a time."""

    @abstractmethod
    def alone(self, connection: Connection) -> AbstractContextManager[None]:
        """Keeps other processes from changing tables, for as long as it takes; commits in the end.

        The connection is not used for anything else afterwards.
        """

    # Reading

    def ping(self) -> None:
        self.read("SELECT 1", ())

    def read(self, sql: str, parameters: tuple[Any, ...]) -> Sequence[Any]:
        return self.refresh(lambda connection: connection.exec_driver_sql(sql, parameters).all())

    def refresh(self, work: Callable[[Connection], _T]) -> _T:
        deadline = self._deadline()
        try:
            return self._look_once(work)
        except exc.DBAPIError as error:
            if not error.connection_invalidated or clock.monotonic() >= deadline:
                raise
        # The connection broke after its ping: reading again does no harm.
        return self._look_once(work)

    def read_within(
        self, sql: str, parameters: tuple[Any, ...], most_bytes: int, column: int
    ) -> tuple[list[Any], bool]:
        # A driver fetches all of a result at once: the sizes first, which are small.
        *given, limit = parameters
        sizes = self.read(self.conversation_sql.sizes(sql), (*given, limit + 1))
        fitting, more = rows.within(sizes, limit, most_bytes, lambda row: int(row[0]))
        return list(self.read(sql, (*given, len(fitting)))), more

    def _look_once(self, work: Callable[[Connection], _T]) -> _T:
        with self.connect() as connection:
            return work(connection)

    def _deadline(self) -> float:
        return clock.monotonic() + self._timeout

    # Writing

    def write(self, turn: PreparedTurn) -> None:
        attempt = _Attempt(self, turn)
        began, deadline = clock.monotonic(), self._deadline()
        while True:
            try:
                attempt.run()
            except exc.DBAPIError as error:
                if not attempt.is_retryable(error) or clock.monotonic() >= deadline:
                    raise attempt.in_doubt() or self.explained(error, turn) from None
                time.sleep(RETRY_PAUSE if attempt.committing else 0)
            else:
                telemetry.current.committed(clock.monotonic() - began, 1)
                return

    def explained(self, error: exc.DBAPIError, turn: PreparedTurn) -> Exception:
        """The error of a turn that was not written, or a better one."""
        return error

    def write_later(self, turn: PreparedTurn, tell: Done) -> None:
        """Not later, in fact: a turn is a transaction of its own here, and there is no group to wait for."""
        try:
            self.write(turn)
        except BaseException as error:  # noqa: BLE001 - it is reported
            tell(error)
        else:
            tell(None)

    def try_write(self, turn: PreparedTurn, timeout: float) -> None:
        attempt = _Attempt(self, turn)
        with (
            self.connect() as connection,
            self.transaction(connection, turn.session_id),
            self.accelerated(connection, timeout),
        ):
            attempt.insert(connection)
            connection.rollback()

    def connect(self) -> Connection:
        before_blocking()
        began = clock.monotonic()
        connection = self._engine.connect()
        telemetry.current.pool_waited(clock.monotonic() - began)
        return connection

    # The conversation repository

    def encode(self, stamp: datetime) -> datetime:
        return stamp

    decode = encode

    def change(self, session_id: str, work: Callable[[Execute], _T]) -> _T:
        try:
            return self._change_once(session_id, work)
        except exc.DBAPIError as error:
            if not error.connection_invalidated:
                raise
        # What it does once more comes to the same, but that a deletion may find nothing left to delete.
        return self._change_once(session_id, work)

    def _change_once(self, session_id: str, work: Callable[[Execute], _T]) -> _T:
        with self.connect() as connection, self.transaction(connection, session_id):
            result = work(connection.exec_driver_sql)
            connection.commit()
            return result

    def change_each(self, works: Sequence[tuple[str, Callable[[Execute], _T]]]) -> list[_T]:
        return [self.change(session_id, work) for session_id, work in works]

    def transact(self, work: Callable[[Connection], _T]) -> _T:
        with self.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            result = work(connection)
            connection.commit()
            return result

    def mark(self) -> datetime:
        """The time of the newest message that is not from the future.

        A row's own time, as its writer's clock may be behind ours.
        """
        for (newest,) in self.read(self.conversation_sql.newest, (clock.now(),)):
            return cast(datetime, newest)
        return _LONG_AGO

    def changed_since(self, mark: datetime) -> Mapping[str, Any]:
        # A row may come to be seen later than others that have a later time.
        return dict(map(tuple, self.read(self.conversation_sql.changed, (mark - LAG,))))

    # The rest

    def prepare(self) -> None:
        with self._engine.connect() as connection:
            self.upgrade(connection)

    def alter(self, lacking: Callable[[Connection], bool], work: Callable[[Connection], None]) -> None:
        with self._engine.connect() as connection:
            if lacking(connection):
                with self.alone(connection):
                    work(connection)

    def close(self) -> None:
        self._engine.dispose()


class _Attempt:
    """Writing one turn, again after a lost connection, never twice."""

    def __init__(self, backend: ServerBackend, turn: PreparedTurn) -> None:
        self._backend = backend
        self._turn = turn
        self._lost = 0
        self.committing = False
        """True once COMMIT was sent: from then on only a look at the table can tell."""

    def run(self) -> None:
        backend, turn = self._backend, self._turn
        # The lock is also what makes the look-up final: an own transaction that may still be running
        # on the server holds it until it has ended.
        with backend.connect() as connection, backend.transaction(connection, turn.session_id):
            if self.committing and self._stored(connection):
                return
            self.committing = False
            self.insert(connection)
            self.committing = True
            connection.commit()
        self.committing = False

    def insert(self, connection: Connection) -> None:
        """Inserts the turn, in the transaction that *connection* is in."""
        backend, turn = self._backend, self._turn
        last = _newest(connection, backend.sql, turn.session_id)
        first = rows.first_stamp(clock.now(), last)
        connection.exec_driver_sql(backend.sql.insert, turn.values(first, backend.encode))
        execute = connection.exec_driver_sql
        conversation_row.mark_replaced(execute, backend.sql, turn)
        conversation_row.upsert(execute, backend.sql, turn, first, backend.encode, goes_on=last is not None)

    def is_retryable(self, error: exc.DBAPIError) -> bool:
        """Before COMMIT one more try; after it, until the server tells what became of it."""
        if self.committing:
            return True
        self._lost += 1
        return error.connection_invalidated and self._lost == 1

    def in_doubt(self) -> StoreUnavailable | None:
        if not self.committing:
            return None
        return StoreUnavailable("The database was lost during a commit; whether it was done is unknown.")

    def _stored(self, connection: Connection) -> bool:
        ids = self._turn.ids
        sql = self._backend.sql.stored(len(ids))
        return bool(connection.exec_driver_sql(sql, tuple(ids)).scalar() == len(ids))


def _newest(connection: Connection, sql: Statements, session_id: str) -> datetime | None:
    row = connection.exec_driver_sql(sql.newest, (session_id,)).first()
    return max(cast(Sequence[datetime], row)) if row else None


def digest(*parts: str) -> bytes:
    """16 bytes that stand for a name in a lock."""
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=16).digest()
