"""The fault injector programs may use in their own tests."""

from __future__ import annotations

import threading

import pytest
from tests.store.helpers import add, contents

from appbuilder.errors import StoreUnavailable
from appbuilder.store.memory import MemoryStore
from appbuilder.testing.stores import FlakyStore


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
        FlakyStore(MemoryStore()).fail("delete")
