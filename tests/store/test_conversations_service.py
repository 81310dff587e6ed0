"""What the service asks of a catalogue, on memory, SQLite, PostgreSQL and MariaDB alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.engine import URL
from tests.memory_store import MemoryStore
from tests.store.conftest import Opener
from tests.store.helpers import add, contents, entry_turn
from tests.store.test_importing import ROW

from appbuilder import clock
from appbuilder.core.conversations import ConversationRepository, ConversationStore, Rating
from appbuilder.core.store import TURN_KEY
from appbuilder.errors import NotFound
from appbuilder.ids import new_id
from appbuilder.store.conversations import retention
from appbuilder.store.databases.base import Backend
from appbuilder.store.sessions.session_store import SqlStore


def begin(store: ConversationStore, owner: str, title: str = "Hello", **more: Any) -> str:
    """A conversation of one turn."""
    session_id = new_id()
    store.commit(entry_turn(session_id, owner, title, ("query", title), **more))
    return session_id


def left(repository: ConversationRepository) -> set[str]:
    return {each.title for each in repository.page(None, limit=100).conversations}


# Whose it is


def test_owners(store: ConversationStore, repository: ConversationRepository) -> None:
    mine, chats, odd = begin(store, "alice"), new_id(), begin(store, "a\0b")
    add(store, chats, "over chat")
    assert repository.owner_of(mine) == (True, "alice")
    assert repository.owner_of(odd) == (True, "a\0b")
    assert repository.owner_of(chats) == (True, None)
    assert repository.page([None]).conversations
    assert repository.owner_of(chats) == (True, None)
    assert repository.owner_of(new_id()) == (False, None)
    assert repository.owner_of("x" * 37) == repository.owner_of("a\0") == (False, None)


def test_a_deleted_session_is_nobodys(store: ConversationStore, repository: ConversationRepository) -> None:
    session_id = begin(store, "alice")
    repository.delete(session_id)
    assert repository.owner_of(session_id) == (False, None)
    store.commit(entry_turn(session_id, "bob", "again", ("query", "again")))
    assert repository.owner_of(session_id) == (True, "bob")


def test_a_turn_joins_no_conversation_of_another_owner(
    store: ConversationStore, repository: ConversationRepository
) -> None:
    """One that was imported, for instance, while the turn was under way."""
    session_id = begin(store, "alice", "hers")
    for his in (entry_turn(session_id, "bob", "his", ("query", "his")), entry_turn(session_id, "bob", "his")):
        with pytest.raises(NotFound):
            store.commit(his)
    assert contents(store, session_id) == ["hers"]
    assert len(repository.rows(session_id, 10)) == 2
    assert repository.page(["bob"]).conversations == []
    store.commit(entry_turn(session_id, "alice", "", ("query", "more")))
    assert contents(store, session_id) == ["hers", "more"]


def test_a_turn_joins_what_nobody_began(store: ConversationStore, repository: ConversationRepository) -> None:
    session_id = new_id()
    add(store, session_id, "over chat")
    for number in range(3):
        store.commit(entry_turn(session_id, "alice", "x", ("query", number)))
        assert repository.owner_of(session_id) == (True, None)
    assert contents(store, session_id) == ["over chat", 0, 1, 2]
    add(store, session_id, "by FlaskRuntime")


# Everybody's


def test_everybodys_conversations(store: ConversationStore, repository: ConversationRepository) -> None:
    for number in range(5):
        begin(store, f"owner-{number % 2}", f"{'even' if number % 2 == 0 else 'odd'} {number}")
    gone = begin(store, "owner-3", "gone")
    repository.delete(gone)
    add(store, new_id(), "over chat")
    found, cursor = [], None
    while True:
        page = repository.page(None, limit=2, cursor=cursor)
        found += [(each.owner, each.title) for each in page.conversations]
        cursor = page.next
        if cursor is None:
            break
    assert found == [(None, "over chat"), ("owner-0", "even 4"), ("owner-1", "odd 3"), ("owner-0", "even 2"),
                     ("owner-1", "odd 1"), ("owner-0", "even 0")]
    page = repository.page(None, search="EVEN", limit=2)
    assert [each.title for each in page.conversations] == ["even 4", "even 2"]
    page = repository.page(None, search="EVEN", limit=2, cursor=page.next)
    assert [each.title for each in page.conversations] == ["even 0"]


# Erasing


def test_erasing_a_user(store: ConversationStore, repository: ConversationRepository) -> None:
    kept, gone, deleted = begin(store, "bob", "bob's"), begin(store, "alice"), begin(store, "alice", "b")
    turn_id = next(row.id for row in repository.rows(gone, 10) if row.key == TURN_KEY)
    repository.rate(turn_id, Rating(False, "bad"))
    repository.delete(deleted)
    taken_over = begin(store, "alice", "c")
    repository.delete(taken_over)
    store.commit(entry_turn(taken_over, "bob", "bob's too", ("query", "x")))
    assert repository.erase("alice") == 2
    assert left(repository) == {"bob's", "bob's too"}
    assert repository.owner_of(gone) == (False, None)
    assert contents(store, gone) == []
    assert repository.ratings([turn_id]) == {}
    assert repository.erase("alice") == 0
    assert contents(store, kept) == ["bob's"]
    rows_of(store, kept, taken_over)
    store.commit(entry_turn(gone, "alice", "new", ("query", "new")))
    assert repository.rows(gone, 10)[0].value == {"content": "new"}


def go_on(store: ConversationStore, session_id: str) -> None:
    store.commit(entry_turn(session_id, "bob", "his", ("query", "his")))


def list_over_chat(store: ConversationStore, session_id: str) -> None:
    add(store, session_id, "his")
    assert store.repository().page([None]).conversations


def rename_over_chat(store: ConversationStore, session_id: str) -> None:
    add(store, session_id, "his")
    assert store.repository().rename(session_id, "his own")


def go_on_after_chat(store: ConversationStore, session_id: str) -> None:
    add(store, session_id, "his")
    go_on(store, session_id)


def bring_in(store: ConversationStore, session_id: str) -> None:
    store.repository().import_rows(session_id, "bob", "his", [ROW])


@pytest.mark.parametrize("again", [go_on, go_on_after_chat, list_over_chat, rename_over_chat, bring_in])
def test_what_was_deleted_goes_where_its_id_is_used_again(
    store: ConversationStore,
    repository: ConversationRepository,
    again: Callable[[ConversationStore, str], None],
) -> None:
    """Nobody could tell any more whose it was."""
    session_id = begin(store, "alice", "hers")
    repository.delete(session_id)
    store.commit(entry_turn(session_id, "alice", "hers", ("query", "hers too")))
    repository.delete(session_id)
    again(store, session_id)
    assert "hers" not in all_that_is_kept(store)
    kept = [row.value for row in repository.rows(session_id, 10)]
    assert kept
    assert repository.erase("alice") == 0
    assert [row.value for row in repository.rows(session_id, 10)] == kept


def test_erasing_spares_what_goes_on_as_nobody_s(
    store: ConversationStore, repository: ConversationRepository
) -> None:
    session_id = begin(store, "alice", "hers")
    repository.delete(session_id)
    add(store, session_id, "over chat")
    repository.erase("alice")
    assert contents(store, session_id) == ["over chat"]
    assert "hers" not in all_that_is_kept(store)
    assert repository.owner_of(session_id) == (True, None)


def all_that_is_kept(store: ConversationStore) -> str:
    if isinstance(store, SqlStore):
        return str(store._live().read("SELECT * FROM appbuilder_session_messages", ()))
    assert isinstance(store, MemoryStore)
    return str([*store._table.by_id.values(), *store._table.by_session.items(), *store._table.by_key.items()])


def rows_of(store: ConversationStore, *sessions: str) -> None:
    """In a database there are rows of these sessions only."""
    if isinstance(store, SqlStore):
        found = store._live().read("SELECT DISTINCT session_id FROM appbuilder_session_messages", ())
        assert {row[0] for row in found} == set(sessions)


def test_erasing_what_nobody_began(store: ConversationStore, repository: ConversationRepository) -> None:
    begin(store, "alice", "stays")
    add(store, new_id(), "goes")
    assert repository.erase(None) == 1
    assert left(repository) == {"stays"}


def test_long_conversations_go_in_steps(
    store: ConversationStore, repository: ConversationRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CHUNK", 4)
    for turns in range(1, 6):
        session_id = begin(store, "alice")
        for _ in range(turns):
            add(store, session_id, "more")
    assert repository.erase("alice") == 5
    rows_of(store)


def test_pruning(
    store: ConversationStore, repository: ConversationRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CHUNK", 2)
    monkeypatch.setattr(retention, "LOOK", 3)
    moment = datetime(2026, 5, 1)
    monkeypatch.setattr(clock, "now", lambda: moment)
    old = [begin(store, "alice", f"old {n}") for n in range(5)]
    deleted, goes_on, rated = (begin(store, "bob", title) for title in ("deleted", "goes on", "rated"))
    repository.delete(deleted)
    add(store, new_id(), "over chat")
    monkeypatch.setattr(clock, "now", lambda: moment + timedelta(days=1))
    begin(store, "alice", "new")
    add(store, goes_on, "more")
    repository.rate(next(row.id for row in repository.rows(rated, 10) if row.key == TURN_KEY), Rating(True))
    assert repository.prune(moment) == 0
    assert repository.prune(moment + timedelta(seconds=1)) == 8
    assert left(repository) == {"goes on", "new"}
    assert contents(store, old[0]) == []
    assert repository.prune(moment + timedelta(seconds=1)) == 0


def test_a_session_of_an_application_without_history(
    store: ConversationStore, repository: ConversationRepository
) -> None:
    """All there is of it is the row of the application's conversation."""
    session_id = new_id()
    with_texts = entry_turn(session_id, "alice", "", ("_appbuilder.app", {"id": "c"}))
    assert with_texts.entry is not None
    for _ in range(2):
        record = replace(with_texts, entry=replace(with_texts.entry, value={}))
        store.commit(record)
        (told,) = repository.page(["alice"]).conversations
        assert repository.find(session_id) == told
        assert repository.page(None).conversations == [told]
        assert repository.rename(session_id, "Renamed")
        assert repository.delete(session_id)
        assert repository.find(session_id) is None
    assert repository.prune(told.updated_at) == 0
    assert repository.prune(told.updated_at + timedelta(seconds=1)) == 1
    rows_of(store)


