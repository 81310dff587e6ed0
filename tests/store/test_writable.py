"""The proof that a turn could be stored: it fails where a turn would, says why, and leaves no trace."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine, inspect
from sqlalchemy.engine import URL
from tests.services.fixtures import SERVERS, server_of
from tests.services.servers import MariaServer, PostgresServer
from tests.store.conftest import Opener
from tests.store.helpers import add, child, contents, execute, fetch, finish

from appbuilder.errors import StoreUnavailable
from appbuilder.store.databases import sqlite_file
from appbuilder.store.databases.urls import parse
from appbuilder.store.sessions.session_store import SqlStore

TABLE = "appbuilder_session_messages"
LOCKS = 0.3
"""Seconds a proof waits for locks here."""


def reason(store: SqlStore) -> str:
    """Why no turn can be stored; empty: one can."""
    try:
        store.check_writable(LOCKS)
    except StoreUnavailable as error:
        return error.reason
    return ""


def test_it_leaves_no_trace(database_url: URL, opened: Opener) -> None:
    store = opened(database_url)
    store.prepare_conversations()
    add(store, "s", "x")
    before = fetch(database_url, f"SELECT * FROM {TABLE}")
    mark = store._live().mark()
    assert reason(store) == reason(store) == ""
    assert fetch(database_url, f"SELECT * FROM {TABLE}") == before
    assert store._live().mark() == mark
    engine = create_engine(parse(database_url))
    assert inspect(engine).get_table_names() == [TABLE]
    engine.dispose()
    add(store, "s", "y")
    assert contents(store, "s") == ["x", "y"]


def test_in_memory(opened: Opener) -> None:
    store = opened("sqlite://")
    add(store, "s", "x")
    assert reason(store) == ""
    assert contents(store, "s") == ["x"]


# SQLite


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


@pytest.fixture
def in_file(path: Path, opened: Opener) -> SqlStore:
    """A store on a file, with a turn in it."""
    store = opened(f"sqlite:///{path}")
    add(store, "s", "x" * 20_000)
    assert reason(store) == ""
    return store


@contextlib.contextmanager
def another(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program that uses the file."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def empty_log(path: Path) -> None:
    with another(path) as connection:
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall() == [(0, 0, 0)]


def test_a_lock_of_another_program(path: Path, in_file: SqlStore) -> None:
    with another(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        assert reason(in_file) == "The database is locked, or too slow."
    assert reason(in_file) == ""


def test_a_disk_without_space(in_file: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "LEAST_SPACE", 2**60)
    assert reason(in_file) == "The disk of the database is full."
    monkeypatch.undo()
    assert reason(in_file) == ""


FULL = """if True:
    import resource, sys
    from tests.store.helpers import add
    from tests.store.test_writable import reason
    from appbuilder.errors import StoreUnavailable
    from appbuilder.settings import Settings
    from appbuilder.store.sessions.session_store import SqlStore
    from appbuilder.store.databases.urls import parse
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, -1))
    store = SqlStore(parse(sys.argv[1]), Settings(db_timeout=5.0))
    assert reason(store) == ""
    while True:
        try:
            add(store, "s", "x" * 10_000)
        except StoreUnavailable:
            break
    assert reason(store) == "The disk of the database fails, or has reached a limit.", reason(store)
    resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
    assert reason(store) == "", reason(store)
    add(store, "s", "x")
