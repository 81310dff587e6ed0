"""This process's event loop: which kind of bridge leads to it, and how a thread steps what lives there."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Iterator
from typing import Any

from appbuilder.blocking import in_greenlets
from appbuilder.core.context import context_var
from appbuilder.core.message import AsyncContentStream
from appbuilder.engine.bridge import Bridge
from appbuilder.per_process import PerProcess


def bridge() -> Bridge:
    """This process's bridge."""
    return _bridge.get()


def iterate(stream: AsyncContentStream, context: contextvars.Context) -> Iterator[Any]:
    """Steps an asynchronous iterator from a thread; for a component whose ``run`` is synchronous.

    A step that waits ends when the turn of *context* is stopped.
    """
    here = bridge()
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


def _make() -> Bridge:
    if not in_greenlets():
        return Bridge()
    from appbuilder.engine.hub import HubBridge

    return HubBridge()


_bridge = PerProcess(_make)
