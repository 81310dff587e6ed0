"""Locks of sessions on a database server, all of a process on one connection of their own.

One thread speaks to the server. What is asked for while a statement is under way goes into the next one
together, so that a turn costs a round trip that it shares, and its release nothing it waits for. The
server gives all locks back when the connection ends, however it ends.
"""

from __future__ import annotations

import contextlib
import select
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from appbuilder.cooperation import before_blocking
from appbuilder.core.cancel import CancelToken
from appbuilder.core.locks import SessionLock
from appbuilder.errors import StoreUnavailable, TurnCancelled
from appbuilder.fork_safe import ForkSafe
from appbuilder.logs import logger
from appbuilder.store.databases.client_server import GRACE
from appbuilder.store.locks.base import wait_for

AT_ONCE = 500
"""Locks in one statement."""
BEAT = 5.0
"""Seconds after which a quiet connection that holds locks is asked for a sign of life."""
_GONE = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0) if hasattr(select, "poll") else 0


class LockConnection(Protocol):
    """The connection. Both methods raise StoreUnavailable where it is lost, or does not answer in time."""

    def exchange(self, release: Sequence[str], take: Sequence[str]) -> Sequence[bool]:
        """Releases locks, then tries to take others; one round trip. Returns which it got.

        :raises LocksRefused: the server gave none of *take*; the connection, and what it holds, is there.
        """

    def fileno(self) -> int:
        """Of its socket."""

    def close(self) -> None:
        """Ends it; never raises."""


class LocksRefused(Exception):
    """The server has no room for more locks, or the like. The caller gets StoreUnavailable."""


class ServerLocks:
    """A :class:`appbuilder.core.locks.SessionLocks` for all processes on a database."""

    def __init__(
        self, connect: Callable[[], LockConnection], name: Callable[[str], str], timeout: float
    ) -> None:
        """:param connect: raises StoreUnavailable where the server does not answer.
        :param name: that of a session's lock, for the server.
        :param timeout: seconds a statement may take.
        """
        self._connect = connect
        self._name = name
        self._timeout = timeout
        self._manager = self._fresh()

    def try_acquire(self, session_id: str) -> SessionLock | None:
        return None  # the server has to be asked

    def acquire(self, session_id: str, timeout: float, token: CancelToken) -> SessionLock:
        name, manager = self._name(session_id), self._manager.get()
        return wait_for(lambda: manager.take(name, token), timeout, token)

    def close(self) -> None:
        manager, self._manager = self._manager, self._fresh()
        manager.get().close()

    def _fresh(self) -> ForkSafe[_LockManager]:
        return ForkSafe(lambda: _LockManager(self._connect, self._timeout))


class _ServerLock:
    """A lock asked for, and then held."""

    __slots__ = ("_manager", "abandoned", "answer", "connection", "error", "name", "waited")

    def __init__(self, manager: _LockManager, name: str) -> None:
        self._manager = manager
        self.name = name
        self.waited = False
        self.answer = threading.Event()
        self.connection: LockConnection | None = None
        """Where it is held; None: it is not."""
        self.error: StoreUnavailable | None = None
        self.abandoned = False

    def check(self) -> None:
        if not self._manager.holds(self):
            raise StoreUnavailable("The database was lost while it held the session for this turn.")

    def release(self) -> None:
        self._manager.release_lock(self)


