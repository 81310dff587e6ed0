"""What is to be known of a database before one relies on it: durability, clock, pool, schema."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import ColumnElement, Connection, inspect, select

from appbuilder import clock
from appbuilder.settings import Settings
from appbuilder.store.databases import create_tables
from appbuilder.store.databases.base import POSTGRES_ENCODINGS, Backend
from appbuilder.store.service import schema
from appbuilder.store.sessions.message_table import INDEXES, TABLE

if TYPE_CHECKING:
    from appbuilder.store.databases.postgres import PostgresBackend

CLOCKS_APART = 1.0
"""Seconds between this host's clock and the database's that are worth a word."""


TRANSACTION_POOLING = (
    "The database is behind a connection pooler in transaction mode (PgBouncer: pool_mode = transaction), "
    "where the locks of sessions do not hold: with several workers or hosts, two turns of a session may run "
    "at once. Let it pool sessions (pool_mode = session), or name the server itself."
)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing about a database.

    :param good: None: neither good nor bad.
    :param advice: what to do where it is not good; empty where there is nothing to do.
    """

    name: str
    value: str
    good: bool | None
    advice: str = ""


_POSTGRES = {
    "fsync": "Without it a crash of the machine loses turns that were acknowledged, or the whole database.",
    "synchronous_commit": "Where it is off, a crash loses turns that were acknowledged.",
    "full_page_writes": "Without it a crash of the machine may leave torn pages.",
}
_FLUSH = "Set it to 1: otherwise a crash loses turns that were acknowledged."
_SQLITE_SYNCHRONOUS = {0: "off", 1: "normal", 2: "full", 3: "extra"}


def run_checks(backend: Backend, kind: str, now: ColumnElement[Any], settings: Settings) -> list[Check]:
    """:param kind: name of SQLAlchemy's backend.
    :param now: the database's time.
    """
    return backend.refresh(lambda connection: list(_all(connection, backend, kind, now, settings)))


def _all(
    connection: Connection, backend: Backend, kind: str, now: ColumnElement[Any], settings: Settings
) -> Iterator[Check]:
    def ask(sql: str) -> Any:
        return connection.exec_driver_sql(sql).scalar()

    if kind == "sqlite":
        yield from _sqlite(ask, connection.exec_driver_sql("PRAGMA database_list").all())
    elif kind == "postgresql":
        yield from _postgres(ask)
        yield _pooler(cast("PostgresBackend", backend).pooler())
    else:
        yield from _mysql(connection, ask)
    if kind != "sqlite":
        yield _clock(lambda: connection.execute(select(now)).scalar_one())
        yield _connections(kind, ask, settings)
    yield Check("connections per process", str(settings.db_pool), None)
    yield from _schema(connection)


def _sqlite(ask: Callable[[str], Any], files: Sequence[Any]) -> Iterator[Check]:
    yield Check("server", f"SQLite {ask('SELECT sqlite_version()')}", None)
    mode = str(ask("PRAGMA journal_mode"))
    slow = "Readers and writers wait for each other here; is it a network drive? Use a local one."
    yield _check("journal_mode", mode, mode in ("wal", "memory"), slow)
    level = _SQLITE_SYNCHRONOUS.get(ask("PRAGMA synchronous"), "?")
    yield _check("synchronous", level, level in ("full", "extra"), "A power cut may lose acknowledged turns.")
    yield from _rights(files)


def _rights(files: Sequence[Any]) -> Iterator[Check]:
    """Who may read the file, where it is one.

    :param files: as ``PRAGMA database_list`` gives them.
    """
    path = next((path for _, name, path in files if name == "main"), "")
    if not path or os.name != "posix":
        return
    mode = stat.S_IMODE(os.stat(path).st_mode)
    yield _check(
        "rights of the file", f"{mode:04o}", not mode & 0o007,
        f"Every user of this machine may read the conversations: chmod o= {path}*",
    )


def _postgres(ask: Callable[[str], Any]) -> Iterator[Check]:
    yield Check("server", f"PostgreSQL {ask('SHOW server_version')}", None)
    for name, advice in _POSTGRES.items():
        value = str(ask(f"SHOW {name}"))
        yield _check(name, value, value != "off", advice)
    encoding = str(ask("SHOW server_encoding"))
    yield _check(
        "encoding", encoding, encoding in POSTGRES_ENCODINGS, "It cannot hold every text: use one in UTF8."
    )


def _pooler(lends: str) -> Check:
    return _check(
        "connection pooler", f"lends a connection for a {lends}" if lends else "none", lends != "transaction",
        TRANSACTION_POOLING,
    )


def _mysql(connection: Connection, ask: Callable[[str], Any]) -> Iterator[Check]:
    maria = getattr(connection.dialect, "is_mariadb", False)
    yield Check("server", f"{'MariaDB' if maria else 'MySQL'} {ask('SELECT VERSION()')}", None)
    flush = str(ask("SELECT @@innodb_flush_log_at_trx_commit"))
    yield _check("innodb_flush_log_at_trx_commit", flush, flush == "1", _FLUSH)
    binlog, logs = str(ask("SELECT @@sync_binlog")), bool(ask("SELECT @@log_bin"))
    yield Check("log_bin", "on" if logs else "off", None)
    yield _check("sync_binlog", binlog, binlog == "1" if logs else None, _FLUSH)
    double = str(ask("SELECT @@innodb_doublewrite"))
    torn = "Without it a crash of the machine may leave torn pages."
    yield _check("innodb_doublewrite", double, double not in ("0", "OFF"), torn)


def _clock(ask: Callable[[], datetime]) -> Check:
    before = clock.now()
    theirs = ask()
    ours = before + (clock.now() - before) / 2
    apart = (theirs - ours).total_seconds()
    return _check(
        "clock of the database", f"{apart:+.3f} s", abs(apart) < CLOCKS_APART,
        "Let a time service (NTP) set the clocks of both hosts.",
    )


def _connections(kind: str, ask: Callable[[str], Any], settings: Settings) -> Check:
    sql = "SHOW max_connections" if kind == "postgresql" else "SELECT @@max_connections"
    most = int(ask(sql))
    # One more for the locks of sessions.
    wanted = max(1, settings.workers) * (max(1, settings.db_pool) + 1)
    return _check(
        "max_connections", f"{most}, of which this service may use {wanted}", wanted < most,
        "Lower APPBUILDER_DB_POOL, or let the server take more connections.",
    )


def _schema(connection: Connection) -> Iterator[Check]:
    if not inspect(connection).has_table(TABLE):
        yield Check(TABLE, "not there yet", None, "It is made at the first start.")
        return
    yield Check(TABLE, "there", True)
    lacking = create_tables.lacks(connection, (str(index.name) for index in INDEXES))
    yield _check(
        "indexes", f"without {', '.join(lacking)}" if lacking else "there", not lacking,
        "They are made at the next start, which takes a while on a long table.",
    )
    present, newest = schema.revision(connection), schema.newest()
    if not present:
        yield Check("tables of the service", "not there yet", None, "They are made when the service starts.")
    else:
        yield _check(
            "tables of the service", f"revision {present}", present == newest,
            f"This release has revision {newest}: start the service, or install the release they are of.",
        )


def _check(name: str, value: str, good: bool | None, advice: str) -> Check:
    return Check(name, value, good, "" if good else advice)
