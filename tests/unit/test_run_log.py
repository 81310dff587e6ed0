from __future__ import annotations

import threading

from appbuilder.core.events import text_in
from appbuilder.engine.log import Outcome, RunLog

TOTAL = 20_000


def read_from(log: RunLog, cursor: int, into: list[int]) -> None:
    while True:
        outcome = log.outcome
        entries = log.entries[cursor:]
        into.extend(map(int, map(text_in, entries)))
        cursor += len(entries)
        if outcome is not None:
            return
        log.wait(cursor, 10)


def test_readers_at_any_cursor_get_exactly_the_rest_while_it_is_written() -> None:
    log, started = RunLog(), threading.Barrier(5)
    results: list[list[int]] = [[] for _ in range(4)]

    def reader(number: int) -> None:
        started.wait()
        read_from(log, number * 10, results[number])

    threads = [threading.Thread(target=reader, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    started.wait()
    for piece in range(TOTAL):
        log.append(str(piece))
    log.finish(Outcome(answer={}))
    for thread in threads:
        thread.join()
    for number, result in enumerate(results):
        assert result == list(range(number * 10, TOTAL))


def test_a_waiting_reader_is_woken_once_per_batch() -> None:
    log, calls = RunLog(), []
    log.subscribe(lambda: calls.append(1))
    for piece in range(10):
        log.append(str(piece))
    assert calls == [1]


def test_a_wait_ends_with_a_piece_the_outcome_or_the_time() -> None:
    log = RunLog()
    assert not log.wait(0, 0)
    log.append("a")
    assert log.wait(0, 0)
    assert not log.wait(1, 0)
    log.finish(Outcome(answer={}))
    assert log.wait(1, 0)
    assert log.wait_outcome().answer == {}
    assert not log.wakers, "a reader that left is forgotten"


def test_a_waker_that_was_taken_back_is_not_called() -> None:
    log, calls = RunLog(), []

    def waker() -> None:
        calls.append(1)

    log.subscribe(waker)
    log.unsubscribe(waker)
    log.unsubscribe(waker)
    log.append("a")
    assert calls == []
