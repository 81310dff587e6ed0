"""Threads for turns begun on an event loop: short ones share one, and nobody waits for somebody else's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from appbuilder.cooperation import before_blocking, defer
from appbuilder.engine.threads import batch_executor as crew_module
from appbuilder.engine.threads.batch_executor import MAX_BEFORE_DEFERRED, BatchExecutor, run_concurrently
from appbuilder.engine.threads.thread_pool import ThreadPool

FOR_EVER = 3600.0


@pytest.fixture
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks whether the runner is stuck."""
    monkeypatch.setattr(crew_module, "STALL_TIMEOUT", FOR_EVER)


def on_a_loop(jobs: list[Callable[[], None]], done: threading.Semaphore) -> None:
    """Submits *jobs* in one turn of a loop, which runs until *done* was released for each."""

    async def main() -> None:
        crew = BatchExecutor(asyncio.get_running_loop())
        for job in jobs:
            crew.submit(job)
        for _ in jobs:
            assert await asyncio.to_thread(done.acquire, timeout=30)

    asyncio.run(main())


@pytest.mark.usefixtures("unwatched")
def test_short_turns_share_a_thread_in_the_order_they_came() -> None:
    done, seen = threading.Semaphore(0), list[tuple[int, int]]()

    def job(number: int) -> Callable[[], None]:
        def work() -> None:
            seen.append((number, threading.get_ident()))
            done.release()

        return work

    on_a_loop([job(number) for number in range(20)], done)
    assert [number for number, _ in seen] == list(range(20))
    assert len({thread for _, thread in seen}) == 1
    assert threading.get_ident() not in {thread for _, thread in seen}


@pytest.mark.usefixtures("unwatched")
def test_what_says_that_it_blocks_hands_the_others_over() -> None:
    done, others = threading.Semaphore(0), threading.Semaphore(0)

    def blocks() -> None:
        before_blocking()
        assert others.acquire(timeout=30)  # the one after it, which runs elsewhere
        done.release()

    def goes_on() -> None:
        others.release()
        done.release()

    on_a_loop([blocks, goes_on], done)


def test_what_blocks_and_does_not_say_so_gives_each_of_the_others_a_thread() -> None:
    done, together, free = threading.Semaphore(0), threading.Barrier(3), threading.Event()

    def stuck() -> None:
        assert free.wait(30)
        done.release()

    def waits_for_the_others() -> None:
        together.wait(30)
        free.set()
        done.release()

    on_a_loop([stuck, *[waits_for_the_others] * 3], done)


@pytest.mark.usefixtures("unwatched")
def test_what_turns_put_off_is_done_after_all_of_them_in_their_thread() -> None:
    done, seen = threading.Semaphore(0), list[tuple[str, int]]()

    def deed() -> None:
        seen.append(("deed", threading.get_ident()))
        done.release()

    def job() -> None:
        seen.append(("job", threading.get_ident()))
        assert defer(deed)

    on_a_loop([job] * 5, done)
    assert [what for what, _ in seen] == ["job"] * 5 + ["deed"] * 5
    assert len({thread for _, thread in seen}) == 1


@pytest.mark.usefixtures("unwatched")
def test_what_is_put_off_does_not_wait_for_every_turn_there_is() -> None:
    done, in_thread = threading.Semaphore(0), threading.local()
    before: list[int] = []

    def deed() -> None:
        before.append(in_thread.jobs)

    def first() -> None:
        assert defer(deed)
        job()

    def job() -> None:
        in_thread.jobs = getattr(in_thread, "jobs", 0) + 1
        done.release()

    on_a_loop([first, *[job] * (3 * MAX_BEFORE_DEFERRED)], done)
    assert before == [MAX_BEFORE_DEFERRED]


@pytest.mark.usefixtures("unwatched")
@pytest.mark.parametrize("says_so", [True, False])
def test_what_was_put_off_is_done_although_a_turn_blocks(
    says_so: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not says_so:
        monkeypatch.setattr(crew_module, "STALL_TIMEOUT", 0.01)
    done, deed_done = threading.Semaphore(0), threading.Event()

    def puts_off() -> None:
        assert defer(deed_done.set)
        done.release()

    def blocks() -> None:
        if says_so:
            before_blocking()
            assert not defer(deed_done.clear)  # it has nobody waiting any more
        assert deed_done.wait(30)
        done.release()

    on_a_loop([puts_off, blocks], done)


def test_where_there_are_no_threads_turns_wait_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    done, refusals = threading.Semaphore(0), [0]
    real = ThreadPool.run

    def run(pool: ThreadPool, target: Callable[[], None]) -> None:
        if refusals[0] < 3:
            refusals[0] += 1
            raise RuntimeError("can't start new thread")
        real(pool, target)

    monkeypatch.setattr(ThreadPool, "run", run)
    monkeypatch.setattr(crew_module, "_NO_THREADS_PAUSE", 0.001)
    on_a_loop([done.release, done.release], done)
    assert refusals == [3]


def test_a_turn_begun_in_a_thread_has_one_of_its_own() -> None:
    """No loop watches over what is begun there."""
    together = threading.Barrier(3)

    def job() -> None:
        together.wait(30)

    run_concurrently(job)
    run_concurrently(job)
    together.wait(30)


def test_each_loop_has_a_crew_of_its_own() -> None:
    done = threading.Semaphore(0)

    async def main() -> None:
        run_concurrently(done.release)
        assert await asyncio.to_thread(done.acquire, timeout=30)

    for _ in range(2):
        asyncio.run(main())
