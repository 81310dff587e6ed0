"""Connections that read: the one used last is used next.

What SQLAlchemy's pool does at each loan (a record, a weak reference, a reset) takes longer than a read from
SQLite, and a connection that only reads needs none of it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from sqlalchemy import exc

from appbuilder import clock


class Closable(Protocol):
    def close(self) -> object:
        """Closes it."""


_C = TypeVar("_C", bound=Closable)


class ReadPool(Generic[_C]):
    """At most *most* connections, lent to one caller at a time.

    Those that wait lie in a list, which goes with them when all are closed: a connection that comes back
    to a list of before is closed. So no lock is needed for a loan, wherever a close comes in between.

    :param make: opens one.
    :param timeout: seconds a caller waits while all are lent.
    """

    def __init__(self, make: Callable[[], _C], most: int, timeout: float) -> None:
        self._make = make
        self._most = most
        self._timeout = timeout
        self._idle: list[_C] = []
        self._open = 0
        self._waiting = 0
        self._changed = threading.Condition()

    def acquire(self) -> tuple[_C, list[_C]]:
        """A connection, and the list it belongs to, which :meth:`release` wants.

        :raises exc.TimeoutError: all are lent, and none came back in time.
        """
        idle = self._idle
        try:
            return idle.pop(), idle
        except IndexError:
            return self._wait()

    def release(self, connection: _C, idle: list[_C]) -> None:
        """Takes a connection back; one from before :meth:`close` is closed."""
        idle.append(connection)
        if idle is not self._idle:
            _close_all(idle)
        elif self._waiting:
            with self._changed:
                self._changed.notify()

    def close(self) -> None:
        """Closes what is here now; what is lent is closed when it comes back, and new ones are opened."""
        with self._changed:
            self._open = 0
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        _close_all(idle)

    def _wait(self) -> tuple[_C, list[_C]]:
        deadline = clock.monotonic() + self._timeout
        with self._changed:
            self._waiting += 1  # before the look, so that what comes back now is noticed
            try:
                while True:
                    idle = self._idle
                    with contextlib.suppress(IndexError):
                        return idle.pop(), idle
                    if self._open < self._most:
                        break
                    left = deadline - clock.monotonic()
                    if left <= 0:
                        raise exc.TimeoutError("all connections are in use")
                    self._changed.wait(left)
            finally:
                self._waiting -= 1
            self._open += 1
        try:
            return self._make(), idle
        except BaseException:
            with self._changed:
                if idle is self._idle:
                    self._open -= 1
                self._changed.notify()
            raise


def _close_all(idle: list[_C]) -> None:
    with contextlib.suppress(IndexError):
        while True:
            idle.pop().close()  # taken out first: another caller may get it at this moment
