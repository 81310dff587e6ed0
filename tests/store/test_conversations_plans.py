"""Lists and searches are served by their indexes, however long the table is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import URL
from tests.store.conftest import Opener
from tests.store.test_plans import SQL, plan

from appbuilder.core.store import TURN_KEY
from appbuilder.ids import new_id
from appbuilder.store.conversations.queries import (
    ACTIVITY_INDEX,
    CONVERSATIONS_INDEX,
    EVERYBODY_INDEX,
    ConversationSql,
)
from appbuilder.store.conversations.row_values import ConversationRow, owner_key
from appbuilder.store.databases import mysql, postgres, sqlite
from appbuilder.store.databases.sqlite_insert import encode_time
from appbuilder.store.databases.urls import parse
from appbuilder.store.sessions.message_table import HISTORY_INDEX, SESSION_INDEX

CATALOGUE: dict[str, ConversationSql] = {
    "sqlite": sqlite.SqliteBackend.conversation_sql,
    "postgresql": postgres.PostgresBackend.conversation_sql,
    "mysql": mysql.MysqlBackend.conversation_sql,
}
SESSIONS = 1_000
ROWS_EACH = 12
START = datetime(2026, 1, 1)
SORTS = ("TEMP B-TREE", "Sort", "filesort")
ANY_ID = "c" * 36
LONG = "l" * 36
"""A session of very many rows."""


@pytest.fixture
def filled(database_url: URL, opened: Opener) -> URL:
    """12,000 rows: conversations of one owner, with turns and messages."""
    opened(database_url).prepare_service()
    encode = _encode(database_url)
    values: list[Any] = []
    for number in range(SESSIONS):
        session_id, began = new_id(), encode(START + timedelta(seconds=number))
        listing = ConversationRow(session_id, "alice", f"title {number}")
        values.append((listing.id, session_id, "r", listing.key, listing.text, began, began))
        for row in range(1, ROWS_EACH):
            at = encode(START + timedelta(seconds=number + row * SESSIONS))
            key = TURN_KEY if row % 3 == 0 else "query"
            values.append((new_id(), session_id, "r", key, '{"content": "x"}', at, at))
    _insert(database_url, values)
    return database_url


def _encode(database_url: URL) -> Callable[[datetime], Any]:
    return encode_time if database_url.get_backend_name() == "sqlite" else lambda stamp: stamp


def _insert(database_url: URL, values: list[Any]) -> None:
    engine = create_engine(parse(database_url))
    with engine.begin() as connection:
        connection.exec_driver_sql(SQL[database_url.get_backend_name()].insert, values)
        if engine.name == "postgresql":
            connection.exec_driver_sql("ANALYZE appbuilder_session_messages")
    engine.dispose()


def test_the_named_indexes_serve_the_catalogue(filled: URL) -> None:
    sqlite_too = filled.get_backend_name() == "sqlite"
    sql = CATALOGUE[filled.get_backend_name()]
    stamp: Any = START + timedelta(seconds=SESSIONS // 2)
    late: Any = START + timedelta(seconds=SESSIONS * (ROWS_EACH - 1) + SESSIONS - 10)
    if sqlite_too:
        stamp, late = encode_time(stamp), SESSIONS * ROWS_EACH - 10
    key = owner_key("alice")
    older = (stamp, stamp, ANY_ID)
    everybodys = [
        (sql.page(search=False, older=False, everybody=True), (21,), EVERYBODY_INDEX),
        (sql.page(search=False, older=True, everybody=True), (*older, 21), EVERYBODY_INDEX),
    ] if filled.get_backend_name() != "postgresql" else []  # which rather sorts as few as these
    for statement, parameters, index in [
        (sql.page(search=False, older=False), (key, 21), CONVERSATIONS_INDEX),
        (sql.page(search=False, older=True), (key, *older, 21), CONVERSATIONS_INDEX),
        (sql.page(search=True, older=False), (key, "x", "x", 21), CONVERSATIONS_INDEX),
        (sql.page(search=True, older=True), (key, "x", "x", *older, 21), CONVERSATIONS_INDEX),
        *everybodys,
        (sql.owner, (ANY_ID, ANY_ID), SESSION_INDEX.name),
        (sql.some_ids, (ANY_ID, ANY_ID, 2), SESSION_INDEX.name),
        (sql.newest_turn, (ANY_ID,), None),
        (sql.latest, (ANY_ID,), SESSION_INDEX.name),
        (sql.origin, (ANY_ID,), SESSION_INDEX.name),
        (sql.rows, (ANY_ID, 10), SESSION_INDEX.name),
        (sql.more_sessions, (ANY_ID, 10), SESSION_INDEX.name),
        (sql.changed, (late,), "INTEGER PRIMARY KEY (rowid>?)" if sqlite_too else ACTIVITY_INDEX),
    ]:
        text = plan(filled, statement, parameters)
        assert str(index or "ix_appbuilder_") in text, (statement, text)
        if statement is not sql.changed:
            for sorting in SORTS:
                assert sorting not in text, (statement, text)


def test_a_page_of_a_long_session_is_one_range(filled: URL) -> None:
    sql, encode = CATALOGUE[filled.get_backend_name()], _encode(filled)
    stamps = [encode(START + timedelta(seconds=row)) for row in range(2 * SESSIONS)]
    _insert(filled, [(new_id(), LONG, "r", TURN_KEY, '{"content": "x"}', at, at) for at in stamps])
    place = (stamps[SESSIONS], stamps[SESSIONS], ANY_ID)
    for statement, parameters in [
        (sql.older_rows, (LONG, *place, 10)),
        (sql.first_rows, (LONG, 10)),
        (sql.next_rows, (LONG, *place, 10)),
    ]:
        text = plan(filled, statement, parameters)
        assert str(SESSION_INDEX.name) in text, (statement, text)
        assert not any(sorting in text for sorting in SORTS), (statement, text)


def test_the_newest_message_is_one_step(filled: URL) -> None:
    if filled.get_backend_name() == "sqlite":
        return  # it asks for the last row number instead
    text = plan(filled, CATALOGUE[filled.get_backend_name()].newest, (START + timedelta(days=1),))
    assert ACTIVITY_INDEX in text
    assert "filesort" not in text
    assert "Sort" not in text


def test_sqlite_reads_lists_from_the_index_alone(opened: Opener, tmp_path: Any) -> None:
    store = opened(f"sqlite:///{tmp_path}/foo.db")
    store.prepare_conversations()
    text = plan(store.url, CATALOGUE["sqlite"].page(search=True, older=True), ("k", "x", "x", "", "", "", 1))
    assert f"USING COVERING INDEX {CONVERSATIONS_INDEX}" in text


def test_rows_are_found_by_their_ids(filled: URL) -> None:
    sql = CATALOGUE[filled.get_backend_name()]
    key = owner_key("alice")
    primary = {"sqlite": "sqlite_autoindex", "postgresql": "_pkey", "mysql": "PRIMARY"}
    for statement, parameters in [
        (sql.conversation, (ANY_ID,)), (sql.turn, (ANY_ID,)), (sql.states(2), (ANY_ID, "b")),
        (sql.values(2), (ANY_ID, "b")),
        (sql.owner, (ANY_ID, ANY_ID)), (sql.is_owned, (ANY_ID, key)), (sql.remove(2), (ANY_ID, "b")),
        (sql.drop, (ANY_ID,)), (sql.touch_sql, (START, ANY_ID, START)),
    ]:
        values = tuple(encode_time(each) if isinstance(each, datetime) and filled.get_backend_name()
                       == "sqlite" else each for each in parameters)
        text = plan(filled, statement, values)
        assert primary[filled.get_backend_name()] in text or "Impossible WHERE" in text, (statement, text)


def test_many_sessions_are_asked_about_by_index(filled: URL) -> None:
    sql = CATALOGUE[filled.get_backend_name()]
    for statement in (sql.latest, sql.origin):
        text = plan(filled, sql.each(statement, 3), ("a", "b", "c"))
        assert text.count(str(SESSION_INDEX.name)) >= 3, text


def test_history_keeps_its_index(filled: URL) -> None:
    """The page's indexes do not look better to the planner."""
    name = filled.get_backend_name()
    text = plan(filled, SQL[name].page, (ANY_ID, "query", 10))
    assert str(HISTORY_INDEX.name) in text
    text = plan(filled, SQL[name].newest, (ANY_ID,))
    assert str(SESSION_INDEX.name) in text