def test_what_changes_meanwhile_stays(
    database_url: URL, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session is looked at again under its lock before it is removed."""
    store = opened(database_url)
    repository, remove = store.repository(), retention._remove_all
    session_id = begin(store, "alice", "hers")

    def changed(backend: Backend, names: Iterator[str], still: Any) -> Iterator[int]:
        found = list(names)
        for name in found:
            repository.delete(name)
            store.commit(entry_turn(name, "bob", "his", ("query", "his")))
        return remove(backend, iter(found), still)

    monkeypatch.setattr(retention, "_remove_all", changed)
    assert repository.erase("alice") == 0
    assert contents(store, session_id) == ["his"]
    assert repository.prune(clock.now()) == 0
    assert contents(store, session_id) == ["his"]


# Tokens


def test_tokens_of_a_day(
    store: ConversationStore, repository: ConversationRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    midnight, session_id = datetime(2026, 5, 1), new_id()

    def spend(at: datetime, answer: Any) -> None:
        monkeypatch.setattr(clock, "now", lambda: at)
        store.commit(entry_turn(session_id, "alice", "x", ("query", "x"), answer=answer))

    spend(midnight - timedelta(seconds=1), {"token_usage": {"total_tokens": 1000}})
    for _ in range(120):
        spend(midnight, {"content": "\0", "token_usage": {"total_tokens": 3}})
    odd_ones = [{"token_usage": each} for each in (
        None, {"total_tokens": "x"}, {"total_tokens": -5}, {"total_tokens": True}, {"total_tokens": 0.5})]
    for odd in (None, "text", *odd_ones):
        spend(midnight, odd)
    add(store, session_id, "no turn's row")
    assert repository.tokens_since(session_id, midnight) == 360
    assert repository.tokens_since(session_id, midnight - timedelta(days=1)) == 1360
    assert repository.tokens_since(session_id, midnight + timedelta(days=1)) == 0
    assert repository.tokens_since(new_id(), midnight) == 0
