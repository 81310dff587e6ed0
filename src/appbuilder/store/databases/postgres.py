"""PostgreSQL through psycopg 3.

A server that accepts a statement and then hangs, or a network that swallows packets, must not hold a turn
for ever: ``statement_timeout`` ends slow statements on the server, and a connection that stays silent for
longer is closed here.
"""

from __future__ import annotations

import contextlib
import importlib
import selectors
import sys
from collections.abc import Generator, Iterator
from typing import Any

import psycopg
from psycopg import waiting
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL

from appbuilder import clock
from appbuilder.errors import ConfigurationError
from appbuilder.logs import logger
from appbuilder.settings import Settings
from appbuilder.store.conversations import queries
from appbuilder.store.conversations.queries import ConversationSql
from appbuilder.store.databases import create_tables
from appbuilder.store.databases.base import POSTGRES_ENCODINGS
from appbuilder.store.databases.client_server import (
    CONNECT_TIMEOUT,
    GRACE,
    PREPARE_TIMEOUT,
    ServerBackend,
    digest,
)
from appbuilder.store.databases.urls import PLACES
from appbuilder.store.sessions import statements
from appbuilder.store.sessions.message_table import TABLE

_LOOKS = 10
"""A pooler lends the connection that came back last, unless others arrive in between."""


class _BoundedConnection(psycopg.Connection[Any]):
    """A connection that gives up on a silent server."""

    silence = 0.0
    """Seconds one operation may take; 0 is without end."""

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.silence:
            return super().wait(gen, *args, **kwargs)
        return super().wait(self._bounded(gen, clock.monotonic() + self.silence), *args, **kwargs)

    def _bounded(self, gen: Any, deadline: float) -> Generator[Any, Any, Any]:
        """*gen*, until *deadline*. psycopg asks ten times a second, with nothing ready, whether to go on."""
        try:
            state = next(gen)
            while True:
                ready = yield state
                if not ready and clock.monotonic() >= deadline:
                    # Closed, not cancelled: a server that hangs would not hear that either.
                    self.pgconn.finish()
                    raise psycopg.OperationalError("the server did not answer in time")
                state = gen.send(ready)
        except StopIteration as stop:
            return stop.value


def cooperate() -> None:
    """Lets psycopg wait the way gevent wants.

    psycopg chooses how to wait when it is imported; gunicorn's ``--preload`` imports the program before
    it patches, and the choice is then a C function that blocks all greenlets. Loading the module again
    chooses again.
    """
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("select"):
        return
    module: Any = waiting
    blocks = module.wait is getattr(module, "wait_c", None)
    if blocks or module.DefaultSelector is not selectors.DefaultSelector:
        importlib.reload(waiting)


class PostgresBackend(ServerBackend):
    sql = statements.make("%s", value="message_value::text", false="false")
    catalogue_indexes = queries.POSTGRES_INDEXES
    conversation_sql = ConversationSql(queries.POSTGRES)

    def __init__(self, url: URL, settings: Settings) -> None:
        cooperate()
        super().__init__(url, settings)

    def options(self, timeout: float) -> dict[str, Any]:
        return {"connect_args": {"connect_timeout": max(2, min(CONNECT_TIMEOUT, int(timeout)))}}

    def listen(self, engine: Engine, timeout: float) -> None:
        def connect(_dialect: Any, _record: Any, args: Any, options: Any) -> Any:
            # A start-up parameter: it wins over those of the environment, the role and the database, and
            # PgBouncer, too, sets it on whatever connection serves this one.
            connection = _BoundedConnection.connect(*args, **{**options, "client_encoding": "UTF8"})
            connection.silence = timeout + GRACE
            # By statement, not as a start-up option, which PgBouncer refuses. Asynchronous commits,
            # where the server is set up for them, would lose acknowledged turns.
            found = connection.execute(
                "SELECT pg_backend_pid(), set_config('statement_timeout', %s, false), "
                "set_config('synchronous_commit', "
                "CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' "
                "ELSE current_setting('synchronous_commit') END, false)",
                (str(int(timeout * 1000)),),
            )
            connection.commit()
            if found.fetchall()[0][0] != connection.info.backend_pid:
                # A pooler is in between: a prepared statement may be on another connection the next time.
                connection.prepare_threshold = None
            return connection

        event.listen(engine, "do_connect", connect)

    def pooler(self) -> str:
        """What a connection pooler on the way, as PgBouncer is one, lends its connections for.

        :returns: ``transaction``, ``session``, or nothing where there is no pooler that can be seen.
        """
        with contextlib.closing(self.connect_separately()) as one:
            if one.info.backend_pid == _process_of(one):
                return ""
            with contextlib.closing(self.connect_separately()) as two:
                # Both are open: one process of the server for both shows that it is not kept for one of them.
                same = any(_process_of(one) == _process_of(two) for _ in range(_LOOKS))
        return "transaction" if same else "session"

    @contextlib.contextmanager
    def transaction(self, connection: Connection, session_id: str) -> Iterator[None]:
        connection.exec_driver_sql(_begin("session", session_id))
        # The end of the transaction gives the lock back, after its rows can be seen.
        yield

    @contextlib.contextmanager
    def accelerated(self, connection: Connection, timeout: float) -> Iterator[None]:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(timeout * 1000)}")
        yield

    def upgrade(self, connection: Connection) -> None:
        check_encoding(connection)
        if create_tables.is_complete(connection) and not _has_jsonb(connection):
            return
        with self.alone(connection):
            create_tables.make(connection)
            if _has_jsonb(connection):
                logger.info("Changing a column of %s from jsonb to json", TABLE)
                connection.exec_driver_sql(f"ALTER TABLE {TABLE} ALTER COLUMN message_value TYPE json")

    @contextlib.contextmanager
    def alone(self, connection: Connection) -> Iterator[None]:
        driver: Any = connection.connection.driver_connection
        driver.silence = PREPARE_TIMEOUT
        connection.exec_driver_sql("SET statement_timeout = 0")
        connection.exec_driver_sql(_begin("schema"))
        yield
        connection.commit()


def _process_of(connection: Any) -> int:
    """The process of the server that answers now; a pooler tells its clients another number."""
    number = int(connection.execute("SELECT pg_backend_pid()").fetchall()[0][0])
    connection.commit()
    return number


def _has_jsonb(connection: Connection) -> bool:
    """Whether the values are jsonb, as some other program made them: it takes no text with a NUL character,
    and does not keep values as they were written."""
    kind = connection.exec_driver_sql(
        "SELECT format_type(atttypid, NULL) FROM pg_attribute "
        "WHERE attrelid = to_regclass(%s) AND attname = 'message_value'",
        (TABLE,),
    ).scalar()
    return bool(kind == "jsonb")


def check_encoding(connection: Connection) -> None:
    """:raises ConfigurationError: the database cannot hold every text."""
    encoding = str(connection.exec_driver_sql("SHOW server_encoding").scalar())
    if encoding not in POSTGRES_ENCODINGS:
        raise ConfigurationError(
            f"The database has the encoding {encoding}, which cannot hold every text, an emoji for instance: "
            "create one with CREATE DATABASE name ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE template0, "
            f"copy the tables with pg_dump, and name it in {PLACES}."
        )


def _begin(*lock: str) -> str:
    """One message to the server. READ COMMITTED: what is read next was committed before the lock."""
    number = int.from_bytes(digest(*lock)[:8], "big", signed=True)
    return f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({number})"
