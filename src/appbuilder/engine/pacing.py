"""Holding back a component that is further ahead of its readers than they may be behind."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Protocol

from appbuilder import clock
from appbuilder.cooperation import before_blocking
from appbuilder.core.cancel import CancelToken
from appbuilder.engine.log import RunLog


class Paced(Protocol):
    """A run that may be held back: :class:`appbuilder.engine.turn.Turn`."""

    log: RunLog
    token: CancelToken
    write_timeout: float

    @property
    def is_ahead(self) -> bool:
        """Whether even the fastest reader is too far behind."""

    def cut_readers(self) -> None:
        """Ends reading for those too far behind."""


def wait_for_readers(run: Paced) -> None:
    """Waits, in a thread, until a reader has caught up; those that do not in time are cut."""
    before_blocking()
    deadline = clock.monotonic() + run.write_timeout
    while run.is_ahead and not run.token.cancelled:
        left = deadline - clock.monotonic()
        if left <= 0:
            run.cut_readers()
            return
        woken = threading.Event()
        run.log.takers.append(woken.set)
        forget = run.token.on_cancel(woken.set)
        if run.is_ahead:
            woken.wait(left)
        forget()


async def readers_awaited(run: Paced) -> None:
    """:func:`wait_for_readers` on the loop, where cancelling the run cancels the task."""
    loop, deadline = asyncio.get_running_loop(), clock.monotonic() + run.write_timeout
    while run.is_ahead and not run.token.cancelled:
        left = deadline - clock.monotonic()
        if left <= 0:
            run.cut_readers()
            return
        woken = asyncio.Event()
        run.log.takers.append(_on(loop, woken))
        if run.is_ahead:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), left)


def _on(loop: asyncio.AbstractEventLoop, woken: asyncio.Event) -> Callable[[], None]:
    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the run has ended
            loop.call_soon_threadsafe(woken.set)

    return wake
