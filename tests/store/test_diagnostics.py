"""What `appbuilder doctor` is told of a database."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.engine import URL
from tests.services.servers import MariaServer, PostgresServer
from tests.store.conftest import Opener
from tests.store.helpers import execute

from appbuilder import clock
from appbuilder.errors import ConfigurationError
from appbuilder.store.service.diagnostics import Check
from appbuilder.store.sessions.session_store import SqlStore

NAMES = {
    "sqlite": {"journal_mode", "synchronous", "rights of the file"},
    "postgresql": {"fsync", "synchronous_commit", "full_page_writes", "max_connections",
                   "clock of the database", "connection pooler", "encoding"},
    "mysql": {"innodb_flush_log_at_trx_commit", "sync_binlog", "log_bin", "innodb_doublewrite",
              "max_connections", "clock of the database"},
}


def told(store: SqlStore) -> dict[str, Check]:
    return {fact.name: fact for fact in store.describe()}


def test_a_good_database(database_url: URL, opened: Opener) -> None:
    store = opened(database_url)
    store.prepare_service()
    found = told(store)
    always = {"server", "connections per process", "appbuilder_session_messages", "indexes",
              "tables of the service"}
    assert set(found) == NAMES[database_url.get_backend_name()] | always
    assert [fact for fact in found.values() if fact.good is False] == []
    assert found["tables of the service"].value == "revision 0001"
    assert any(char.isdigit() for char in found["server"].value)


def test_a_database_before_its_first_start(database_url: URL, opened: Opener, tmp_path: Path) -> None:
    found = opened(database_url).describe()
    assert found[-1].value == "not there yet"
    assert found[-1].good is None
    assert list(tmp_path.iterdir()) == [], "to look makes no file"


def test_a_schema_that_is_behind(database_url: URL, opened: Opener) -> None:
    store = opened(database_url)
    store.prepare_service()
    where = " ON appbuilder_session_messages" if "mysql" in database_url.drivername else ""
    execute(database_url, f"DROP INDEX ix_appbuilder_history{where}",
            "UPDATE appbuilder_alembic_version SET version_num = '0000'")
    found = told(store)
    assert found["indexes"].good is False
    assert "ix_appbuilder_history" in found["indexes"].value
    assert found["tables of the service"].good is False
    assert found["tables of the service"].advice


def test_clocks_that_are_apart(
    postgres: PostgresServer, mariadb: MariaServer, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = clock.now
    monkeypatch.setattr(clock, "now", lambda: real() - timedelta(hours=1))
    for server in (postgres, mariadb):
        found = told(opened(server.new_database()))["clock of the database"]
        assert found.good is False
        assert float(found.value.removesuffix(" s")) == pytest.approx(3600, abs=30)


def test_more_connections_than_the_server_takes(
    postgres: PostgresServer, mariadb: MariaServer, opened: Opener
) -> None:
    for server in (postgres, mariadb):
        found = told(opened(server.new_database(), db_pool=50, workers=4))
        assert found["max_connections"].good is False
        assert found["max_connections"].value == "200, of which this service may use 204"


def test_commits_that_are_not_flushed(mariadb: MariaServer, opened: Opener) -> None:
    url = mariadb.new_database()
    mariadb.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 2")
    try:
        assert told(opened(url))["innodb_flush_log_at_trx_commit"].good is False
    finally:
        mariadb.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 1")


def test_a_database_that_is_not_there(opened: Opener, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        opened(f"sqlite:///{tmp_path}/nothing/foo.db").describe()


def test_in_memory(opened: Opener) -> None:
    assert told(opened("sqlite://"))["synchronous"].value == "full"
