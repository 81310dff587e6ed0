"""Whole conversations that come from elsewhere, on memory, SQLite, PostgreSQL and MariaDB alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.store.helpers import add, contents, entry_turn

from appbuilder import clock
from appbuilder.core.conversations import (
    FEEDBACK_KEY,
    ConversationRepository,
    ConversationStore,
    Rating,
    StoredRow,
)
from appbuilder.errors import InvalidRequest
from appbuilder.ids import new_id


def begin(store: ConversationStore, owner: str, title: str = "Hello", **more: Any) -> str:
    """A conversation of one turn."""
    session_id = new_id()
    store.commit(entry_turn(session_id, owner, title, ("query", title), **more))
    return session_id


def keys_and_values(rows: Sequence[StoredRow]) -> list[tuple[str, Any]]:
    return [(row.key, row.value) for row in rows]


def test_what_was_exported_can_be_imported(
    store: ConversationStore, repository: ConversationRepository
) -> None:
    session_id = begin(store, "alice", "天气", answer={"content": "x"})
    add(store, session_id, "two\0")
    for number in range(60):
        add(store, session_id, number)
    exported = repository.rows(session_id, 1000)
    turn_id = exported[1].id
    repository.rate(turn_id, Rating(False, "bad"))
    exported = repository.rows(session_id, 1000)
    before, copy = repository.find(session_id), new_id()
    assert before is not None
    repository.import_rows(copy, "bob", "A copy", exported)
    after = repository.find(copy)
    assert after is not None
    assert (after.owner, after.title) == ("bob", "A copy")
    assert (after.created_at, after.updated_at) == (before.created_at, before.updated_at)
    rows = repository.rows(copy, 1000)
    assert keys_and_values(rows)[:-1] == keys_and_values(exported)[:-1]
    assert [row.created_at for row in rows] == [row.created_at for row in exported]
    assert [row.request_id for row in rows] == [row.request_id for row in exported]
    assert not {row.id for row in rows} & {row.id for row in exported}
    assert repository.ratings([rows[1].id]) == {rows[1].id: Rating(False, "bad")}
    assert contents(store, copy) == contents(store, session_id)
    add(store, copy, "goes on")
    assert contents(store, copy)[-1] == "goes on"
    assert [each.title for each in repository.page(["bob"]).conversations] == ["A copy"]


ROW = StoredRow("1", "r", "query", {"content": "x"}, datetime(2026, 1, 1))


def test_times_of_what_is_imported(
    store: ConversationStore, repository: ConversationRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They grow with the order of the rows, and no later turn has to be in the future for them."""
    moment = datetime(2026, 5, 1)
    monkeypatch.setattr(clock, "now", lambda: moment)
    times = [datetime(1, 1, 1), datetime(2026, 1, 2), datetime(2026, 1, 1), datetime(2099, 1, 1)]
    session_id = new_id()
    repository.import_rows(session_id, None, "x", [replace(ROW, value=n, created_at=at)
                                                  for n, at in enumerate(times)])
    rows = repository.rows(session_id, 10)
    step = timedelta(microseconds=1)
    assert [row.value for row in rows] == [0, 1, 2, 3]
    assert [row.created_at for row in rows[1:]] == [times[1], times[1] + step, moment]
    assert repository.owner_of(session_id) == (True, None)


def test_an_import_writes_over_nothing(store: ConversationStore, repository: ConversationRepository) -> None:
    session_id, chats = begin(store, "alice"), new_id()
    add(store, chats, "over chat")
    for each in (session_id, chats):
        with pytest.raises(InvalidRequest, match="already"):
            repository.import_rows(each, "bob", "x", [ROW])
    assert repository.owner_of(session_id) == (True, "alice")
    assert len(repository.rows(session_id, 10)) == 2
    repository.delete(session_id)
    repository.import_rows(session_id, "bob", "x", [ROW])
    assert repository.owner_of(session_id) == (True, "bob")
    assert len(repository.rows(session_id, 10)) == 1


@pytest.mark.parametrize("rows", [
    [],
    [replace(ROW, key=FEEDBACK_KEY, value={"turn": "1", "good": True})],
    [replace(ROW, key="k" * 129)],
    [replace(ROW, key="")],
    [replace(ROW, key="a\0")],
    [replace(ROW, key="_appbuilder.session.nobody")],
    [replace(ROW, request_id="r" * 37)],
    [ROW, replace(ROW, id="2", key=FEEDBACK_KEY, value="x")],
    [ROW, *[replace(ROW, id="2", key=FEEDBACK_KEY, value={"turn": "1", "good": True})] * 2],
], ids=["none", "no turn", "long key", "no key", "NUL", "its own", "request id", "no rating", "twice"])
def test_what_cannot_be_imported(repository: ConversationRepository, rows: list[StoredRow]) -> None:
    session_id = new_id()
    with pytest.raises(InvalidRequest):
        repository.import_rows(session_id, "alice", "x", rows)
    assert repository.owner_of(session_id) == (False, None)


def test_a_session_id_that_cannot_be_stored(repository: ConversationRepository) -> None:
    for name in ("", "x" * 37, "a\0"):
        with pytest.raises(InvalidRequest):
            repository.import_rows(name, "alice", "x", [ROW])


def test_a_rating_of_nothing_is_left_out(repository: ConversationRepository) -> None:
    session_id = new_id()
    stray = replace(ROW, id="2", key=FEEDBACK_KEY, value={"turn": "elsewhere", "good": True})
    repository.import_rows(session_id, "alice", "x", [ROW, stray])
    assert len(repository.rows(session_id, 10)) == 1
