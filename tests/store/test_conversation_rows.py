"""Turns of conversations that are listed: what is written with them, and that others cost nothing."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import URL
from tests.services.fixtures import SERVERS, server_of
from tests.store.conftest import Opener
from tests.store.helpers import add, contents, entry_turn, execute, fetch, turn
from tests.store.test_servers import Cut

from appbuilder import clock
from appbuilder.core.conversations import CONVERSATION_PREFIX
from appbuilder.core.store import TURN_KEY
from appbuilder.errors import NotFound
from appbuilder.store.conversations.row_values import owner_key, row_id
from appbuilder.store.databases.sqlite import SqliteBackend
from appbuilder.store.sessions.rows import PreparedTurn

ROWS = "SELECT * FROM appbuilder_session_messages WHERE session_id = 's' ORDER BY created_at, id"


def rows(url: URL) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in fetch(url, ROWS)]


def conversation(url: URL) -> dict[str, Any]:
    """The one row of the conversation ``s``, its value read."""
    (row,) = [row for row in rows(url) if row["message_key"].startswith(CONVERSATION_PREFIX)]
    value = row["message_value"]
    return {**row, "value": json.loads(value) if isinstance(value, str) else value}


def test_an_entry_is_the_last_row_of_its_turn(database_url: URL, opened: Opener) -> None:
    first = entry_turn("s", "alice", "Hello", ("query", 1), ("answer", 2))
    assert first.entry is not None
    opened(database_url).commit(first)
    written = [row for row in rows(database_url) if not row["message_key"].startswith(CONVERSATION_PREFIX)]
    assert [row["message_key"] for row in written] == ["query", "answer", TURN_KEY]
    assert written[-1]["id"] == first.entry.row_id
    assert {row["request_id"] for row in written} == {first.request_id}
    listed = conversation(database_url)
    assert listed["id"] == row_id("s")
    assert listed["message_key"] == owner_key("alice")
    assert (listed["value"]["owner"], listed["value"]["title"]) == ("alice", "Hello")
    assert listed["created_at"] == written[0]["created_at"]
    assert listed["updated_at"] == written[2]["created_at"]


def test_an_entry_without_rows(database_url: URL, opened: Opener) -> None:
    opened(database_url).commit(entry_turn("s", "alice", "Hello"))
    assert len(rows(database_url)) == 2
    assert conversation(database_url)["created_at"] == conversation(database_url)["updated_at"]


def test_the_title_is_that_of_the_first_turn(database_url: URL, opened: Opener) -> None:
    store = opened(database_url)
    store.commit(entry_turn("s", "alice", "Hello", ("query", 1)))
    before = conversation(database_url)
    store.commit(entry_turn("s", "alice", "Other", ("query", 2)))
    after = conversation(database_url)
    newest = max(row["created_at"] for row in rows(database_url))
    assert after == {**before, "updated_at": newest}
    assert contents(store, "s") == [1, 2]


def test_one_turn_that_is_refused_fails_no_other_of_its_group(opened: Opener, tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/foo.db"
    store = opened(url)
    store.commit(entry_turn("s", "alice", "Hello", ("query", 1)))
    backend = store._live()
    assert isinstance(backend, SqliteBackend)
    group = [entry_turn("s", "bob", "his", ("query", 2)), entry_turn("s", "alice", "", ("query", 3))]
    refused, stored = backend._write_group(lambda: list(map(PreparedTurn.of, group)), 1e12)
    assert isinstance(refused, NotFound)
    assert stored is None
    assert contents(store, "s") == [1, 3]


@pytest.mark.parametrize("owner", ["名" * 3000, "a" * 8000, "' OR 1=1 --", "", "nobody", "Ä\u0308\x1f"])
def test_owners_of_any_name(database_url: URL, opened: Opener, owner: str) -> None:
    opened(database_url).commit(entry_turn("s", owner, "Hello"))
    assert conversation(database_url)["value"]["owner"] == owner
    assert len(owner_key(owner)) == len(owner_key("x"))
    assert owner_key(owner) != owner_key(None)


def test_a_deleted_conversation_begins_anew(database_url: URL, opened: Opener) -> None:
    store = opened(database_url)
    store.commit(entry_turn("s", "alice", "Hello", ("query", 1)))
    before = conversation(database_url)
    execute(database_url, "UPDATE appbuilder_session_messages SET deleted = true")
    store.commit(entry_turn("s", "bob", "Again", ("query", 2)))
    after = conversation(database_url)
    assert (after["value"]["owner"], after["value"]["title"]) == ("bob", "Again")
    assert after["message_key"] == owner_key("bob")
    assert not after["deleted"]
    assert after["created_at"] > before["updated_at"]
    assert contents(store, "s") == [2]


@pytest.mark.parametrize("deleted_before", [False, True])
def test_a_session_begun_over_chat_keeps_its_beginning(
    database_url: URL, opened: Opener, deleted_before: bool
) -> None:
    store = opened(database_url)
    if deleted_before:
        store.commit(entry_turn("s", "bob", "Old", ("query", 0)))
        execute(database_url, "UPDATE appbuilder_session_messages SET deleted = true")
    add(store, "s", "What is  new?")
    began = max(row["created_at"] for row in rows(database_url) if row["message_key"] == "query")
    store.commit(entry_turn("s", "alice", "Later", ("query", "later")))
    listed = conversation(database_url)
    assert (listed["value"]["owner"], listed["value"]["title"]) == (None, "What is new?")
    assert (listed["message_key"], listed["created_at"]) == (owner_key(None), began)


def test_turns_of_one_session_that_are_written_together(opened: Opener, tmp_path: Any) -> None:
    """A group of the SQLite writer: the conversation of the second is that of the first."""
    url = f"sqlite:///{tmp_path}/foo.db"
    backend = opened(url)._live()
    assert isinstance(backend, SqliteBackend)
    mine = [entry_turn("s", "a", "A"), entry_turn("s", "b", "B")]
    prepared = [PreparedTurn.of(each) for each in (turn("s", ("x", "chat")), *mine, turn("s", ("x", 1)))]
    assert backend._write_group(lambda: prepared, 1e12) == [None] * 4
    listed = conversation(url)  # type: ignore[arg-type]
    stamps = [row["created_at"] for row in rows(url) if row["id"] != listed["id"]]  # type: ignore[arg-type]
    assert listed["value"]["title"] == "chat"
    assert (listed["created_at"], listed["updated_at"]) == (stamps[0], stamps[2])


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_connection_lost_during_commit(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, opened: Opener, kind: str, when: str
) -> None:
    url = server_of(request, kind).new_database()
    store = opened(url)
    store.prepare()
    cut = Cut(monkeypatch, when)
    store.commit(entry_turn("s", "alice", "Hello", ("query", 1)))
    assert cut.done
    assert len(rows(url)) == 3
    assert conversation(url)["value"]["owner"] == "alice"


def test_a_turn_that_fails_lists_nothing(database_url: URL, opened: Opener) -> None:
    store = opened(database_url)
    first = entry_turn("s", "alice", "Hello", ("query", 1))
    store.commit(first)
    before = rows(database_url)
    assert first.entry is not None
    twice = entry_turn("s", "alice", "Hello", ("query", 2), row_id=first.entry.row_id)
    with pytest.raises(Exception, match="turn was written"):
        store.commit(twice)
    assert rows(database_url) == before


def test_the_order_holds_when_the_clock_steps_back(
    database_url: URL, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, now = opened(database_url), clock.now()
    for hours in (0, 2, 1, 3):
        monkeypatch.setattr(clock, "now", lambda hours=hours: now - timedelta(hours=hours))
        store.commit(entry_turn("s", "alice", "Hello", ("query", hours)))
    assert contents(store, "s") == [0, 2, 1, 3]
    keys = [row["message_key"] for row in rows(database_url) if row["id"] != row_id("s")]
    assert keys == ["query", TURN_KEY] * 4
    stamps = [row["created_at"] for row in rows(database_url) if row["id"] != row_id("s")]
    assert len(set(stamps)) == 8
    assert conversation(database_url)["updated_at"] == max(stamps)


def test_turns_without_an_entry_cost_what_they_did(database_url: URL, opened: Opener) -> None:
    store = opened(database_url)
    add(store, "s", 0)
    said: list[str] = []
    backend: Any = store._live()
    if isinstance(backend, SqliteBackend):
        assert backend._writer is not None
        backend._writer.set_trace_callback(said.append)
    else:
        event.listen(backend._engine, "before_cursor_execute", lambda *args: said.append(args[2]))
    add(store, "s", 1)
    ours = [sql for sql in said if "appbuilder_session_messages" in sql]
    assert [sql.split()[0] for sql in ours] in (["SELECT", "INSERT"], ["SELECT", "INSERT", "INSERT"])
    assert [row["message_key"] for row in rows(database_url)] == ["query", "answer"] * 2