"""


def test_a_limit_on_the_size_of_files(path: Path) -> None:
    finish(child(FULL, f"sqlite:///{path}"))


def test_a_file_that_was_written_over(path: Path, in_file: SqlStore) -> None:
    empty_log(path)
    with path.open("r+b") as file:
        file.write(b"garbage!" * 1024)
    assert reason(in_file) == "The database is damaged, or is not a database."


def test_pages_that_are_damaged(path: Path, in_file: SqlStore) -> None:
    empty_log(path)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 40_000)
    assert reason(in_file) == "The database is damaged, or is not a database."


def test_another_file_in_its_place_and_back_again(path: Path, in_file: SqlStore) -> None:
    empty_log(path)
    path.rename(path.with_name("good"))
    path.write_text("not a database " * 1000)
    assert reason(in_file) == "The database is damaged, or is not a database."
    path.unlink()
    path.with_name("good").rename(path)
    assert reason(in_file) == ""
    assert len(contents(in_file, "s")) == 1


def test_a_file_that_can_only_be_read(path: Path, in_file: SqlStore, opened: Opener) -> None:
    store = opened(f"sqlite:///file:{path}?mode=ro&uri=true")
    assert reason(store) == "The database is read-only."
    assert reason(in_file) == ""


# Servers


def test_a_user_of_postgres_without_a_right(postgres: PostgresServer, opened: Opener) -> None:
    url = postgres.new_database()
    opened(url).prepare()
    role = f"r{url.database}"
    postgres.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'weak'")
    store = opened(url.set(username=role, password="weak"))
    for right in ("SELECT", "INSERT", "UPDATE"):
        # Without this one right, then with it.
        execute(url, f"GRANT SELECT, INSERT, UPDATE ON {TABLE} TO {role}",
                f"REVOKE {right} ON {TABLE} FROM {role}")
        assert reason(store) == "The database user lacks a right.", right
    execute(url, f"GRANT SELECT, INSERT, UPDATE ON {TABLE} TO {role}")
    assert reason(store) == ""


def test_a_user_of_mariadb_without_a_right_and_a_server_that_is_read_only(
    mariadb: MariaServer, opened: Opener
) -> None:
    url = mariadb.new_database()
    opened(url).prepare()
    name = f"u{url.database}"
    mariadb.execute(f"CREATE USER {name} IDENTIFIED BY 'weak'")
    mariadb.execute(f"GRANT SELECT, UPDATE ON {url.database}.* TO {name}")
    store = opened(url.set(username=name, password="weak"))
    assert reason(store) == "The database user lacks a right."
    mariadb.execute(f"GRANT INSERT ON {url.database}.* TO {name}")
    mariadb.execute("SET GLOBAL read_only = 1")
    try:
        assert reason(store) == "The database is read-only."
    finally:
        mariadb.execute("SET GLOBAL read_only = 0")
    assert reason(store) == ""


def test_postgres_that_is_read_only(postgres: PostgresServer, opened: Opener) -> None:
    url = postgres.new_database()
    opened(url).prepare()
    postgres.execute(f"ALTER DATABASE {url.database} SET default_transaction_read_only = on")
    store = opened(url)
    assert reason(store) == "The database is read-only."
    execute(url.update_query_dict({"options": "-c default_transaction_read_only=off"}),
            f"ALTER DATABASE {url.database} RESET default_transaction_read_only")
    store._live().close()
    assert reason(store) == ""


@pytest.mark.parametrize("kind", SERVERS)
def test_a_table_that_was_dropped(kind: str, request: pytest.FixtureRequest, opened: Opener) -> None:
    url = server_of(request, kind).new_database()
    store = opened(url)
    assert reason(store) == ""
    execute(url, f"DROP TABLE {TABLE}")
    assert reason(store) == "A table or a column of the database is missing."
    opened(url).prepare()
    assert reason(store) == ""


@pytest.mark.parametrize(("kind", "lock"), [
    ("postgresql", f"LOCK TABLE {TABLE}"), ("mariadb", f"LOCK TABLES {TABLE} READ"),
])
def test_a_lock_of_another_program_on_a_server(
    kind: str, lock: str, request: pytest.FixtureRequest, opened: Opener
) -> None:
    url = server_of(request, kind).new_database()
    store = opened(url)
    store.prepare()
    before = store._live().read("SELECT 1", ())
    engine = create_engine(parse(url), poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(lock)
        assert reason(store) == "The database is locked, or too slow."
    assert reason(store) == ""
    if kind == "mariadb":
        assert store._live().read("SELECT @@lock_wait_timeout = @@GLOBAL.lock_wait_timeout", ()) == before


@pytest.mark.parametrize("kind", SERVERS)
def test_connections_that_are_all_in_use(kind: str, request: pytest.FixtureRequest, opened: Opener) -> None:
    store = opened(server_of(request, kind).new_database(), db_pool=1, db_timeout=1.0)
    backend = store._live()
    with backend.connect():  # type: ignore[attr-defined]
        assert reason(store) == "All connections of this process to the database are in use."
    assert reason(store) == ""


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_is_away(kind: str, request: pytest.FixtureRequest, opened: Opener) -> None:
    server = server_of(request, kind)
    store = opened(server.new_database())
    assert reason(store) == ""
    server.stop()
    try:
        assert reason(store) == "The database does not answer."
    finally:
        server.start()
    store.check_writable(LOCKS)
