"""Threads that drive turns, used again: starting one costs more than the first piece of a stream.

Under gevent they are greenlets, like every thread that is started after the patch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from appbuilder.fork_safe import ForkSafe

_IDLE_SECONDS = 30.0
"""How long a thread waits for another turn before it ends."""


def spawn(target: Callable[[], None]) -> None:
    """Runs *target*, which raises nothing, in the background."""
    _workers.get().run(target)


class ThreadPool:
    """As many threads as turns run at the same time; the one that rested last works first."""

    def __init__(self) -> None:
        self._idle: list[_Worker] = []

    def run(self, target: Callable[[], None]) -> None:
        """Runs *target* on a thread that rests, or on a new one."""
        try:
            worker = self._idle.pop()
        except IndexError:
            worker = _Worker(self._idle)
            worker.work(target)
            threading.Thread(target=worker.loop, name="appbuilder-turn", daemon=True).start()
        else:
            worker.work(target)


class _Worker:
    """One thread; its gate is open while there is work."""

    def __init__(self, idle: list[_Worker]) -> None:
        self._idle = idle
        self._target: Callable[[], None] | None = None
        self._gate = threading.Lock()
        self._gate.acquire()

    def work(self, target: Callable[[], None]) -> None:
        self._target = target
        self._gate.release()

    def loop(self) -> None:
        while self._next():
            target, self._target = self._target, None
            assert target is not None
            target()
            del target  # a thread that rests keeps nothing of its last turn
            self._idle.append(self)

    def _next(self) -> bool:
        if self._gate.acquire(timeout=_IDLE_SECONDS):
            return True
        try:
            self._idle.remove(self)
        except ValueError:  # another thread has just taken this one: the work is on its way
            return self._gate.acquire()
        return False


_workers = ForkSafe(ThreadPool)
