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
from appbuilder.core.catalogue import Catalogue, CataloguedStore, Rating
from appbuilder.core.store import TURN_KEY
from appbuilder.errors import NotFound
from appbuilder.ids import new_id
from appbuilder.store import removal
from appbuilder.store.backend import Backend
from appbuilder.store.sql import SqlStore


def begin(store: CataloguedStore, owner: str, title: str = "Hello", **more: Any) -> str:
    """A conversation of one turn."""
    session_id = new_id()
    store.commit(entry_turn(session_id, owner, title, ("query", title), **more))
    return session_id


def left(catalogue: Catalogue) -> set[str]:
    return {each.title for each in catalogue.page(None, limit=100).conversations}


# Whose it is


def test_owners(store: CataloguedStore, catalogue: Catalogue) -> None:
    mine, chats, odd = begin(store, "alice"), new_id(), begin(store, "a\0b")
    add(store, chats, "over chat")
    assert catalogue.owner_of(mine) == (True, "alice")
    assert catalogue.owner_of(odd) == (True, "a\0b")
    assert catalogue.owner_of(chats) == (True, None)
    assert catalogue.page([None]).conversations
    assert catalogue.owner_of(chats) == (True, None)
    assert catalogue.owner_of(new_id()) == (False, None)
    assert catalogue.owner_of("x" * 37) == catalogue.owner_of("a\0") == (False, None)


def test_a_deleted_session_is_nobodys(store: CataloguedStore, catalogue: Catalogue) -> None:
    session_id = begin(store, "alice")
    catalogue.delete(session_id)
    assert catalogue.owner_of(session_id) == (False, None)
    store.commit(entry_turn(session_id, "bob", "again", ("query", "again")))
    assert catalogue.owner_of(session_id) == (True, "bob")


def test_a_turn_joins_no_conversation_of_another_owner(store: CataloguedStore, catalogue: Catalogue) -> None:
    """One that was imported, for instance, while the turn was under way."""
    session_id = begin(store, "alice", "hers")
    for his in (entry_turn(session_id, "bob", "his", ("query", "his")), entry_turn(session_id, "bob", "his")):
        with pytest.raises(NotFound):
            store.commit(his)
    assert contents(store, session_id) == ["hers"]
    assert len(catalogue.rows(session_id, 10)) == 2
    assert catalogue.page(["bob"]).conversations == []
    store.commit(entry_turn(session_id, "alice", "", ("query", "more")))
    assert contents(store, session_id) == ["hers", "more"]


def test_a_turn_joins_what_nobody_began(store: CataloguedStore, catalogue: Catalogue) -> None:
    session_id = new_id()
    add(store, session_id, "over chat")
    for number in range(3):
        store.commit(entry_turn(session_id, "alice", "x", ("query", number)))
        assert catalogue.owner_of(session_id) == (True, None)
    assert contents(store, session_id) == ["over chat", 0, 1, 2]
    add(store, session_id, "by FlaskRuntime")


# Everybody's


def test_everybodys_conversations(store: CataloguedStore, catalogue: Catalogue) -> None:
    for number in range(5):
        begin(store, f"owner-{number % 2}", f"{'even' if number % 2 == 0 else 'odd'} {number}")
    gone = begin(store, "owner-3", "gone")
    catalogue.delete(gone)
    add(store, new_id(), "over chat")
    found, cursor = [], None
    while True:
        page = catalogue.page(None, limit=2, cursor=cursor)
        found += [(each.owner, each.title) for each in page.conversations]
        cursor = page.next
        if cursor is None:
            break
    assert found == [(None, "over chat"), ("owner-0", "even 4"), ("owner-1", "odd 3"), ("owner-0", "even 2"),
                     ("owner-1", "odd 1"), ("owner-0", "even 0")]
    page = catalogue.page(None, search="EVEN", limit=2)
    assert [each.title for each in page.conversations] == ["even 4", "even 2"]
    page = catalogue.page(None, search="EVEN", limit=2, cursor=page.next)
    assert [each.title for each in page.conversations] == ["even 0"]


