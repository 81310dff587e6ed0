"""A turn that takes the place of the newest ones, on memory, SQLite, PostgreSQL and MariaDB alike."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.store.helpers import contents, entry_turn

from appbuilder.core.conversations import ConversationStore, Rating, StoredRow, all_rows
from appbuilder.core.store import TurnRecord
from appbuilder.ids import new_id
from appbuilder.store.sessions.session_store import SqlStore


@pytest.fixture
def store(shared_store: ConversationStore) -> ConversationStore:
    shared_store.prepare_conversations()
    return shared_store


def say(store: ConversationStore, session_id: str, text: str, *replaced: StoredRow) -> TurnRecord:
    """A turn of two rows of the component's and its own."""
    rows = [("query", text), ("answer", text.upper())]
    turn = entry_turn(session_id, "user:ann", text, *rows, input={"content": text})
    store.commit(replace(turn, replaced=[row.id for row in replaced]))
    return turn


def test_what_is_replaced_is_kept_as_deleted(store: ConversationStore, session_id: str) -> None:
    repository = store.repository()
    first, second = say(store, session_id, "one"), say(store, session_id, "two")
    assert first.entry is not None
    assert second.entry is not None
    repository.rate(second.entry.row_id, Rating(good=True))
    repository.rate(first.entry.row_id, Rating(good=True))
    gone = [
        row
        for row in all_rows(repository, session_id)
        if row.request_id == second.request_id and row.key[0] != "_"
    ]
    gone += [row for row in all_rows(repository, session_id) if row.id == second.entry.row_id]
    assert len(gone) == 3
    assert contents(store, session_id) == ["one", "two"]

    say(store, session_id, "again", *gone)

    assert contents(store, session_id) == ["one", "again"]
    assert contents(store, session_id, "answer") == ["ONE", "AGAIN"]
    assert second.entry.row_id not in {row.id for row in repository.rows(session_id, 100)}
    ids = [turn.entry.row_id for turn in (first, second) if turn.entry]
    assert list(repository.ratings(ids)) == [first.entry.row_id]
    assert repository.conversation_of(second.entry.row_id) is None
    assert repository.owner_of(session_id) == (True, "user:ann")


def test_the_history_before_a_row(store: ConversationStore, session_id: str) -> None:
    for text in ("one", "two", "three"):
        say(store, session_id, text)
    places = {
        row.value["content"]: row.place
        for row in all_rows(store.repository(), session_id)
        if row.key == "query"
    }
    for text, expected in (("one", []), ("two", ["one"]), ("three", ["one", "two"])):
        found = store.history(session_id, "query", 10, places[text])
        assert [each["content"] for each in found] == expected
    assert [each["content"] for each in store.history(session_id, "answer", 1, places["three"])] == ["TWO"]


def test_times_stay_and_other_sessions_too(store: ConversationStore, session_id: str) -> None:
    other = new_id()
    say(store, session_id, "one")
    say(store, other, "one")
    rows = list(all_rows(store.repository(), session_id))
    theirs = list(all_rows(store.repository(), other))
    say(store, session_id, "again", *rows, *theirs)
    assert contents(store, other) == ["one"]
    assert contents(store, session_id) == ["again"]
    if isinstance(store, SqlStore):
        found = store._live().read(
            f"SELECT created_at, updated_at FROM appbuilder_session_messages WHERE id = '{rows[0].id}'", ()
        )
        assert [tuple(row) for row in found] == [(found[0][0], found[0][0])]


def test_more_rows_than_a_statement_takes(store: ConversationStore, session_id: str) -> None:
    for number in range(220):
        say(store, session_id, str(number))
    say(store, session_id, "last", *all_rows(store.repository(), session_id))
    assert contents(store, session_id) == ["last"]


def test_turns_by_their_ids(store: ConversationStore, session_id: str) -> None:
    repository, other = store.repository(), new_id()
    one, two = say(store, session_id, "one"), say(store, other, "two")
    ids = [turn.entry.row_id for turn in (one, two) if turn.entry]
    found = repository.own_turns([*ids, new_id(), "\0", "x" * 50])
    assert {name: (where, row.value["input"]) for name, (where, row) in found.items()} == {
        ids[0]: (session_id, {"content": "one"}),
        ids[1]: (other, {"content": "two"}),
    }
    assert found[ids[0]][1] in repository.rows(session_id, 10)
    assert repository.own_turns([row.id for row in all_rows(repository, other) if row.key == "query"]) == {}
    assert repository.own_turns([]) == {}
    repository.delete(other)
    assert list(repository.own_turns(ids)) == [ids[0]]
    assert len(repository.own_turns([ids[0], *(new_id() for _ in range(250))])) == 1


def test_an_outline_without_values(store: ConversationStore, session_id: str) -> None:
    repository = store.repository()
    for text in ("one", "two"):
        say(store, session_id, text)
    rows = repository.rows(session_id, 10)
    outline = repository.outline(session_id, None, 10, longest=0)
    assert [(row.place, row.key, row.value) for row in outline.rows] == [
        (row.place, row.key, None) for row in rows
    ]
    older = repository.outline(session_id, rows[-1].place, 2, longest=0)
    assert [row.id for row in older.rows] == [row.id for row in rows[-3:-1]]
    assert older.next == rows[-3].place
