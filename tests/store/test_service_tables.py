"""The tables of the service: who makes them, how they are brought up to date, and by several at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import URL
from tests.store.conftest import Opener
from tests.store.helpers import add, child, execute, fetch, finish, show

from appbuilder.errors import ConfigurationError
from appbuilder.store.databases.urls import parse
from appbuilder.store.service.schema import KEYS, RUNS, TRANSCRIPTS, VERSIONS, WORKERS

SERVICES = {KEYS, RUNS, TRANSCRIPTS, VERSIONS, WORKERS}
SESSIONS = "appbuilder_session_messages"


def tables(url: URL | str) -> set[str]:
    engine = create_engine(parse(url))
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def indexes(url: URL) -> set[str | None]:
    engine = create_engine(parse(url))
    try:
        return {index["name"] for index in inspect(engine).get_indexes(SESSIONS)}
    finally:
        engine.dispose()


def test_only_the_service_makes_its_tables(database_url: URL, opened: Opener) -> None:
    store = opened(database_url)
    store.prepare_conversations()
    add(store, "s", "x")
    store.session_locks().close()
    assert tables(database_url) == {SESSIONS}
    assert "ix_appbuilder_everybody" not in indexes(database_url)
    store.prepare_service()
    assert tables(database_url) == {SESSIONS} | SERVICES
    assert "ix_appbuilder_everybody" in indexes(database_url)
    assert fetch(database_url, f"SELECT version_num FROM {VERSIONS}") == [("0001",)]
    store.prepare_service()
    opened(database_url).prepare_service()


def test_a_start_that_was_broken_off_is_finished(database_url: URL, opened: Opener) -> None:
    store = opened(database_url)
    store.prepare_service()
    execute(database_url, f"DROP TABLE {VERSIONS}", f"DROP TABLE {TRANSCRIPTS}")
    store.prepare_service()
    assert tables(database_url) == {SESSIONS} | SERVICES


def test_workers_that_start_together(database_url: URL) -> None:
    code = """if True:
    import sys
    from appbuilder.settings import Settings
    from appbuilder.store.sessions.open_stores import open_store
    store = open_store(sys.argv[1], Settings(db_timeout=30.0))
    sys.stdin.readline()
    store.prepare_service()
    store.close()
    """
    starting = [child(code, show(database_url)) for _ in range(4)]
    for process in starting:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in starting:
        finish(process)
    assert tables(database_url) == {SESSIONS} | SERVICES


def test_a_database_of_a_newer_release(database_url: URL, opened: Opener) -> None:
    opened(database_url).prepare_service()
    execute(database_url, f"UPDATE {VERSIONS} SET version_num = '9999'")
    with pytest.raises(ConfigurationError, match=r"newer release.*9999"):
        opened(database_url).prepare_service()


def test_in_memory(opened: Opener) -> None:
    store = opened("sqlite://")
    store.prepare_service()
    assert store._live().read(f"SELECT count(*) FROM {KEYS}", ()) == [(0,)]


def test_without_alembic(tmp_path: Path) -> None:
    """The seeds' runtimes do not need it; the service says how to get it."""
    code = """if True:
    import sys
    sys.modules["alembic"] = None
    from appbuilder.errors import ConfigurationError
    from appbuilder.store.sessions.open_stores import open_store
    store = open_store(sys.argv[1])
    store.prepare_conversations()
    try:
        store.prepare_service()
    except ConfigurationError as error:
        print(error)
    """
    done = subprocess.run([sys.executable, "-c", code, f"sqlite:///{tmp_path}/foo.db"],
                          capture_output=True, text=True, check=True)
    assert "appbuilder-runtime[serve]" in done.stdout
