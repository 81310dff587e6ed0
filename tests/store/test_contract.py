"""What a store promises, on memory, SQLite, PostgreSQL and MariaDB alike."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.store.helpers import add, contents, turn

from appbuilder import clock
from appbuilder.core.store import SessionStore, TurnRecord

Store = SessionStore


@pytest.fixture
def store(shared_store: Store) -> Store:
    return shared_store


def test_an_unknown_session_is_empty(store: Store, session_id: str) -> None:
    assert store.history(session_id, "query", 10) == []


def test_the_newest_come_oldest_first(store: Store, session_id: str) -> None:
    for number in range(7):
        add(store, session_id, number)
    assert contents(store, session_id) == [0, 1, 2, 3, 4, 5, 6]
    assert contents(store, session_id, limit=3) == [4, 5, 6]
    assert contents(store, session_id, "answer", limit=1) == [6]


@pytest.mark.parametrize("limit", [0, -1, -(2**70)])
def test_no_limit_no_rows(store: Store, session_id: str, limit: int) -> None:
    add(store, session_id, 1)
    assert store.history(session_id, "query", limit) == []


def test_a_huge_limit(store: Store, session_id: str) -> None:
    add(store, session_id, 1)
    assert contents(store, session_id, limit=2**70) == [1]


def test_a_message_comes_back_as_it_was(store: Store, session_id: str) -> None:
    message = {"content": [1, 2.5, None, True, {"a": "b"}], "name": "msg", "mtype": "list", "id": "x",
               "extra": {"search_db": []}, "token_usage": {"total_tokens": 3}}
    store.commit(TurnRecord(session_id, "r", [("answer", message)]))
    assert store.history(session_id, "answer", 1) == [message]


@pytest.mark.parametrize("content", [
    "", "你好，世界", "😀" * 9, "a\x00b", "\\u0000", "\x7f\x1b\n\r\t", "\u2028",
    "'; DROP TABLE x; --", "%s %(a)s :a ?",
    2**64, -(2**80), 10**39, 1e300, 0.1, -0.0, "x" * 300_000, {"state": "incomplete"},
], ids=lambda content: repr(content)[:20])
def test_any_json(store: Store, session_id: str, content: Any) -> None:
    store.commit(turn(session_id, ("query", content)))
    assert contents(store, session_id) == [content]


def test_nesting_as_deep_as_requests_may_be(store: Store, session_id: str) -> None:
    deep: Any = "x"
    for _ in range(97):
        deep = [deep]
    store.commit(turn(session_id, ("query", deep)))
    assert contents(store, session_id) == [deep]


@pytest.mark.parametrize(
    "other", ["Session-A", "session-a ", " session-a", "sessíon-a", "session-a%", "session_a"]
)
def test_ids_are_opaque(store: Store, session_id: str, other: str) -> None:
    mine = session_id[:12] + "session-a"
    add(store, mine, "mine")
    assert contents(store, session_id[:12] + other) == []
    add(store, session_id[:12] + other, "other")
    assert contents(store, mine) == ["mine"]
    assert contents(store, session_id[:12] + other) == ["other"]


@pytest.mark.parametrize(
    "name", ["LOCAL-x", "../x", "' OR 1=1 --", "", "会" * 36, "😀" * 36, "%", "a\\b", "e\u0301"]
)
def test_odd_names_are_names(store: Store, session_id: str, name: str) -> None:
    before = contents(store, name, limit=1000)
    add(store, name, session_id)
    assert contents(store, name, limit=1000) == [*before, session_id]


def test_keys_are_apart(store: Store, session_id: str) -> None:
    long = "k" * 128
    store.commit(turn(session_id, ("a", 1), ("A", 2), ("a ", 3), (long, 4), ("键", 5)))
    found = [contents(store, session_id, key) for key in ("a", "A", "a ", long, "键")]
    assert found == [[1], [2], [3], [4], [5]]


def test_an_empty_turn_writes_nothing(store: Store, session_id: str) -> None:
    store.commit(TurnRecord(session_id, "r", []))
    assert store.history(session_id, "query", 1) == []


def test_incomplete_turns_are_passed_over(store: Store, session_id: str) -> None:
    for number in range(30):
        add(store, session_id, number, **({} if number in (2, 11, 29) else {"state": "incomplete"}))
    assert contents(store, session_id, limit=2) == [11, 29]
    assert contents(store, session_id, limit=3) == [2, 11, 29]
    assert contents(store, session_id, limit=50) == [2, 11, 29]


def test_only_incomplete_turns(store: Store, session_id: str) -> None:
    for number in range(25):
        add(store, session_id, number, state="incomplete")
    assert contents(store, session_id, limit=10) == []


def test_order_with_equal_times(store: Store, session_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime(2026, 3, 1, 12)
    monkeypatch.setattr(clock, "now", lambda: moment)
    for number in range(40):
        add(store, session_id, number)
    assert contents(store, session_id) == list(range(40))
    assert contents(store, session_id, "answer", limit=5) == [35, 36, 37, 38, 39]


def test_order_when_the_clock_steps_back(
    store: Store, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = datetime(2026, 10, 25, 2, 59, 59)
    times = [start, start + timedelta(seconds=1), *(start - timedelta(hours=1, seconds=-n) for n in range(5))]
    for number, moment in enumerate(times):
        monkeypatch.setattr(clock, "now", lambda moment=moment: moment)
        add(store, session_id, number)
    assert contents(store, session_id) == list(range(7))


def test_many_threads_many_sessions(store: Store, session_id: str) -> None:
    def work(thread: int) -> None:
        for number in range(12):
            add(store, f"{session_id[:30]}-{thread}", number)
            assert contents(store, f"{session_id[:30]}-{thread}", limit=1) == [number]

    run_all([lambda thread=thread: work(thread) for thread in range(8)])
    for thread in range(8):
        assert contents(store, f"{session_id[:30]}-{thread}") == list(range(12))


def test_many_threads_one_session(
    store: Store, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With the clock at rest only the lock keeps two turns from getting one time.
    moment = clock.now()
    monkeypatch.setattr(clock, "now", lambda: moment)

    def work(thread: int) -> None:
        for number in range(10):
            add(store, session_id, [thread, number])

    run_all([lambda thread=thread: work(thread) for thread in range(8)])
    queries = contents(store, session_id)
    assert queries == contents(store, session_id, "answer"), "the two rows of a turn stand together"
    for thread in range(8):
        assert [number for owner, number in queries if owner == thread] == list(range(10))


def test_it_can_be_closed_and_used_again(store: Store, session_id: str) -> None:
    add(store, session_id, 1)
    store.close()
    store.ping()
    assert contents(store, session_id) == [1]


def run_all(jobs: list[Any]) -> None:
    errors: list[BaseException] = []

    def guarded(job: Any) -> None:
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]
