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

from appbuilder.blocking import about_to_block
from appbuilder.core.cancel import CancelToken
from appbuilder.core.locks import SessionLock
from appbuilder.errors import StoreUnavailable, TurnCancelled
from appbuilder.logs import logger
from appbuilder.per_process import PerProcess
from appbuilder.store.locks import wait_for
from appbuilder.store.server import GRACE

AT_ONCE = 500
"""Locks in one statement."""
BEAT = 5.0
"""Seconds after which a quiet connection that holds locks is asked for a sign of life."""
_GONE = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0) if hasattr(select, "poll") else 0


class LockLine(Protocol):
    """The connection. Both methods raise StoreUnavailable where it is lost, or does not answer in time."""

    def swap(self, release: Sequence[str], take: Sequence[str]) -> Sequence[bool]:
        """Releases locks, then tries to take others; one round trip. Returns which it got.

        :raises LocksRefused: the server gave none of *take*; the connection, and what it holds, is there.
        """

    def fileno(self) -> int:
        """Of its socket."""

    def close(self) -> None:
        """Ends it; never raises."""


class LocksRefused(Exception):
    """The server has no room for more locks, or the like. Who asked is told StoreUnavailable."""


class ServerLocks:
    """A :class:`appbuilder.core.locks.SessionLocks` for all processes on a database."""

    def __init__(self, connect: Callable[[], LockLine], name: Callable[[str], str], timeout: float) -> None:
        """:param connect: raises StoreUnavailable where the server does not answer.
        :param name: that of a session's lock, for the server.
        :param timeout: seconds a statement may take.
        """
        self._connect = connect
        self._name = name
        self._timeout = timeout
        self._keeper = self._fresh()

    def try_acquire(self, session_id: str) -> SessionLock | None:
        return None  # the server has to be asked

    def acquire(self, session_id: str, timeout: float, token: CancelToken) -> SessionLock:
        name, keeper = self._name(session_id), self._keeper.get()
        return wait_for(lambda: keeper.take(name, token), timeout, token)

    def close(self) -> None:
        keeper, self._keeper = self._keeper, self._fresh()
        keeper.get().close()

    def _fresh(self) -> PerProcess[_Keeper]:
        return PerProcess(lambda: _Keeper(self._connect, self._timeout))


class _ServerLock:
    """A lock asked for, and then held."""

    __slots__ = ("_keeper", "abandoned", "answer", "error", "line", "name", "waited")

    def __init__(self, keeper: _Keeper, name: str) -> None:
        self._keeper = keeper
        self.name = name
        self.waited = False
        self.answer = threading.Event()
        self.line: LockLine | None = None
        """Where it is held; None: it is not."""
        self.error: StoreUnavailable | None = None
        self.abandoned = False

    def check(self) -> None:
        if not self._keeper.holds(self):
            raise StoreUnavailable("The database was lost while it held the session for this turn.")

    def release(self) -> None:
        self._keeper.give(self)


