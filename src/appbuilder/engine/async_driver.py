"""Drives a turn on the event loop: the same steps as :mod:`appbuilder.engine.driver`, awaited.

No thread is held while the component waits. What blocks (a place in the session's queue, the commit) is
done where the store lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

from appbuilder import clock
from appbuilder.core.message import ContentStream
from appbuilder.engine.driver import YIELD_EVERY
from appbuilder.engine.flow import Do, Step, flow
from appbuilder.engine.machine import Attempt, Commit, Cut, Ended, Event, FirstPiece
from appbuilder.engine.pacing import readers_awaited
from appbuilder.engine.threads.portal import Portal, awaited
from appbuilder.engine.turn import Turn


class AsyncDriver:
    """Drives one turn to its end; :meth:`drive` is a task of the bridge's loop."""

    def __init__(self, turn: Turn, run: Callable[..., Any], session_wait: float, bridge: Portal) -> None:
        self._turn = turn
        self._steps = flow(turn, defers_commits=bridge.defers_commits)
        self._run = run
        self._session_wait = session_wait
        self._portal = bridge
        self._iterator: AsyncIterator[Any] | None = None
        self._task: asyncio.Task[Any] | None = None
        """The task in which the component works right now."""

    async def drive(self) -> None:
        """Returns when the turn has ended; raises nothing."""
        turn, bridge = self._turn, self._portal
        turn.log.call = bridge.wake
        forget = await bridge.run_quick(lambda: turn.token.on_cancel(self._break_off))
        step: Step | None = next(self._steps)
        while step is not None:
            if step is Do.CALL:
                bridge.wrap_context(turn.context)
                # A task in the attempt's context itself: what one step sets, the next one finds.
                step = await bridge.loop.create_task(self._attempt(), context=turn.context)
            else:
                step = await self._perform(step)
        await bridge.run_quick(forget)

    async def _attempt(self) -> Step | None:
        """All that the component does in one attempt; returns the step that follows."""
        step = await self._perform(Do.CALL)
        while step in (Do.FIRST, Do.REST, Do.CLOSE):
            step = await self._perform(step)
        return step

    async def _perform(self, step: Step) -> Step | None:
        try:
            result = await self._do(step)
        except BaseException as error:  # noqa: BLE001 - the flow decides what it means
            resume = partial(self._steps.throw, error)
        else:
            resume = partial(self._steps.send, result)
        return await self._portal.run_quick(lambda: _step_after(resume))

    async def _do(self, step: Step) -> Any:
        turn = self._turn
        match step:
            case Do.CALL | Do.FIRST | Do.REST:
                return await self._component_does(step)
            case Do.ACQUIRE if not turn.acquire_at_once():
                await self._portal.in_worker(lambda: turn.acquire(self._session_wait))
            case Do.CLOSE:
                await self._iterator.aclose()  # type: ignore[union-attr]
            case Attempt(delay):
                await asyncio.sleep(delay)
            case Commit():
                await self._portal.in_worker(lambda: turn.commit(step))
        return None

    async def _component_does(self, step: Do) -> Any:
        self._turn.token.raise_if_cancelled()
        self._task = task = asyncio.current_task()
        try:
            if step is Do.CALL:
                return await awaited(self._run(**self._turn.arguments()))
            return await self._pieces(once=step is Do.FIRST)
        finally:
            self._task = None
            if task is not None:
                task.uncancel()  # a stop is over with what it stopped: closing may wait

    def _break_off(self) -> None:
        self._portal.loop.call_soon_threadsafe(lambda: self._task and self._task.cancel())

    async def _pieces(self, *, once: bool) -> Event:
        turn, pause = self._turn, clock.monotonic() + YIELD_EVERY
        if once:
            assert turn.answer is not None
            content = turn.answer.content
            self._iterator = _Stepped(content) if isinstance(content, ContentStream) else content
        assert self._iterator is not None
        async for piece in self._iterator:
            if turn.publish(piece):
                await readers_awaited(turn)
            if once and turn.log.has_spoken:
                return FirstPiece()
            if turn.token.cancelled:  # and the component caught the CancelledError
                return Cut()
            if clock.monotonic() > pause:
                await asyncio.sleep(0)
                pause = clock.monotonic() + YIELD_EVERY
        return Ended()


def _step_after(resume: Callable[[], Step]) -> Step | None:
    try:
        return resume()
    except StopIteration:
        return None


class _Stepped(AsyncIterator[Any]):
    """A synchronous iterator that an asynchronous component returned; stepped off the loop."""

    def __init__(self, source: ContentStream) -> None:
        self._source: Iterator[Any] = source
        self._close = source.close

    async def __anext__(self) -> Any:
        piece = await asyncio.to_thread(next, self._source, self)
        if piece is self:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        await asyncio.to_thread(self._close)
