"""A SQLite file that is deleted or replaced while we run: nothing goes to the one without a name."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from tests.store.conftest import Opener
from tests.store.helpers import add, contents, entry_turn, fetch

from appbuilder import clock
from appbuilder.core.conversations import StoredRow
from appbuilder.core.runs import LiveRun
from appbuilder.errors import StoreUnavailable
from appbuilder.ids import new_id
from appbuilder.store.databases import sqlite as module
from appbuilder.store.databases import sqlite_file
from appbuilder.store.sessions.session_store import SqlStore

TABLES = "SELECT name FROM sqlite_master WHERE type='table'"
INDEXES = "SELECT count(*) FROM sqlite_master WHERE type='index'"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "foo.db"


@pytest.fixture
def store(opened: Opener, path: Path) -> SqlStore:
    """Of a service, with a conversation of alice's, and connections of every kind."""
    store = opened(f"sqlite:///{path}")
    store.prepare_service()
    store.commit(entry_turn("s", "alice", "Hello", ("query", 1)))
    store.repository().rename("s", "Renamed")
    assert contents(store, "s") == [1]
    return store


def delete(path: Path) -> None:
    """The file and what SQLite has beside it; the locks of sessions stay."""
    for each in path.parent.glob(f"{path.name}*"):
        if each.is_file():
            each.unlink()


def replace(path: Path) -> None:
    """As one brings a backup back."""
    copy = path.with_name("copy.db")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    delete(path)
    copy.rename(path)


@pytest.fixture
def always_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY", 0.0)


# Deleted


def test_deleted_while_we_ran(opened: Opener, path: Path) -> None:
    store = opened(f"sqlite:///{path}")
    add(store, "s", 1)
    delete(path)
    add(store, "s", 2)
    assert contents(store, "s") == [2]
    assert fetch(store.url, TABLES) == [("appbuilder_session_messages",)]


def test_deleted_before_it_was_read(opened: Opener, path: Path) -> None:
    store = opened(f"sqlite:///{path}")
    store.prepare()
    path.unlink()
    assert contents(store, "s") == []
    backend = store._live()
    assert isinstance(backend, module.SqliteBackend)
    delete(path)
    backend._engine.dispose()  # as when the pool makes another connection
    assert contents(store, "s") == []


def register_a_run(store: SqlStore) -> None:
    register = store.run_register()
    register._local = Runs
    register.tick()
    register.tick()
    assert [run.id for run in store.run_register().runs(None)] == ["run"]
    register.close()


class Runs:
    def runs(self) -> list[LiveRun]:
        return [LiveRun("run", "s", "r", None, datetime(2026, 1, 1), "running", "")]

    def stop_run(self, run_id: str) -> bool:
        return False


@pytest.mark.parametrize("first", [
    lambda store: add(store, "s", 2),
    lambda store: store.repository().delete("s"),
    lambda store: store.transcripts().remember("alice", "digest", "s"),
    register_a_run,
], ids=["turn", "change", "transcript", "run"])
def test_all_that_was_asked_for_is_made_again(
    store: SqlStore, path: Path, first: Callable[[SqlStore], object]
) -> None:
    tables, indexes = sorted(fetch(store.url, TABLES)), fetch(store.url, INDEXES)
    delete(path)
    first(store)
    assert sorted(fetch(store.url, TABLES)) == tables
    assert fetch(store.url, INDEXES) == indexes
    key, secret = store.keys().add("ci", "alice")
    assert store.keys().find(secret) == key
    store.transcripts().remember("alice", "another", "t")
    assert store.transcripts().take("alice", "another") == "t"
    register_a_run(store)
    assert "Renamed" not in {each.title for each in store.repository().page(None).conversations}


def test_a_file_without_the_tables_of_the_service(store: SqlStore, path: Path, opened: Opener) -> None:
    """As another program made it that needs but the one."""
    delete(path)
    add(opened(store.url), "s", 1)
    store.transcripts().remember("alice", "digest", "s")
    assert store.run_register().runs(None) == []
    assert contents(store, "s") == [1]


def test_a_read_makes_no_file(always_looking: None, store: SqlStore, path: Path) -> None:
    """It may only have been moved away, and comes back."""
    delete(path)
    assert contents(store, "s") == [1]
    assert not path.exists()


# Replaced


ROWS = [StoredRow(new_id(), "r", "query", {"content": "imported"}, datetime(2026, 1, 1))]


@pytest.mark.parametrize(("change", "seen"), [
    (lambda store: store.repository().delete("s"), []),
    (lambda store: store.repository().erase("alice"), []),
    (lambda store: store.repository().prune(datetime(2100, 1, 1)), []),
    (lambda store: store.repository().rename("s", "Anew"), ["Anew"]),
    (lambda store: store.repository().import_rows("t", "alice", "Imported", ROWS), ["Imported", "Renamed"]),
    (lambda store: add(store, "t", 2), ["", "Renamed"]),
], ids=["delete", "erase", "prune", "rename", "import", "turn"])
def test_what_is_changed_is_in_the_file_that_is_there(
    store: SqlStore, path: Path, opened: Opener, change: Callable[[SqlStore], object], seen: list[str]
) -> None:
    replace(path)
    change(store)
    page = opened(store.url).repository().page(None)
    assert sorted(each.title for each in page.conversations) == seen
    assert sorted(each.title for each in store.repository().page(None).conversations) == seen


def test_sessions_are_listed_in_the_file_that_is_there(store: SqlStore, path: Path, opened: Opener) -> None:
    other = opened(store.url)
    add(other, "begun over POST /chat", 1)
    replace(path)
    titles = {each.title for each in store.repository().page(None).conversations}
    assert {each.title for each in opened(store.url).repository().page(None).conversations} == titles


def test_what_is_read_is_in_the_file_that_is_there(
    always_looking: None, store: SqlStore, path: Path, opened: Opener
) -> None:
    replace(path)
    add(opened(store.url), "s", 2)
    assert contents(store, "s") == [1, 2]


def test_who_reads_looks_from_time_to_time(
    store: SqlStore, path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.monotonic() + 10
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    assert contents(store, "s") == [1]
    replace(path)
    add(opened(store.url), "s", 2)
    assert contents(store, "s") == [1], "each read asked the system"
    now += sqlite_file.LOOK_EVERY
    assert contents(store, "s") == [1, 2]


def test_one_that_is_no_database_is_an_error_until_it_is(store: SqlStore, path: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.db"
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(kept)) as target:
        source.backup(target)
    delete(path)
    path.write_text("hello " * 1000)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            add(store, "s", 2)
        with pytest.raises(StoreUnavailable):
            store.repository().delete("s")
    delete(path)
    kept.rename(path)
    add(store, "s", 3)
    assert contents(store, "s") == [1, 3]
