"""Waking what waits on the event loop from the threads that run turns.

Each turn runs on a thread of its own, and a wake-up of the loop is a system call. So wake-ups are collected:
however many streams got a piece since the loop last looked, it is woken once.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque

MANY = 128
"""Gates waited at, from which on the loop looks for due ones every :data:`PAUSE` instead of being woken. With
300 streams of chunks 50 ms apart, each from a thread, that saves a quarter of the processor time."""
PAUSE = 0.002
"""Seconds."""


class LoopEvent:
    """Closed until it is opened, from any thread; then closed again by the task that waited."""

    __slots__ = ("_is_open", "_waiter", "_wakeups")

    def __init__(self, wakeups: Wakeups) -> None:
        self._wakeups = wakeups
        self._waiter: asyncio.Future[None] | None = None
        self._is_open = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop it is waited on."""
        return self._wakeups.loop

    def open_from_thread(self) -> None:
        """Opens it; to be called from any thread."""
        self._wakeups.add(self)

    def open(self) -> None:
        """Opens it; to be called on the loop."""
        self._is_open = True
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def wait(self) -> None:
        """Waits until it is open, and closes it."""
        if not self._is_open:
            wakeups = self._wakeups
            self._waiter = wakeups.loop.create_future()
            wakeups.waiting += 1
            try:
                await self._waiter
            finally:
                wakeups.waiting -= 1
                self._waiter = None
        self._is_open = False


class Wakeups:
    """The wake-ups of one event loop; ``waiting`` counts the gates that are waited at there."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.waiting = 0
        self._due: deque[LoopEvent] = deque()
        self._scheduled = False

    def add(self, gate: LoopEvent) -> None:
        """Opens *gate* at the loop's next turn, where many are waited at within :data:`PAUSE`."""
        self._due.append(gate)
        if not self._scheduled:
            self._scheduled = True
            try:
                self.loop.call_soon_threadsafe(self._open)
            except RuntimeError:  # the loop is closed: no task waits any more
                self._due.clear()

    def _open(self) -> None:
        due = self._due
        if due and self.waiting >= MANY:
            self.loop.call_later(PAUSE, self._open)
        else:
            # First, so that a gate added from now on schedules another look.
            self._scheduled = False
        while due:
            due.popleft().open()


def new_loop_event() -> LoopEvent:
    """A closed gate of the running loop."""
    loop = asyncio.get_running_loop()
    wakeups = _here.wakeups
    if wakeups is None or wakeups.loop is not loop:
        wakeups = _here.wakeups = Wakeups(loop)
    return LoopEvent(wakeups)


class _Here(threading.local):
    wakeups: Wakeups | None = None


_here = _Here()
"""A thread runs one loop at a time."""
