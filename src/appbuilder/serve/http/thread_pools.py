"""Threads for what blocks: a bounded number for each kind of work, so that one kind never waits for another.

One caller takes a few threads of a kind; what else it asks for waits in line, where it holds neither a thread
nor memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from appbuilder.errors import Overloaded, RateLimited

_T = TypeVar("_T")

MOST_IN_LINE = 200
"""Calls of one caller that wait in one pool; more are refused."""


class Pool:
    """Threads for one kind of work. To be used on an event loop; each loop has its own.

    :param threads: calls at the same time.
    :param each: of these, the calls of one caller.
    """

    def __init__(self, name: str, threads: int, each: int = MOST_IN_LINE) -> None:
        self.threads = threads
        self._each = each
        self._here: RunVar[tuple[CapacityLimiter, CallerQueues]] = RunVar(f"appbuilder-{name}")

    async def run(self, function: Callable[..., _T], *args: Any) -> _T:
        """Runs *function*, which blocks, off the event loop."""
        return await to_thread.run_sync(function, *args, limiter=self._state()[0])

    async def run_for(self, caller: str, function: Callable[..., _T], *args: Any) -> _T:
        """Runs it when it is this caller's turn; raises as :meth:`place`."""
        async with self.place(caller):
            return await self.run(function, *args)

    def place(self, caller: str) -> AbstractAsyncContextManager[bool]:
        """Waits until the caller may run one more; gives whether that took time.

        :raises RateLimited: too many of the caller's wait already.
        """
        return self._state()[1].place(caller)

    def _state(self) -> tuple[CapacityLimiter, CallerQueues]:
        state = self._here.get(None)
        if state is None:
            state = CapacityLimiter(self.threads), CallerQueues(self._each)
            self._here.set(state)
        return state


class CallerQueues:
    """Lets each caller do a few things of a kind at the same time; the next ones wait in the order they came.

    To be used on one event loop.
    """

    def __init__(self, most: int, waiting: int = MOST_IN_LINE) -> None:
        self._most = most
        self._waiting = waiting
        self._lines: dict[str, tuple[asyncio.Semaphore, list[None]]] = {}

    @asynccontextmanager
    async def place(self, caller: str) -> AsyncIterator[bool]:
        """As :meth:`Pool.place`."""
        if caller not in self._lines:
            self._lines[caller] = (asyncio.Semaphore(self._most), [])
        places, here = self._lines[caller]
        if len(here) >= self._most + self._waiting:
            raise RateLimited("Too many of your requests wait to be answered; wait for some of them.")
        here.append(None)
        try:
            waited = places.locked()
            async with places:
                yield waited
        finally:
            here.pop()
            if not here:
                del self._lines[caller]


PARSING = Pool("parsing", 2)
"""Bodies that are large; more at the same time would only wait for the interpreter."""
AUTH = Pool("auth", 16)
"""Who is asking: keys, key sets."""
LOGINS = Pool("logins", 2)
"""Passwords: hashes are made to be slow, and whoever guesses must not keep others from being known."""
TURNS = Pool("turns", 40, each=10)
"""What a turn asks of the database before it begins and when it has ended; stopping a run."""
PROBES = Pool("probes", 4)
"""``/metrics``, the reference."""
READS = Pool("reads", 6, each=2)
"""Sessions and runs: lists, reading, renaming, rating, deleting."""
BULK = Pool("bulk", 2, each=2)
"""Imports, exports, erasing, the admin page."""
WRITES = Pool("writes", 1)
"""What an import or an erasure writes: SQLite has one writer at a time, and turns need it too."""


class CallerSlots:
    """Counts what goes on for longer, per process and caller; more is refused.

    :param most: of all callers in this process.
    :param each: of one caller.
    """

    def __init__(self, most: int, each: int) -> None:
        self._most = most
        self._each = each
        self._taken: dict[str, int] = {}

    @asynccontextmanager
    async def slot(self, caller: str) -> AsyncIterator[None]:
        """Holds one.

        :raises RateLimited: the caller has as many as one may have.
        :raises Overloaded: there are none left in this process.
        """
        self.take(caller)
        try:
            yield
        finally:
            self.give_back(caller)

    def take(self, caller: str) -> None:
        """Takes one, to be given back; raises as :meth:`slot`."""
        mine = self._taken.get(caller, 0)
        if mine >= self._each:
            raise RateLimited(
                f"{mine} imports, exports or erasures of yours are under way, as many as you may have: "
                "wait until one has ended."
            )
        if sum(self._taken.values()) >= self._most:
            raise Overloaded("Too many imports and exports are under way in the service; wait a moment.")
        self._taken[caller] = mine + 1

    def give_back(self, caller: str) -> None:
        """Gives one back."""
        left = self._taken[caller] - 1
        if left:
            self._taken[caller] = left
        else:
            del self._taken[caller]