# Erasing


def test_erasing_a_user(store: CataloguedStore, catalogue: Catalogue) -> None:
    kept, gone, deleted = begin(store, "bob", "bob's"), begin(store, "alice"), begin(store, "alice", "b")
    turn_id = next(row.id for row in catalogue.rows(gone, 10) if row.key == TURN_KEY)
    catalogue.rate(turn_id, Rating(False, "bad"))
    catalogue.delete(deleted)
    taken_over = begin(store, "alice", "c")
    catalogue.delete(taken_over)
    store.commit(entry_turn(taken_over, "bob", "bob's too", ("query", "x")))
    assert catalogue.erase("alice") == 2
    assert left(catalogue) == {"bob's", "bob's too"}
    assert catalogue.owner_of(gone) == (False, None)
    assert contents(store, gone) == []
    assert catalogue.ratings([turn_id]) == {}
    assert catalogue.erase("alice") == 0
    assert contents(store, kept) == ["bob's"]
    rows_of(store, kept, taken_over)
    store.commit(entry_turn(gone, "alice", "new", ("query", "new")))
    assert catalogue.rows(gone, 10)[0].value == {"content": "new"}


def go_on(store: CataloguedStore, session_id: str) -> None:
    store.commit(entry_turn(session_id, "bob", "his", ("query", "his")))


def list_over_chat(store: CataloguedStore, session_id: str) -> None:
    add(store, session_id, "his")
    assert store.catalogue().page([None]).conversations


def rename_over_chat(store: CataloguedStore, session_id: str) -> None:
    add(store, session_id, "his")
    assert store.catalogue().rename(session_id, "his own")


def go_on_after_chat(store: CataloguedStore, session_id: str) -> None:
    add(store, session_id, "his")
    go_on(store, session_id)


def bring_in(store: CataloguedStore, session_id: str) -> None:
    store.catalogue().import_rows(session_id, "bob", "his", [ROW])


@pytest.mark.parametrize("again", [go_on, go_on_after_chat, list_over_chat, rename_over_chat, bring_in])
def test_what_was_deleted_goes_where_its_id_is_used_again(
    store: CataloguedStore, catalogue: Catalogue, again: Callable[[CataloguedStore, str], None]
) -> None:
    """Nobody could tell any more whose it was."""
    session_id = begin(store, "alice", "hers")
    catalogue.delete(session_id)
    store.commit(entry_turn(session_id, "alice", "hers", ("query", "hers too")))
    catalogue.delete(session_id)
    again(store, session_id)
    assert "hers" not in all_that_is_kept(store)
    kept = [row.value for row in catalogue.rows(session_id, 10)]
    assert kept
    assert catalogue.erase("alice") == 0
    assert [row.value for row in catalogue.rows(session_id, 10)] == kept


def test_erasing_spares_what_goes_on_as_nobody_s(store: CataloguedStore, catalogue: Catalogue) -> None:
    session_id = begin(store, "alice", "hers")
    catalogue.delete(session_id)
    add(store, session_id, "over chat")
    catalogue.erase("alice")
    assert contents(store, session_id) == ["over chat"]
    assert "hers" not in all_that_is_kept(store)
    assert catalogue.owner_of(session_id) == (True, None)


def all_that_is_kept(store: CataloguedStore) -> str:
    if isinstance(store, SqlStore):
        return str(store._live().read("SELECT * FROM appbuilder_session_messages", ()))
    assert isinstance(store, MemoryStore)
    return str([*store._table.by_id.values(), *store._table.by_session.items(), *store._table.by_key.items()])


def rows_of(store: CataloguedStore, *sessions: str) -> None:
    """In a database there are rows of these sessions only."""
    if isinstance(store, SqlStore):
        found = store._live().read("SELECT DISTINCT session_id FROM appbuilder_session_messages", ())
        assert {row[0] for row in found} == set(sessions)


