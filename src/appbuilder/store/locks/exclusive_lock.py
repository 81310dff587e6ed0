"""The locks of sessions on SQLite where one process has the database to itself, as most have.

To lock each session for each turn would be system calls that no one needs, and each of them hands Python's
interpreter lock over. So the first process locks one byte for itself alone, and by that all sessions. Another
process that comes locks a second byte, which says that it waits. The first sees that within
:data:`POLL_INTERVAL`, locks the sessions it has one by one (:mod:`appbuilder.store.locks.file_locks`), and
    from then on both share the first byte.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable

from appbuilder.core.cancel import CancelToken
from appbuilder.core.locks import SessionLock, SessionLocks
from appbuilder.errors import StoreUnavailable
from appbuilder.fork_safe import ForkSafe
from appbuilder.logs import logger
from appbuilder.store.locks.base import FreeLocks, wait_for
from appbuilder.store.locks.file_locks import SUFFIX, FileLocks, identity, open_lock_file, unusable

with contextlib.suppress(ImportError):  # on Windows there are no such locks, and no one asks for these
    import fcntl

POLL_INTERVAL = 0.2
"""Seconds between two looks whether another process waits, and whether the file is still there."""
_ALL = 0
"""The byte that stands for all sessions: held alone, or shared."""
_WAITING = 1
"""The byte held by processes that wait to share the first."""


class ExclusiveLocks:
    """A :class:`appbuilder.core.locks.SessionLocks` that asks the system only where there are others.

    :param database: the path of the database.
    :param files: locks each session by itself.
    :param alone: False: others are expected, and each session is locked by itself from the beginning.
    """

    def __init__(self, database: Callable[[], str], files: FileLocks, *, alone: bool) -> None:
        self._database = database
        self._files = files
        self._alone = alone
        self._path = ""

    def try_acquire(self, session_id: str) -> SessionLock | None:
        process_lock = self._process_lock()
        if not process_lock.acquire_mode(alone=self._alone):
            return None
        return (
            process_lock.take(session_id, self._files)
            if process_lock.alone
            else self._files.try_acquire(session_id)
        )

    def acquire(self, session_id: str, timeout: float, token: CancelToken) -> SessionLock:
        return wait_for(lambda: self._try(session_id), timeout, token)

    def close(self) -> None:
        if self._path:
            _process_locks.get().drop(self._path, self, self._files)
        self._files.close()

    def _try(self, session_id: str) -> SessionLock | None:
        lock = self.try_acquire(session_id)
        if lock is None:
            self._process_lock().wait()
        return lock

    def _process_lock(self) -> _ProcessLock:
        self._path = self._path or self._database() + SUFFIX + "/all"
        return _process_locks.get().of(self._path, self)


class _ExclusiveLock:
    """A session, locked with all the others; or, since others came, by itself."""

    __slots__ = ("_process_lock", "files", "held", "own", "session_id", "waited")

    def __init__(self, process_lock: _ProcessLock, session_id: str, files: FileLocks) -> None:
        self._process_lock = process_lock
        self.session_id = session_id
        self.files = files
        self.waited = False
        self.held = True
        self.own: SessionLock | None = None

    def check(self) -> None:
        if self._process_lock.lost or not self.held:
            raise StoreUnavailable("The lock of the session was lost: its file was deleted or replaced.")
        if self.own is not None:
            self.own.check()

    def release(self) -> None:
        self._process_lock.give(self)


class _ProcessLock:
    """What this process has of all sessions: nothing yet, all of them alone, or a share."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = open_lock_file(path)
        self._identity = identity(os.fstat(self._descriptor))
        self._lock = threading.Lock()
        self._held: dict[str, _ExclusiveLock] = {}
        self._has_mode = False
        self._is_waiting = False
        self._closed = threading.Event()
        self.alone = False
        self.lost = False
        self.users: set[ExclusiveLocks] = set()

    def acquire_mode(self, *, alone: bool) -> bool:
        """Gets this process its share, or all; False: another process has all, still."""
        if self._has_mode:
            return True
        with self._lock:
            if not self._has_mode:
                self.alone = alone and not self._is_waiting and self._take(fcntl.LOCK_EX, _ALL)
                self._has_mode = self.alone or self._take(fcntl.LOCK_SH, _ALL)
                if self._has_mode and self._is_waiting:
                    self._is_waiting = False
                    self._free(_WAITING)
                if self.alone:
                    threading.Thread(target=self._look, name="appbuilder-locks", daemon=True).start()
            return self._has_mode

    def wait(self) -> None:
        """Says that this process waits for its share, if it does."""
        with self._lock:
            if not self._has_mode and not self._is_waiting:
                self._is_waiting = self._take(fcntl.LOCK_SH, _WAITING)

    def take(self, session_id: str, files: FileLocks) -> SessionLock | None:
        """The session's lock, where this process has all and has not given this one to anybody."""
        with self._lock:
            if not self.alone:  # since it was asked
                return files.try_acquire(session_id) if self._has_mode else None
            if session_id in self._held:
                return None
            lock = self._held[session_id] = _ExclusiveLock(self, session_id, files)
            return lock

    def give(self, lock: _ExclusiveLock) -> None:
        """Takes a session's lock back."""
        with self._lock:
            lock.held = False
            own, lock.own = lock.own, None
            if self._held.get(lock.session_id) is lock:
                del self._held[lock.session_id]
        if own is not None:
            own.release()

    def release_all(self, files: FileLocks) -> None:
        """Takes back the locks that one of the users has."""
        for lock in [lock for lock in list(self._held.values()) if lock.files is files]:
            self.give(lock)

    def close(self) -> None:
        """Gives this process's share up."""
        with self._lock:
            self._closed.set()
            self._has_mode = self.alone = False
            # Once: the number may be another file afterwards.
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                with contextlib.suppress(OSError):
                    os.close(descriptor)

    def _look(self) -> None:
        while not self._closed.wait(POLL_INTERVAL):
            with self._lock:
                if self._closed.is_set() or not self._remains_exclusive():
                    return

    def _remains_exclusive(self) -> bool:
        try:
            if not self._in_place():
                self.lost = True
                logger.error("the session locks in %s were deleted or replaced", self._path)
            elif self._has_waiters():
                self._share()
        except StoreUnavailable as error:
            self.lost = True
            logger.error("%s", error)
        return self.alone and not self.lost

    def _in_place(self) -> bool:
        try:
            return identity(os.stat(self._path)) == self._identity
        except OSError:
            return False

    def _has_waiters(self) -> bool:
        if not self._take(fcntl.LOCK_EX, _WAITING):
            return True
        self._free(_WAITING)
        return False

    def _share(self) -> None:
        # Each session that is held before all are given up: no other can have them by then.
        for session_id, lock in self._held.items():
            lock.own = lock.files.try_acquire(session_id)
            if lock.own is None:
                logger.error("a session's lock could not be kept")
                self.lost = True
        self._held.clear()
        self._take(fcntl.LOCK_SH, _ALL)
        self.alone = False

    def _take(self, kind: int, byte: int) -> bool:
        if self._descriptor < 0:  # closed since it was looked up: who asks again gets the next one
            return False
        try:
            fcntl.lockf(self._descriptor, kind | fcntl.LOCK_NB, 1, byte)
        except (BlockingIOError, PermissionError):  # EAGAIN or EACCES: another process has it
            return False
        except OSError as error:
            raise unusable(self._path, error) from None
        return True

    def _free(self, byte: int) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, byte)


