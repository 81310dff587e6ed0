"""Bounded caches whose entries expire."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

from appbuilder import clock

MOST = 10_000
"""Entries of one cache."""

_K = TypeVar("_K")
_V = TypeVar("_V")


class ExpiringCache(Generic[_K, _V]):
    """Values that hold for *seconds* each; of more than *most* the oldest go. Usable from any thread."""

    def __init__(self, seconds: float, most: int = MOST) -> None:
        self._seconds = seconds
        self._most = most
        self._entries: OrderedDict[_K, tuple[float, _V]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: _K) -> _V | None:
        """The value; None: it is not cached, or has expired."""
        entry = self._entries.get(key)
        return entry[1] if entry is not None and entry[0] > clock.monotonic() else None

    def put(self, key: _K, value: _V) -> None:
        """Keeps *value* from now on."""
        entry = clock.monotonic() + self._seconds, value
        with self._lock:
            self._entries[key] = entry
            self._entries.move_to_end(key)
            if len(self._entries) > self._most:
                self._entries.popitem(last=False)

    def forget(self, key: _K) -> None:
        """Removes an entry, if there is one."""
        with self._lock:
            self._entries.pop(key, None)

    def clear(self) -> None:
        """Removes all entries."""
        with self._lock:
            self._entries.clear()


class SharedLookUps(Generic[_K, _V]):
    """What was looked up, kept for *seconds* from before each look-up. To be used on one event loop.

    Who asks during a look-up shares it. One that fails is not kept.
    """

    def __init__(self, seconds: float, most: int = MOST) -> None:
        self._tasks: ExpiringCache[_K, asyncio.Task[_V]] = ExpiringCache(seconds, most)

    async def get(self, key: _K, look_up: Callable[[], Coroutine[Any, Any, _V]]) -> _V:
        """What *look_up* found; raises what it raised."""
        task = self._tasks.get(key)
        if task is None or task.cancelled():
            task = asyncio.create_task(look_up())
            self._tasks.put(key, task)
            task.add_done_callback(partial(self._forget_failed, key))
        # A request that goes away must not end the look-up for the others.
        return task.result() if task.done() else await asyncio.shield(task)

    def _forget_failed(self, key: _K, task: asyncio.Task[_V]) -> None:
        failed = task.cancelled() or task.exception() is not None
        if failed and self._tasks.get(key) is task:
            self._tasks.forget(key)