def test_erasing_what_nobody_began(store: CataloguedStore, catalogue: Catalogue) -> None:
    begin(store, "alice", "stays")
    add(store, new_id(), "goes")
    assert catalogue.erase(None) == 1
    assert left(catalogue) == {"stays"}


def test_long_conversations_go_in_steps(
    store: CataloguedStore, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "CHUNK", 4)
    for turns in range(1, 6):
        session_id = begin(store, "alice")
        for _ in range(turns):
            add(store, session_id, "more")
    assert catalogue.erase("alice") == 5
    rows_of(store)


def test_pruning(store: CataloguedStore, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "CHUNK", 2)
    monkeypatch.setattr(removal, "LOOK", 3)
    moment = datetime(2026, 5, 1)
    monkeypatch.setattr(clock, "now", lambda: moment)
    old = [begin(store, "alice", f"old {n}") for n in range(5)]
    deleted, goes_on, rated = (begin(store, "bob", title) for title in ("deleted", "goes on", "rated"))
    catalogue.delete(deleted)
    add(store, new_id(), "over chat")
    monkeypatch.setattr(clock, "now", lambda: moment + timedelta(days=1))
    begin(store, "alice", "new")
    add(store, goes_on, "more")
    catalogue.rate(next(row.id for row in catalogue.rows(rated, 10) if row.key == TURN_KEY), Rating(True))
    assert catalogue.prune(moment) == 0
    assert catalogue.prune(moment + timedelta(seconds=1)) == 8
    assert left(catalogue) == {"goes on", "new"}
    assert contents(store, old[0]) == []
    assert catalogue.prune(moment + timedelta(seconds=1)) == 0


def test_a_session_of_an_application_without_history(store: CataloguedStore, catalogue: Catalogue) -> None:
    """All there is of it is the row of the application's conversation."""
    session_id = new_id()
    with_texts = entry_turn(session_id, "alice", "", ("_appbuilder.app", {"id": "c"}))
    assert with_texts.entry is not None
    for _ in range(2):
        record = replace(with_texts, entry=replace(with_texts.entry, value={}))
        store.commit(record)
        (told,) = catalogue.page(["alice"]).conversations
        assert catalogue.find(session_id) == told
        assert catalogue.page(None).conversations == [told]
        assert catalogue.rename(session_id, "Renamed")
        assert catalogue.delete(session_id)
        assert catalogue.find(session_id) is None
    assert catalogue.prune(told.updated_at) == 0
    assert catalogue.prune(told.updated_at + timedelta(seconds=1)) == 1
    rows_of(store)


def test_what_changes_meanwhile_stays(
    database_url: URL, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session is looked at again under its lock before it is removed."""
    store = opened(database_url)
    catalogue, remove = store.catalogue(), removal._remove_all
    session_id = begin(store, "alice", "hers")

    def changed(backend: Backend, names: Iterator[str], still: Any) -> Iterator[int]:
        found = list(names)
        for name in found:
            catalogue.delete(name)
            store.commit(entry_turn(name, "bob", "his", ("query", "his")))
        return remove(backend, iter(found), still)

    monkeypatch.setattr(removal, "_remove_all", changed)
    assert catalogue.erase("alice") == 0
    assert contents(store, session_id) == ["his"]
    assert catalogue.prune(clock.now()) == 0
    assert contents(store, session_id) == ["his"]


# Tokens


def test_tokens_of_a_day(
    store: CataloguedStore, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
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
    assert catalogue.tokens_since(session_id, midnight) == 360
    assert catalogue.tokens_since(session_id, midnight - timedelta(days=1)) == 1360
    assert catalogue.tokens_since(session_id, midnight + timedelta(days=1)) == 0
    assert catalogue.tokens_since(new_id(), midnight) == 0