class _ProcessLocks:
    """This process's claims, one for each database: a file's locks end when it is closed anywhere here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_path: dict[str, _ProcessLock] = {}

    def of(self, path: str, user: ExclusiveLocks) -> _ProcessLock:
        process_lock = self._by_path.get(path)
        if process_lock is not None and user in process_lock.users and not process_lock.lost:
            return process_lock
        with self._lock:
            process_lock = self._by_path.get(path)
            if process_lock is None or process_lock.lost:
                if process_lock is not None:
                    # No one finds that file any more: what is held there is lost. It is forgotten first, as
                    # there may be no other one yet.
                    del self._by_path[path]
                    process_lock.close()
                process_lock = self._by_path[path] = _opened(path)
            process_lock.users.add(user)
            return process_lock

    def drop(self, path: str, user: ExclusiveLocks, files: FileLocks) -> None:
        with self._lock:
            process_lock = self._by_path.get(path)
            if process_lock is not None and user in process_lock.users:
                process_lock.release_all(files)
                process_lock.users.discard(user)
                if not process_lock.users:
                    del self._by_path[path]
                    process_lock.close()


def _opened(path: str) -> _ProcessLock:
    try:
        return _ProcessLock(path)
    except OSError as error:
        raise unusable(path, error) from None


_process_locks: ForkSafe[_ProcessLocks] = ForkSafe(_ProcessLocks)


def open_locks(database: Callable[[], str], *, alone: bool) -> SessionLocks:
    """The locks of the sessions in a file.

    :param database: the path of the database.
    :param alone: as a rule no other process serves it.
    """
    if os.name != "posix":
        logger.warning(
            "This system has no locks that processes on one SQLite file could share: "
            "run one process, or use PostgreSQL, MariaDB or MySQL."
        )
        return FreeLocks()
    return ExclusiveLocks(database, FileLocks(database), alone=alone)
