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


class _Patience:
    """Seconds that are left until some reader has taken something, from the last time one did."""

    def __init__(self, run: Paced) -> None:
        self._run = run
        self._taken = -1
        self._deadline = 0.0

    def left(self) -> float:
        """0: no reader has taken anything for the write time-out."""
        taken, now = sum(reader.taken for reader in list(self._run.log.readers)), clock.monotonic()
        if taken != self._taken:
            self._taken, self._deadline = taken, now + self._run.write_timeout
        return max(0.0, self._deadline - now)


def wait_for_readers(run: Paced) -> None:
    """Waits, in a thread, until a reader has caught up.

    Where no reader takes anything for the write time-out, those too far behind are cut; a slow one is not.
    """
    before_blocking()
    patience = _Patience(run)
    while run.is_ahead and not run.token.cancelled:
        left = patience.left()
        if not left:
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
    loop, patience = asyncio.get_running_loop(), _Patience(run)
    while run.is_ahead and not run.token.cancelled:
        left = patience.left()
        if not left:
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
