"""Drives a turn on the event loop: the same steps as :mod:`appbuilder.engine.driver`, awaited.

No thread is held while the component waits. What blocks (a place in the session's queue, the commit) is
done where the store lives.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, TypeVar

from appbuilder import clock
from appbuilder.core.message import AsyncContentStream, ContentStream
from appbuilder.engine.bridge import Bridge, awaited
from appbuilder.engine.driver import CLOSE_FAILED, YIELD_EVERY
from appbuilder.engine.machine import (
    Action,
    Attempt,
    Begun,
    Commit,
    Cut,
    Ended,
    Event,
    Failed,
    FirstPiece,
    Pump,
)
from appbuilder.engine.turn import Turn
from appbuilder.logs import logger

_T = TypeVar("_T")


class AsyncDriver:
    """Drives one turn to its end; :meth:`drive` is a task of the bridge's loop."""

    def __init__(self, turn: Turn, run: Callable[..., Any], session_wait: float, bridge: Bridge) -> None:
        self._turn = turn
        self._run = run
        self._session_wait = session_wait
        self._bridge = bridge
        self._iterator: AsyncIterator[Any] | None = None
        self._work: asyncio.Task[Event] | None = None

    async def drive(self) -> None:
        """Returns when the turn has ended; raises nothing."""
        loop = asyncio.get_running_loop()

        def stop() -> None:
            loop.call_soon_threadsafe(self._break_off)

        self._turn.log.call = self._bridge.wake
        forget = await self._bridge.decide(lambda: self._turn.token.on_cancel(stop))
        try:
            action = await self._advance(await self._acquire())
            while action is not None:
                action = await self._perform(action)
        finally:
            # Still open where a shutdown has ended the turn meanwhile.
            await self._close()
            await self._bridge.decide(forget)

    async def _advance(self, event: Event) -> Action | None:
        return await self._bridge.decide(lambda: self._turn.advance(event))

    def _break_off(self) -> None:
        if self._work is not None:
            self._work.cancel()

    async def _acquire(self) -> Event:
        turn = self._turn
        try:
            if not turn.acquire_at_once():
                await self._bridge.in_worker(lambda: turn.acquire(self._session_wait))
        except BaseException as error:  # noqa: BLE001 - whatever ends the wait ends the turn
            return await self._failed(error, iterating=False)
        return Begun()

    async def _perform(self, action: Action) -> Action | None:
        turn = self._turn
        if isinstance(action, Commit):
            await self._close()
            if self._bridge.commits_later and turn.is_settled and turn.commit_later(action):
                return None
            return await self._bridge.in_worker(lambda: turn.commit(action))
        event = await self._work_on(action)
        if isinstance(event, Failed):
            await self._close()
        return await self._advance(event)

    async def _work_on(self, action: Attempt | Pump) -> Event:
        """The component's own part, as a task in the turn's context that can be cancelled."""
        turn = self._turn
        if isinstance(action, Attempt):
            if action.delay:
                turn.discard()
                await asyncio.sleep(action.delay)
            turn.begin_attempt()
            self._bridge.adopt(turn.context)
            work = self._attempt()
        else:
            work = self._pump()
        self._work = _task_in(turn.context, work)
        if turn.token.cancelled:
            self._work.cancel()
        try:
            return await self._work
        except asyncio.CancelledError as error:
            # Ours where the turn is being stopped, otherwise one that the component let out.
            return await self._failed(error, iterating=False)
        finally:
            self._work = None

    async def _attempt(self) -> Event:
        turn = self._turn
        try:
            content = turn.accept(await awaited(self._run(**turn.arguments()))).content
            if isinstance(content, AsyncContentStream):
                self._iterator = content
            elif isinstance(content, ContentStream):
                self._iterator = _Stepped(content)
            else:
                return FirstPiece() if turn.whole_as_piece() else Ended()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - a SystemExit of a component must not end the server
            return await self._failed(error, iterating=False)
        return await self._pieces(once=True)

    async def _pump(self) -> Event:
        return Ended() if self._iterator is None else await self._pieces(once=False)

    async def _pieces(self, *, once: bool) -> Event:
        assert self._iterator is not None
        turn, pause = self._turn, clock.monotonic() + YIELD_EVERY
        try:
            async for piece in self._iterator:
                turn.publish(piece)
                if once:
                    return FirstPiece()
                if turn.token.cancelled:  # and the component caught the CancelledError
                    return Cut()
                if clock.monotonic() > pause:
                    await asyncio.sleep(0)
                    pause = clock.monotonic() + YIELD_EVERY
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - as above
            return await self._failed(error, iterating=True)
        return Ended()

    async def _failed(self, error: BaseException, *, iterating: bool) -> Event:
        return await self._bridge.decide(lambda: self._turn.failed(error, iterating=iterating))

    async def _close(self) -> None:
        iterator, self._iterator = self._iterator, None
        if iterator is None:
            return
        try:
            await _task_in(self._turn.context, iterator.aclose())  # type: ignore[attr-defined]
        except BaseException:  # noqa: BLE001 - how the turn ends is decided already
            logger.exception(CLOSE_FAILED, self._turn.request.request_id)


def _task_in(context: contextvars.Context, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
    """A task that runs in *context* itself, so that what one step of a turn sets, the next one finds."""
    loop = asyncio.get_running_loop()
    return loop.create_task(work, context=context)


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
