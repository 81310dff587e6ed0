"""This process's event loop: which kind of bridge leads to it, and how a thread steps what lives there."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Iterator
from typing import Any

from appbuilder.cooperation import uses_greenlets
from appbuilder.core.context import context_var
from appbuilder.core.message import AsyncContentStream
from appbuilder.engine.threads.portal import Portal
from appbuilder.fork_safe import ForkSafe


def portal() -> Portal:
    """This process's bridge."""
    return _portal.get()


def iterate(stream: AsyncContentStream, context: contextvars.Context) -> Iterator[Any]:
    """Steps an asynchronous iterator from a thread; for a component whose ``run`` is synchronous.

    A step that waits ends when the turn of *context* is stopped.
    """
    here = portal()
    under_way: asyncio.Task[Any] | None = None  # the loop's thread's own
    token = context[context_var].cancel_token

    async def step() -> Any:
        nonlocal under_way
        under_way = asyncio.current_task()
        try:
            token.raise_if_cancelled()
            return await stream.__anext__()
        finally:
            under_way = None

    def break_off() -> None:
        if under_way is not None:
            under_way.cancel()

    def stop() -> None:
        here.loop.call_soon_threadsafe(break_off)

    forget = token.on_cancel(stop)
    try:
        while True:
            try:
                yield here.call(step, context)
            except StopAsyncIteration:
                return
    finally:
        forget()
        here.call(stream.aclose, context)


def _make() -> Portal:
    if not uses_greenlets():
        return Portal()
    from appbuilder.engine.threads.gevent_portal import GeventPortal

    return GeventPortal()


_portal = ForkSafe(_make)
