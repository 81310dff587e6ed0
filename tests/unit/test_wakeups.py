"""Waking what waits on the loop from threads: nothing is lost, and the loop is woken once for all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from appbuilder.engine.wakeups import MANY, LoopEvent, Wakeups, new_loop_event


def test_a_gate_is_closed_again_by_who_waited() -> None:
    async def main() -> None:
        gate = new_loop_event()
        gate.open()
        await gate.wait()
        waiting = asyncio.ensure_future(gate.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        gate.open()
        await waiting

    asyncio.run(main())


def test_the_loop_is_woken_once_for_all_that_came_meanwhile() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        wakeups = Wakeups(loop)
        gates = [LoopEvent(wakeups) for _ in range(100)]
        waits = [asyncio.ensure_future(gate.wait()) for gate in gates]
        await asyncio.sleep(0)
        calls = counted(loop)

        def open_all() -> None:
            for gate in gates:
                gate.open_from_thread()

        thread = threading.Thread(target=open_all)
        thread.start()
        thread.join()  # the loop has not had its turn
        await asyncio.gather(*waits)
        assert len(calls) == 1
        gates[0].open_from_thread()
        await gates[0].wait()
        assert len(calls) == 2

    asyncio.run(main())


def test_where_many_wait_the_loop_looks_by_itself_until_nothing_is_due() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        wakeups = Wakeups(loop)
        gates = [LoopEvent(wakeups) for _ in range(MANY + 2)]
        waits = [asyncio.ensure_future(gate.wait()) for gate in gates]
        await asyncio.sleep(0)
        calls = counted(loop)
        gates[0].open_from_thread()
        await waits[0]
        gates[1].open_from_thread()  # the loop is not woken for it
        await asyncio.wait_for(waits[1], 30)
        assert len(calls) == 1
        while wakeups._scheduled:
            await asyncio.sleep(0)
        for gate in gates[2:]:
            gate.open_from_thread()
        await asyncio.wait_for(asyncio.gather(*waits), 30)
        assert (len(calls), wakeups.waiting) == (2, 0)

    asyncio.run(main())


def counted(loop: asyncio.AbstractEventLoop) -> list[Any]:
    calls: list[Any] = []
    real = loop.call_soon_threadsafe

    def call(callback: Callable[..., Any], *args: Any, **more: Any) -> asyncio.Handle:
        calls.append(callback)
        return real(callback, *args, **more)

    loop.call_soon_threadsafe = call  # type: ignore[method-assign, assignment]
    return calls


def test_no_wake_up_is_lost_between_threads_and_the_loop() -> None:
    """Each side waits for the other, so that one that is lost stops both."""
    rounds, threads = 300, 4

    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def one() -> None:
            gate, go = new_loop_event(), threading.Semaphore(0)

            def work() -> None:
                for _ in range(rounds):
                    assert go.acquire(timeout=30)
                    gate.open_from_thread()

            working = loop.run_in_executor(None, work)
            for _ in range(rounds):
                go.release()
                await asyncio.wait_for(gate.wait(), 30)
            await working

        await asyncio.gather(*(one() for _ in range(threads)))

    asyncio.run(main())


def test_who_stops_waiting_does_not_stop_the_others() -> None:
    async def main() -> None:
        one, other = new_loop_event(), new_loop_event()
        given_up, waiting = asyncio.ensure_future(one.wait()), asyncio.ensure_future(other.wait())
        await asyncio.sleep(0)
        one.open_from_thread()
        other.open_from_thread()
        given_up.cancel()
        await waiting
        assert given_up.cancelled()

    asyncio.run(main())


def test_where_the_loop_is_closed_nobody_waits_any_more() -> None:
    async def main() -> LoopEvent:
        return new_loop_event()

    gate = asyncio.run(main())
    gate.open_from_thread()
    gate.open_from_thread()


def test_each_loop_has_wake_ups_of_its_own() -> None:
    async def main() -> None:
        gate = new_loop_event()
        thread = threading.Thread(target=gate.open_from_thread)
        thread.start()
        await asyncio.wait_for(gate.wait(), 30)
        thread.join()

    for _ in range(2):
        asyncio.run(main())