class _LockManager:
    """The thread of a process, its connection, and what is held on it."""

    def __init__(self, connect: Callable[[], LockConnection], timeout: float) -> None:
        self._connect = connect
        self._timeout = timeout
        self._changed = threading.Condition()
        self._requested: list[_ServerLock] = []
        self._to_release: list[str] = []
        self._held: dict[str, _ServerLock] = {}
        self._connection: LockConnection | None = None
        self._lost = False
        """Whether the line was found dead by a caller that does not use it."""
        self._closed = False
        self._thread: threading.Thread | None = None
        # For good: in a forked child no one may close what belongs to the parent.
        _managers.append(self)

    # For those who take turns

    def take(self, name: str, token: CancelToken) -> _ServerLock | None:
        """The lock; None: another process has it."""
        lock = _ServerLock(self, name)
        self._request(lock)
        before_blocking()
        forget = token.on_cancel(lock.answer.set)
        in_time = lock.answer.wait(2 * (self._timeout + GRACE))
        forget()
        with self._changed:
            if lock.error is not None:
                raise lock.error
            if lock.connection is not None:
                return lock
            if not token.cancelled and in_time:
                return None
            lock.abandoned = True
        if token.cancelled:
            raise TurnCancelled("The turn was stopped.")
        raise StoreUnavailable("The database did not answer in time when a session was to be locked.")

    def _request(self, lock: _ServerLock) -> None:
        with self._changed:
            if self._closed:
                raise StoreUnavailable("The store was closed.")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="appbuilder-locks", daemon=True)
                self._thread.start()
            self._requested.append(lock)
            self._changed.notify()

    def release_lock(self, lock: _ServerLock) -> None:
        with self._changed:
            if self._held.get(lock.name) is lock:
                del self._held[lock.name]
                self._to_release.append(lock.name)
                self._changed.notify()

    def holds(self, lock: _ServerLock) -> bool:
        with self._changed:
            connection = self._connection
            if self._held.get(lock.name) is not lock or connection is None:
                return False
            if _is_disconnected(connection):
                self._connection_lost()
            return not self._lost

    def close(self) -> None:
        """Gives all up: the server does, when the connection ends."""
        with self._changed:
            self._closed = True
            self._held.clear()
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(self._timeout + GRACE)
        _managers.remove(self)

    # The thread

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._requested or self._to_release or self._closed):
                    if not self._changed.wait(BEAT if self._held else None):
                        break
                if self._closed:
                    break
                requested, to_release = self._next()
            try:
                self._send_requests(to_release, requested)
            except LocksRefused as refused:
                self._tell(requested, StoreUnavailable(str(refused)))
            except StoreUnavailable as error:
                self._fail(requested, error)
            except Exception:  # noqa: BLE001 - without the thread no one would get a session again
                logger.exception("the locks of sessions failed")
                self._fail(requested, StoreUnavailable("The locks of sessions failed; see the log."))
        self._end()

    def _next(self) -> tuple[list[_ServerLock], list[str]]:
        """What goes into one statement. A lock held in this process is not requested: the server would
        grant it."""
        to_release, self._to_release = self._to_release[:AT_ONCE], self._to_release[AT_ONCE:]
        chosen: dict[str, _ServerLock] = {}
        requested, self._requested = self._requested[:AT_ONCE], self._requested[AT_ONCE:]
        for lock in requested:
            if lock.abandoned:
                continue
            if lock.name in self._held or lock.name in self._to_release or lock.name in chosen:
                lock.answer.set()
            else:
                chosen[lock.name] = lock
        return list(chosen.values()), to_release

    def _send_requests(self, to_release: list[str], requested: list[_ServerLock]) -> None:
        connection = self._connection
        if connection is not None and (self._lost or _is_disconnected(connection)):
            self._drop_connection()
            connection = None
        if connection is None:
            if not requested:
                return  # what was held, or to be released, went with the connection
            to_release, connection = [], self._connect()
            with self._changed:
                self._connection = connection
        got = connection.exchange(to_release, [lock.name for lock in requested])
        with self._changed:
            if self._lost:
                raise StoreUnavailable("The database was lost when a session was to be locked.")
            for lock, ours in zip(requested, got, strict=True):
                if ours:
                    self._finish(lock, connection)
                lock.answer.set()

    def _finish(self, lock: _ServerLock, connection: LockConnection) -> None:
        if lock.abandoned:
            self._to_release.append(lock.name)
        else:
            lock.connection, self._held[lock.name] = connection, lock

    def _fail(self, requested: list[_ServerLock], error: StoreUnavailable) -> None:
        self._drop_connection()
        self._tell(requested, error)

    def _tell(self, requested: list[_ServerLock], error: StoreUnavailable) -> None:
        with self._changed:
            for lock in requested:
                lock.error = error
                lock.answer.set()

    def _connection_lost(self) -> None:
        self._lost = True
        self._held.clear()
        self._to_release.clear()

    def _drop_connection(self) -> None:
        with self._changed:
            self._connection_lost()
            connection, self._connection, self._lost = self._connection, None, False
        if connection is not None:
            connection.close()

    def _end(self) -> None:
        with self._changed:
            waiting, self._requested = self._requested, []
        self._fail(waiting, StoreUnavailable("The store was closed."))


_managers: list[_LockManager] = []


def _is_disconnected(connection: LockConnection) -> bool:
    """Whether the server has ended the connection. Says nothing of one that is merely silent."""
    if not _GONE:
        return False
    poll = select.poll()
    with contextlib.suppress(OSError, ValueError):
        poll.register(connection.fileno(), _GONE)
        return bool(poll.poll(0))
    return True
