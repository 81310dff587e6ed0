"""Each kind of failure of a database has advice of its own."""

from __future__ import annotations

import errno
import sqlite3
from typing import Any

import psycopg
import pymysql
import pytest
from sqlalchemy import exc
from sqlalchemy.engine import URL
from tests.services.servers import MariaServer, PostgresServer, free_port
from tests.store.conftest import Opener

from appbuilder.errors import ConfigurationError, StoreUnavailable, ValueNotStorable
from appbuilder.store.databases import failure_kinds as kinds
from appbuilder.store.databases.driver_errors import unavailable
from appbuilder.store.databases.failure_kinds import Kind, kind_of

POSTGRES = URL.create("postgresql", "u", "secret", "h", 5432, "d")


def lost(text: str) -> psycopg.OperationalError:
    """libpq's error where a connection is refused: without a code."""
    return psycopg.OperationalError(f'connection to server at "h", port 5432 failed: FATAL:  {text}')


@pytest.mark.parametrize(("error", "kind"), [
    (psycopg.errors.InsufficientPrivilege("permission denied for table x"), kinds.NO_RIGHTS),
    (psycopg.errors.InvalidSchemaName("no schema has been selected to create in"), kinds.NO_SCHEMA),
    (psycopg.errors.InvalidCatalogName("x"), kinds.NO_DATABASE),
    (psycopg.errors.InvalidPassword("x"), kinds.WRONG_PASSWORD),
    (psycopg.errors.UndefinedTable("x"), kinds.NO_TABLE),
    (psycopg.errors.TooManyConnections("x"), kinds.TOO_MANY_CONNECTIONS),
    (psycopg.errors.DiskFull("x"), kinds.DISK_FULL),
    (psycopg.errors.ReadOnlySqlTransaction("x"), kinds.READ_ONLY),
    (psycopg.errors.QueryCanceled("x"), kinds.LOCKED),
    (psycopg.errors.CannotConnectNow("x"), kinds.STARTING),
    (psycopg.errors.DataCorrupted("x"), kinds.DAMAGED),
    (psycopg.errors.UntranslatableCharacter("x"), kinds.BAD_VALUE),
    (psycopg.errors.StatementTooComplex("x"), kinds.BAD_VALUE),
    (psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes"), kinds.BAD_VALUE),
    (psycopg.ProgrammingError('invalid connection option "foo"'), kinds.BAD_OPTION),
    (lost("sorry, too many clients already"), kinds.TOO_MANY_CONNECTIONS),
    (lost('too many connections for role "u"'), kinds.TOO_MANY_CONNECTIONS),
    (lost('permission denied for database "d"'), kinds.NO_RIGHTS),
    (lost('no pg_hba.conf entry for host "1.2.3.4", user "u", database "d", SSL off'), kinds.WRONG_HOST),
    (lost("the database system is starting up"), kinds.STARTING),
    (lost('role "u" does not exist'), kinds.WRONG_PASSWORD),
    (lost('database "d" does not exist'), kinds.NO_DATABASE),
    (psycopg.OperationalError("server does not support SSL, but SSL was required"), kinds.TLS),
    (psycopg.OperationalError("Connection refused"), kinds.NO_ANSWER),
    (psycopg.errors.ConnectionTimeout("connection timeout expired"), kinds.NO_ANSWER),
    (pymysql.err.OperationalError(1044, "x"), kinds.NO_RIGHTS),
    (pymysql.err.OperationalError(1045, "x"), kinds.WRONG_PASSWORD),
    (pymysql.err.OperationalError(1049, "x"), kinds.NO_DATABASE),
    (pymysql.err.OperationalError(1142, "x"), kinds.NO_RIGHTS),
    (pymysql.err.OperationalError(1227, "x"), kinds.NO_RIGHTS),
    (pymysql.err.OperationalError(1040, "x"), kinds.TOO_MANY_CONNECTIONS),
    (pymysql.err.OperationalError(1290, "x"), kinds.READ_ONLY),
    (pymysql.err.OperationalError(1114, "x"), kinds.DISK_FULL),
    (pymysql.err.ProgrammingError(1146, "x"), kinds.NO_TABLE),
    (pymysql.err.OperationalError(1205, "x"), kinds.LOCKED),
    (pymysql.err.OperationalError(2003, "x"), kinds.NO_ANSWER),
    (pymysql.err.OperationalError(3159, "x"), kinds.TLS),
    (pymysql.err.DataError(1366, "x"), kinds.BAD_VALUE),
    (pymysql.err.DataError(1406, "x"), kinds.BAD_VALUE),
    (pymysql.err.OperationalError(3157, "x"), kinds.BAD_VALUE),
    (pymysql.err.OperationalError(1064, "x"), kinds.OTHER),
    (sqlite3.DatabaseError("database disk image is malformed"), kinds.DAMAGED),
    (sqlite3.OperationalError("database or disk is full"), kinds.DISK_FULL),
    (sqlite3.OperationalError("attempt to write a readonly database"), kinds.READ_ONLY),
    (sqlite3.OperationalError("database is locked"), kinds.LOCKED),
    (sqlite3.DataError("string or blob too big"), kinds.BAD_VALUE),
    (OSError(errno.ENOSPC, "x"), kinds.DISK_FULL),
    (OSError(errno.EROFS, "x"), kinds.READ_ONLY),
    (ConnectionResetError("x"), kinds.NO_ANSWER),
    (exc.TimeoutError("QueuePool limit"), kinds.POOL_EXHAUSTED),
    (ModuleNotFoundError("no pq wrapper"), kinds.NO_PACKAGE),
    (RuntimeError("'cryptography' package is required"), kinds.NO_PACKAGE),
    (TypeError("unexpected keyword argument"), kinds.BAD_OPTION),
    (UnicodeEncodeError("utf-8", "x", 0, 1, "surrogates"), kinds.BAD_VALUE),
])
def test_kinds(error: Exception, kind: Kind) -> None:
    assert kind_of(error) is kind
    assert kind_of(exc.DBAPIError("S", None, error)) is kind or isinstance(error, exc.SQLAlchemyError)


def test_a_code_counts_for_more_than_a_text() -> None:
    connection = sqlite3.connect("file:nowhere?mode=memory", uri=True)
    with pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("SELECT * FROM nowhere")
    assert kind_of(caught.value) is kinds.NO_TABLE
    with pytest.raises(sqlite3.OperationalError) as caught:
        sqlite3.connect("/nowhere/at/all")
    assert kind_of(caught.value) is kinds.CANNOT_OPEN
    connection.close()


def test_what_any_caller_may_read_names_nothing() -> None:
    for kind in (each for each in vars(kinds).values() if isinstance(each, Kind)):
        assert not any(mark in kind.reason for mark in "/{@:'\"")
        assert kind.reason.endswith(".")
        assert kind.advice.endswith(".")


def test_a_value_that_cannot_be_stored_is_not_tried_again() -> None:
    value = unavailable(psycopg.errors.UntranslatableCharacter("x"), POSTGRES, "it was written")
    assert isinstance(value, ValueNotStorable)
    right = psycopg.errors.InsufficientPrivilege("permission denied for x")
    answer = unavailable(right, POSTGRES, "it was read")
    assert isinstance(answer, StoreUnavailable)
    assert answer.reason == "The database user lacks a right."
    assert "permission denied for x" in str(answer)
    assert "Grant the user" in str(answer)


def refused(opened: Opener, url: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        opened(url).prepare()
    return str(caught.value)


@pytest.fixture(scope="module")
def weak_postgres(postgres: PostgresServer) -> URL:
    """An empty database as a user without rights sees it."""
    postgres.execute("CREATE ROLE weak LOGIN PASSWORD 'weak'")
    return postgres.new_database().set(username="weak", password="weak")


def test_postgres_says_what_to_do_for_each_kind(
    postgres: PostgresServer, weak_postgres: URL, opened: Opener
) -> None:
    assert "Grant the user" in refused(opened, weak_postgres)
    no_schema = postgres.new_database().update_query_dict({"options": "-c search_path=nowhere"})
    assert "Create the schema" in refused(opened, no_schema)
    assert "Create the database" in refused(opened, postgres.url("nowhere"))
    assert "Correct user and password" in refused(opened, weak_postgres.set(password="other"))
    assert "Start the server" in refused(opened, weak_postgres.set(port=free_port()))
    assert "Correct the TLS" in refused(opened, weak_postgres.update_query_dict({"sslmode": "require"}))
    for query in ({"foo": "bar"}, {"sslmode": "nonsense"}, {"options": "-c foo=bar"}):
        assert "Correct the options after ?" in refused(opened, weak_postgres.update_query_dict(query))
    postgres.execute("ALTER ROLE weak CONNECTION LIMIT 0")
    assert "Raise max_connections" in refused(opened, weak_postgres)


def test_a_url_without_a_database_is_not_one_in_memory(
    postgres: PostgresServer, opened: Opener
) -> None:
    no_name = postgres.url("").set(database=None)  # PostgreSQL takes the user's name for it
    assert "Create the database" in refused(opened, no_name)


def test_mariadb_says_what_to_do_for_each_kind(mariadb: MariaServer, opened: Opener) -> None:
    mariadb.execute("CREATE USER weak IDENTIFIED BY 'weak'")
    url = mariadb.new_database()
    weak = url.set(username="weak", password="weak")
    assert "Grant the user" in refused(opened, weak)
    mariadb.execute(f"GRANT SELECT ON {url.database}.* TO weak")
    assert "Grant the user" in refused(opened, weak)
    assert "Create the database" in refused(opened, url.set(database="nowhere"))
    assert "Correct user and password" in refused(opened, weak.set(password="other"))
    assert "Start the server" in refused(opened, weak.set(port=free_port()))
    for query in ({"foo": "bar"}, {"local_infile": "nonsense"}, {"ssl_ca": "/nowhere"}):
        assert "Correct the options after ?" in refused(opened, url.update_query_dict(query))
