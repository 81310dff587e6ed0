"""The fault injector programs may use in their own tests."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Any

import pytest
from tests.memory_store import MemoryStore
from tests.store.helpers import add, contents, entry_turn

from appbuilder.core.conversations import Rating, StoredRow
from appbuilder.core.store import TURN_KEY
from appbuilder.errors import StoreUnavailable
from appbuilder.ids import new_id
from appbuilder.testing.stores import CATALOGUE_OPERATIONS, FlakyStore


def test_without_faults_it_is_the_store() -> None:
    store = FlakyStore(MemoryStore())
    add(store, "s", 1)
    store.ping()
    assert contents(store, "s") == [1]
    assert store.calls == {"commit": 1, "ping": 1, "history": 1}
    store.close()


def test_chosen_operations_fail_so_often() -> None:
    store = FlakyStore(MemoryStore())
    store.fail("commit", times=2)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            add(store, "s", 1)
    add(store, "s", 2)
    assert contents(store, "s") == [2]


def test_an_error_of_ones_own() -> None:
    store = FlakyStore(MemoryStore())
    store.fail("history", error=OSError("disk"))
    with pytest.raises(OSError, match="disk"):
        contents(store, "s")


def test_failing_after_the_commit() -> None:
    store = FlakyStore(MemoryStore())
    store.fail_after_commit()
    with pytest.raises(StoreUnavailable):
        add(store, "s", 1)
    assert contents(store, "s") == [1]


def test_hanging_until_released() -> None:
    store = FlakyStore(MemoryStore())
    hang = store.hang("commit")
    thread = threading.Thread(target=add, args=(store, "s", 1))
    thread.start()
    assert hang.entered.wait(10)
    assert contents(store, "s") == []
    hang.release()
    thread.join(10)
    assert contents(store, "s") == [1]


def test_an_operation_there_is_not() -> None:
    with pytest.raises(ValueError, match="history, commit, ping"):
        FlakyStore(MemoryStore()).fail("drop")


@pytest.mark.parametrize("operation", CATALOGUE_OPERATIONS)
def test_its_catalogue_fails_too(operation: str) -> None:
    store = FlakyStore(MemoryStore())
    store.prepare_conversations()
    stamp = datetime(2026, 1, 1)
    row = StoredRow(new_id(), new_id(), TURN_KEY, {"input": {"content": "x"}}, stamp)
    arguments: dict[str, tuple[Any, ...]] = {
        "page": (["x"],), "rows": ("s", 1), "read_back": ("s", None, 1, 1),
        "read_on": ("s", None, 1, 1), "outline": ("s", None, 1), "import_sessions": ([],),
        "rename": ("s", "x"),
        "rate": ("x", Rating(True)), "prune": (stamp,), "tokens_since": ("s", stamp),
        "import_rows": ("s", "x", "title", [row]), "end_login": ("x", stamp),
    }
    store.fail(operation)
    call = getattr(store.repository(), operation)
    with pytest.raises(StoreUnavailable):
        call(*arguments.get(operation, ("x",)))
    assert not getattr(call(*arguments.get(operation, ("x",))), "conversations", None)
    assert store.calls == {operation: 2}


def test_deletion_that_fails_deletes_nothing() -> None:
    store = FlakyStore(MemoryStore())
    store.commit(entry_turn("s", "alice", "Hello"))
    store.fail("delete")
    with pytest.raises(StoreUnavailable):
        store.repository().delete("s")
    assert [each.title for each in store.repository().page(["alice"]).conversations] == ["Hello"]