class _Keeper:
    """The thread of a process, its connection, and what is held on it."""

    def __init__(self, connect: Callable[[], LockLine], timeout: float) -> None:
        self._connect = connect
        self._timeout = timeout
        self._changed = threading.Condition()
        self._asked: list[_ServerLock] = []
        self._given: list[str] = []
        self._held: dict[str, _ServerLock] = {}
        self._line: LockLine | None = None
        self._lost = False
        """Whether the line was found dead by somebody who does not speak on it."""
        self._closed = False
        self._thread: threading.Thread | None = None
        # For good: in a forked child nobody may close what belongs to the parent.
        _keepers.append(self)

    # For those who take turns

    def take(self, name: str, token: CancelToken) -> _ServerLock | None:
        """The lock; None: somebody else has it."""
        lock = _ServerLock(self, name)
        self._ask(lock)
        about_to_block()
        forget = token.on_cancel(lock.answer.set)
        in_time = lock.answer.wait(2 * (self._timeout + GRACE))
        forget()
        with self._changed:
            if lock.error is not None:
                raise lock.error
            if lock.line is not None:
                return lock
            if not token.cancelled and in_time:
                return None
            lock.abandoned = True
        if token.cancelled:
            raise TurnCancelled("The turn was stopped.")
        raise StoreUnavailable("The database did not answer in time when a session was to be locked.")

    def _ask(self, lock: _ServerLock) -> None:
        with self._changed:
            if self._closed:
                raise StoreUnavailable("The store was closed.")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="appbuilder-locks", daemon=True)
                self._thread.start()
            self._asked.append(lock)
            self._changed.notify()

    def give(self, lock: _ServerLock) -> None:
        with self._changed:
            if self._held.get(lock.name) is lock:
                del self._held[lock.name]
                self._given.append(lock.name)
                self._changed.notify()

    def holds(self, lock: _ServerLock) -> bool:
        with self._changed:
            line = self._line
            if self._held.get(lock.name) is not lock or line is None:
                return False
            if _hung_up(line):
                self._lose()
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
        _keepers.remove(self)

    # The thread

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._asked or self._given or self._closed):
                    if not self._changed.wait(BEAT if self._held else None):
                        break
                if self._closed:
                    break
                asked, given = self._next()
            try:
                self._speak(given, asked)
            except LocksRefused as refused:
                self._tell(asked, StoreUnavailable(str(refused)))
            except StoreUnavailable as error:
                self._fail(asked, error)
            except Exception:  # noqa: BLE001 - without the thread nobody would get a session again
                logger.exception("the locks of sessions failed")
                self._fail(asked, StoreUnavailable("The locks of sessions failed; see the log."))
        self._end()

    def _next(self) -> tuple[list[_ServerLock], list[str]]:
        """What goes into one statement. A lock somebody here has is not asked for: we would get it."""
        given, self._given = self._given[:AT_ONCE], self._given[AT_ONCE:]
        chosen: dict[str, _ServerLock] = {}
        asked, self._asked = self._asked[:AT_ONCE], self._asked[AT_ONCE:]
        for lock in asked:
            if lock.abandoned:
                continue
            if lock.name in self._held or lock.name in self._given or lock.name in chosen:
                lock.answer.set()
            else:
                chosen[lock.name] = lock
        return list(chosen.values()), given

    def _speak(self, given: list[str], asked: list[_ServerLock]) -> None:
        line = self._line
        if line is not None and (self._lost or _hung_up(line)):
            self._drop_line()
            line = None
        if line is None:
            if not asked:
                return  # what was held, or to be released, went with the connection
            given, line = [], self._connect()
            with self._changed:
                self._line = line
        got = line.swap(given, [lock.name for lock in asked])
        with self._changed:
            if self._lost:
                raise StoreUnavailable("The database was lost when a session was to be locked.")
            for lock, ours in zip(asked, got, strict=True):
                if ours:
                    self._settle(lock, line)
                lock.answer.set()

    def _settle(self, lock: _ServerLock, line: LockLine) -> None:
        if lock.abandoned:
            self._given.append(lock.name)
        else:
            lock.line, self._held[lock.name] = line, lock

    def _fail(self, asked: list[_ServerLock], error: StoreUnavailable) -> None:
        self._drop_line()
        self._tell(asked, error)

    def _tell(self, asked: list[_ServerLock], error: StoreUnavailable) -> None:
        with self._changed:
            for lock in asked:
                lock.error = error
                lock.answer.set()

    def _lose(self) -> None:
        self._lost = True
        self._held.clear()
        self._given.clear()

    def _drop_line(self) -> None:
        with self._changed:
            self._lose()
            line, self._line, self._lost = self._line, None, False
        if line is not None:
            line.close()

    def _end(self) -> None:
        with self._changed:
            waiting, self._asked = self._asked, []
        self._fail(waiting, StoreUnavailable("The store was closed."))


_keepers: list[_Keeper] = []


def _hung_up(line: LockLine) -> bool:
    """Whether the server has ended the connection. Says nothing of one that is merely silent."""
    if not _GONE:
        return False
    poll = select.poll()
    with contextlib.suppress(OSError, ValueError):
        poll.register(line.fileno(), _GONE)
        return bool(poll.poll(0))
    return True
