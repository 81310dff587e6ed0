"""Each query is served by its index, however long the table is."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import URL
from tests.store.conftest import Opener
from tests.store.helpers import add, contents

from appbuilder.store.databases import mysql, postgres, sqlite_insert
from appbuilder.store.databases.sqlite_insert import encode_time
from appbuilder.store.databases.urls import parse
from appbuilder.store.sessions import statements
from appbuilder.store.sessions.message_table import HISTORY_INDEX, SESSION_INDEX

SQL = {
    "sqlite": sqlite_insert.SQL,
    "postgresql": postgres.PostgresBackend.sql,
    "mysql": mysql.MysqlBackend.sql,
}
PREFIX = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN ", "mysql": "EXPLAIN "}
ROWS = 20_000
START = datetime(2026, 1, 1)


def fill(url: URL, rows: int) -> None:
    """*rows* rows of 50 sessions, one of them with nine tenths of all."""
    engine = create_engine(parse(url))
    sql = SQL[url.get_backend_name()].insert
    stamps = [START + timedelta(seconds=number) for number in range(rows)]
    times: list[Any] = [encode_time(stamp) for stamp in stamps] if engine.name == "sqlite" else stamps
    values = [
        (f"row-{number}", f"s{number % 50}" if number % 10 == 0 else "big", "r",
         f"key-{number % 3}", '{"content": "x"}', times[number], times[number])
        for number in range(rows)
    ]
    with engine.begin() as connection:
        connection.exec_driver_sql(sql, values)
        if engine.name == "postgresql":
            # The planner has to know that the table is long; the server's autovacuum would tell it.
            connection.exec_driver_sql("ANALYZE appbuilder_session_messages")
    engine.dispose()


def plan(url: URL, sql: str, parameters: tuple[Any, ...]) -> str:
    engine = create_engine(parse(url))
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(PREFIX[url.get_backend_name()] + sql, parameters).all()
    engine.dispose()
    return " ".join(str(row) for row in rows)


def test_the_named_indexes_serve_the_queries(database_url: URL, opened: Opener) -> None:
    opened(database_url).prepare()
    fill(database_url, ROWS)
    sql = SQL[database_url.get_backend_name()]
    stamp: Any = START + timedelta(seconds=ROWS // 2)
    if database_url.get_backend_name() == "sqlite":
        stamp = encode_time(stamp)
    for statement, parameters, index in [
        (sql.page, ("big", "key-1", 10), HISTORY_INDEX),
        (sql.older_page, ("big", "key-1", stamp, stamp, "row-5", 10), HISTORY_INDEX),
        (sql.newest, ("big",), SESSION_INDEX),
    ]:
        text = plan(database_url, statement, parameters)
        assert str(index.name) in text, (statement, text)
        for sorting in ("TEMP B-TREE", "Sort", "filesort"):
            assert sorting not in text, (statement, text)


def test_row_ids_are_looked_up_by_the_primary_key(opened: Opener, tmp_path: Any) -> None:
    store = opened(f"sqlite:///{tmp_path}/foo.db")
    store.prepare()
    text = plan(store.url, statements.make("?").stored(2), ("a", "b"))
    assert "sqlite_autoindex" in text


def test_history_does_not_slow_down(opened: Opener, tmp_path: Any) -> None:
    """100,000 rows, most of them in one session: the newest ten take what they take of 1,000."""
    took = []
    for rows in (1_000, 100_000):
        store = opened(f"sqlite:///{tmp_path}/{rows}.db")
        store.prepare()
        fill(store.url, rows)
        add(store, "big", "last")
        best = []
        for _ in range(50):
            began = time.perf_counter()
            assert len(store.history("big", "key-1", 10)) == 10
            best.append(time.perf_counter() - began)
        took.append(min(best))
        assert contents(store, "big", limit=1) == ["last"]
    assert took[1] < 3 * took[0], took


@pytest.mark.parametrize("missing", [HISTORY_INDEX, SESSION_INDEX])
def test_a_missing_index_is_added(opened: Opener, tmp_path: Any, missing: Any) -> None:
    from tests.store.helpers import execute, fetch

    store = opened(f"sqlite:///{tmp_path}/foo.db")
    add(store, "s", 1)
    execute(store.url, f"DROP INDEX {missing.name}")
    opened(store.url).prepare()
    assert (missing.name,) in fetch(store.url, "SELECT name FROM sqlite_master WHERE type = 'index'")
