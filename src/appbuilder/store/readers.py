"""Connections that read: the one used last is used next.

What SQLAlchemy's pool does at each loan (a record, a weak reference, a reset) takes longer than a read from
SQLite, and a connection that only reads needs none of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from sqlalchemy import exc

from appbuilder import clock


class Closable(Protocol):
    def close(self) -> object:
        """Closes it."""


_C = TypeVar("_C", bound=Closable)


class Readers(Generic[_C]):
    """At most *most* connections, lent to one caller at a time.

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
        self._generation = 0

    def lend(self) -> tuple[_C, int]:
        """A connection, and what :meth:`give_back` wants to know of it.

        :raises exc.TimeoutError: all are lent, and none came back in time.
        """
        try:
            return self._idle.pop(), self._generation
        except IndexError:
            return self._wait()

    def give_back(self, connection: _C, generation: int) -> None:
        """Takes a connection back; one from before :meth:`close` is closed."""
        if generation != self._generation:
            connection.close()
            return
        self._idle.append(connection)
        if self._waiting:
            with self._changed:
                self._changed.notify()

    def close(self) -> None:
        """Closes what is here now; what is lent is closed when it comes back, and new ones are opened."""
        with self._changed:
            self._generation += 1
            self._open = 0
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        for connection in idle:
            connection.close()

    def _wait(self) -> tuple[_C, int]:
        deadline = clock.monotonic() + self._timeout
        with self._changed:
            self._waiting += 1  # before the look, so that what comes back now is told of
            try:
                while not self._idle and self._open >= self._most:
                    left = deadline - clock.monotonic()
                    if left <= 0:
                        raise exc.TimeoutError("all connections are in use")
                    self._changed.wait(left)
            finally:
                self._waiting -= 1
            generation = self._generation
            if self._idle:
                return self._idle.pop(), generation
            self._open += 1
        try:
            return self._make(), generation
        except BaseException:
            with self._changed:
                if generation == self._generation:
                    self._open -= 1
                self._changed.notify()
            raise
