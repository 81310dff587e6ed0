"""Database URLs: what is taken, what is refused, and that no password is ever shown."""

from __future__ import annotations

import importlib.util
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest
from sqlalchemy import exc
from sqlalchemy.engine import URL

from appbuilder.errors import AppBuilderError, ConfigurationError, StoreUnavailable
from appbuilder.settings import Settings
from appbuilder.store.databases import driver_errors, urls
from appbuilder.store.sessions.open_stores import open_store
from appbuilder.store.sessions.session_store import SqlStore

SECRET = "p@ss/w%rd"
PLACES = "The database URL (--database, APPBUILDER_DATABASE or user_session_config)"


@pytest.mark.parametrize(("given", "taken"), [
    ("sqlite:////tmp/x.db", "sqlite+pysqlite:////tmp/x.db"),
    ("sqlite+pysqlite:////tmp/x.db", "sqlite+pysqlite:////tmp/x.db"),
    ("sqlite://", "sqlite+pysqlite://"),
    ("postgresql://u@h/d", "postgresql+psycopg://u@h/d"),
    ("postgres://u@h/d", "postgresql+psycopg://u@h/d"),
    ("postgresql+psycopg2://u@h/d", "postgresql+psycopg://u@h/d"),
    ("mysql://u@h/d", "mysql+pymysql://u@h/d"),
    ("mysql+mysqldb://u@h/d", "mysql+pymysql://u@h/d"),
    ("mariadb://u@h:3307/d", "mariadb+pymysql://u@h:3307/d"),
])
def test_urls_that_are_taken(given: str, taken: str) -> None:
    assert urls.parse(given).render_as_string(hide_password=False) == taken


def test_a_url_object(tmp_path: Path) -> None:
    url = URL.create("sqlite", database=str(tmp_path / "a.db"))
    assert urls.parse(url).database == str(tmp_path / "a.db")


def test_the_default_is_a_file_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    url = urls.parse(None)
    monkeypatch.chdir("/")
    assert url.database == str(tmp_path.resolve() / "user_session.db")


