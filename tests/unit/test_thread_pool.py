from __future__ import annotations

import threading

import pytest

from appbuilder.engine.threads import thread_pool
from appbuilder.engine.threads.thread_pool import ThreadPool


def test_a_thread_that_rests_is_used_again_and_keeps_nothing() -> None:
    pool, seen = ThreadPool(), []
    for _ in range(5):
        done = threading.Event()

        def work(done: threading.Event = done) -> None:
            seen.append(threading.get_ident())
            done.set()

        pool.run(work)
        assert done.wait(10)
        while not pool._idle:
            pass
    assert len(set(seen)) == 1
    assert pool._idle[0]._target is None


def test_turns_at_the_same_time_have_a_thread_each() -> None:
    pool, together = ThreadPool(), threading.Barrier(8)
    done = threading.Semaphore(0)

    def work() -> None:
        together.wait(10)
        done.release()

    for _ in range(8):
        pool.run(work)
    for _ in range(8):
        assert done.acquire(timeout=10)


def test_a_thread_that_nobody_needs_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_pool, "_IDLE_SECONDS", 0.0)
    pool, threads = ThreadPool(), []
    pool.run(lambda: threads.append(threading.current_thread()))
    while not threads:
        pass
    threads[0].join(10)
    assert not threads[0].is_alive()
    assert not pool._idle


def test_no_turn_is_lost_between_resting_and_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_pool, "_IDLE_SECONDS", 0.00001)
    pool, done = ThreadPool(), threading.Semaphore(0)
    for _ in range(2000):
        pool.run(done.release)
        assert done.acquire(timeout=10)
