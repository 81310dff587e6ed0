"""Things a process makes for itself: connections, threads and loops do not survive a fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class ForkSafe(Generic[_T]):
    """Holds what *make* returns, made at first use and again after a fork.

    The lock is made in the process too: one made before gevent patched ``threading`` would stop every
    greenlet of the thread when two of them meet at it.
    """

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make
        self._made: tuple[int, _T] | None = None
        self._locks: dict[int, threading.Lock] = {}

    def get(self) -> _T:
        """This process's own."""
        made, pid = self._made, os.getpid()
        if made is not None and made[0] == pid:
            return made[1]
        with self._locks.setdefault(pid, threading.Lock()):
            made = self._made
            if made is None or made[0] != pid:
                made = self._made = (pid, self._make())
        return made[1]