@pytest.mark.parametrize("given", [
    5, b"sqlite://", ["sqlite://"], object(), "", "foo.db", "sqlite:", "postgresql://u:a@b@h/d",
    f"postgresql://u:{SECRET}@h:port/d", "oracle://u:" + SECRET + "@h/d", "sqlite+aiosqlite:///x.db",
    f"postgresql+asyncpg://u:{SECRET}@h/d", "://", "mysql+nothing://h",
    "sqlite://foo.db", "sqlite://srv/foo.db", "mysql://u@h", "mariadb://u@h/",
])
def test_urls_that_are_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        urls.parse(given)
    assert isinstance(caught.value, ValueError)
    assert str(caught.value).startswith(PLACES)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(("scheme", "module", "extra"), [
    ("postgresql", "psycopg", "postgres"), ("mysql", "pymysql", "mysql"), ("mariadb", "pymysql", "mysql"),
])
def test_a_missing_driver_names_its_extra(
    scheme: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(urls, "find_spec", lambda name: None if name == module else real(name))
    with pytest.raises(ConfigurationError, match=rf"pip install 'appbuilder-runtime\[{extra}\]'"):
        urls.parse(f"{scheme}://h/d")


def test_sqlite_needs_no_driver_of_the_extras() -> None:
    code = """if True:
        import sys
        sys.modules["psycopg"] = sys.modules["pymysql"] = None
        from appbuilder.core.store import TurnRecord
        from appbuilder.store.sessions.open_stores import open_store
        store = open_store("sqlite://")
        store.commit(TurnRecord("s", "r", [("query", {"content": 1})]))
        assert store.history("s", "query", 1)
        assert "sqlalchemy.orm" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("url", [
    URL.create("postgresql", "u", SECRET, "h", 5432, "d"),
    URL.create("postgresql", "u", None, "h", 5432, "d", query={"password": SECRET}),
    URL.create("mysql", "u", SECRET, "h", 3306, "d", query={"ssl_password": "x"}),
])
def test_what_is_shown(url: URL) -> None:
    for text in (urls.show(urls.parse(url)), repr(SqlStore(urls.parse(url), Settings()))):
        assert SECRET not in text
        assert "h:" in text
    for form in (SECRET, "p%40ss%2Fw%25rd", "p%40ss/w%25rd"):
        assert form not in urls.scrub(f"it said {form} to us", url)


USERS_TEXT = "what the user said"


DRIVERS_ERRORS: list[tuple[Exception, str]] = [
    (exc.TimeoutError("QueuePool limit"), "all connections are in use"),
    (exc.OperationalError("S", {"a": USERS_TEXT}, psycopg.errors.AdminShutdown("x")),
     "AdminShutdown: SQLSTATE 57P01"),
    (psycopg.errors.CheckViolation(f"Failing row contains ({USERS_TEXT})"),
     "CheckViolation: SQLSTATE 23514"),
    (psycopg.OperationalError(f"connection refused for {SECRET}"),
     "OperationalError: connection refused for ***"),
    (pymysql.err.OperationalError(2003, f"Can't connect {SECRET}"),
     "OperationalError: 2003 Can't connect ***"),
    (pymysql.err.DataError(1406, USERS_TEXT), "DataError: 1406"),
    (pymysql.err.IntegrityError(1062, f"Duplicate entry '{USERS_TEXT}'"), "IntegrityError: 1062"),
    (sqlite3.DatabaseError("file is not a database"), "DatabaseError: file is not a database"),
    (sqlite3.DatabaseError(f"constraint of {USERS_TEXT}"), "DatabaseError"),
    (ValueError(USERS_TEXT), "ValueError while a row was read or written"),
    (ConnectionResetError("Connection reset"), "ConnectionResetError: Connection reset"),
]


@pytest.mark.parametrize(("error", "expected"), DRIVERS_ERRORS, ids=lambda value: type(value).__name__)
def test_errors_hold_no_secret_and_no_users_text(error: Exception, expected: str) -> None:
    assert driver_errors.describe(error, URL.create("postgresql", "u", SECRET, "h", 5432, "d")) == expected


def every_error(module: Any, base: type[BaseException]) -> list[type[BaseException]]:
    return [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, base)]


@pytest.mark.parametrize("kind", [
    *every_error(exc, exc.SQLAlchemyError), ConnectionError, TimeoutError,
], ids=lambda kind: kind.__name__)
def test_every_error_of_sqlalchemy_is_mapped(kind: type[BaseException]) -> None:
    assert issubclass(kind, driver_errors.FAILURES)


@pytest.mark.parametrize(("error", "base"), [
    (psycopg.errors.DiskFull("x"), psycopg.Error),
    (pymysql.err.OperationalError(1021, "Disk full"), pymysql.err.Error),
])
def test_errors_of_drivers_become_store_unavailable(error: Exception, base: type[Exception]) -> None:
    wrapped = exc.DBAPIError.instance("SELECT 1", None, error, base)
    assert isinstance(wrapped, driver_errors.FAILURES)
    mapped = driver_errors.unavailable(wrapped, URL.create("postgresql"), "it was read")
    assert isinstance(mapped, StoreUnavailable)
    assert isinstance(mapped, AppBuilderError)


@pytest.mark.parametrize(("name", "found"), [
    ("text.txt", "cannot be used (DatabaseError: file is not a database). "
     "The database is damaged, or is not a database. Restore it from a backup, or correct"),
    ("folder", "is a folder: name a file in"),
])
def test_what_is_no_database_is_told_with_where_it_was_named(tmp_path: Path, name: str, found: str) -> None:
    (tmp_path / "text.txt").write_text("This is no database. " * 50)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigurationError) as caught:
        open_store(f"sqlite:///{tmp_path}/{name}").prepare()
    assert f"{found} {PLACES.replace('The', 'the')}" in str(caught.value)


class TestRegistry:
    def test_one_store_per_database(self, tmp_path: Path) -> None:
        first = open_store(f"sqlite:///{tmp_path}/a.db")
        assert open_store(f"sqlite:///{tmp_path}/a.db", Settings()) is first
        assert open_store(f"sqlite:///{tmp_path}/b.db") is not first

    def test_nothing_is_opened(self, tmp_path: Path) -> None:
        open_store(f"sqlite:///{tmp_path}/a.db")
        assert list(tmp_path.iterdir()) == []

    def test_another_type_is_a_value_error(self) -> None:
        with pytest.raises(ValueError, match="must be a str"):
            open_store(5)  # type: ignore[arg-type]
