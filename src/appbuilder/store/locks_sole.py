"""The locks of sessions on SQLite where one process has the database to itself, as most have.

To lock each session for each turn would be system calls that nobody needs, and each of them hands Python's
interpreter lock over. So the first process locks one byte for itself alone, and by that all sessions. Another
process that comes locks a second byte, which says that it waits. The first sees that within
:data:`LOOK_EVERY`, locks the sessions it has one by one (:mod:`appbuilder.store.locks_file`), and from then
on both share the first byte.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable

from appbuilder.core.cancel import CancelToken
from appbuilder.core.locks import SessionLock, SessionLocks
from appbuilder.errors import StoreUnavailable
from appbuilder.logs import logger
from appbuilder.per_process import PerProcess
from appbuilder.store.locks import FreeLocks, wait_for
from appbuilder.store.locks_file import SUFFIX, FileLocks, identity, open_lock_file, unusable

with contextlib.suppress(ImportError):  # on Windows there are no such locks, and nobody asks for these
    import fcntl

LOOK_EVERY = 0.2
"""Seconds between two looks whether another process waits, and whether the file is still there."""
_ALL = 0
"""The byte that stands for all sessions: held alone, or shared."""
_WAITING = 1
"""The byte held by processes that wait to share the first."""


class SoleLocks:
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
        claim = self._claim()
        if not claim.settle(alone=self._alone):
            return None
        return claim.take(session_id, self._files) if claim.alone else self._files.try_acquire(session_id)

    def acquire(self, session_id: str, timeout: float, token: CancelToken) -> SessionLock:
        return wait_for(lambda: self._try(session_id), timeout, token)

    def close(self) -> None:
        if self._path:
            _claims.get().drop(self._path, self, self._files)
        self._files.close()

    def _try(self, session_id: str) -> SessionLock | None:
        lock = self.try_acquire(session_id)
        if lock is None:
            self._claim().wait()
        return lock

    def _claim(self) -> _Claim:
        self._path = self._path or self._database() + SUFFIX + "/all"
        return _claims.get().of(self._path, self)


class _SoleLock:
    """A session, locked with all the others; or, since others came, by itself."""

    __slots__ = ("_claim", "files", "held", "own", "session_id", "waited")

    def __init__(self, claim: _Claim, session_id: str, files: FileLocks) -> None:
        self._claim = claim
        self.session_id = session_id
        self.files = files
        self.waited = False
        self.held = True
        self.own: SessionLock | None = None

    def check(self) -> None:
        if self._claim.lost or not self.held:
            raise StoreUnavailable("The lock of the session was lost: its file was deleted or replaced.")
        if self.own is not None:
            self.own.check()

    def release(self) -> None:
        self._claim.give(self)


class _Claim:
    """What this process has of all sessions: nothing yet, all of them alone, or a share."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = open_lock_file(path)
        self._identity = identity(os.fstat(self._descriptor))
        self._lock = threading.Lock()
        self._held: dict[str, _SoleLock] = {}
        self._settled = False
        self._waits = False
        self._closed = threading.Event()
        self.alone = False
        self.lost = False
        self.users: set[SoleLocks] = set()

    def settle(self, *, alone: bool) -> bool:
        """Gets this process its share, or all; False: another process has all, still."""
        if self._settled:
            return True
        with self._lock:
            if not self._settled:
                self.alone = alone and not self._waits and self._take(fcntl.LOCK_EX, _ALL)
                self._settled = self.alone or self._take(fcntl.LOCK_SH, _ALL)
                if self._settled and self._waits:
                    self._waits = False
                    self._free(_WAITING)
                if self.alone:
                    threading.Thread(target=self._look, name="appbuilder-locks", daemon=True).start()
            return self._settled

    def wait(self) -> None:
        """Says that this process waits for its share, if it does."""
        with self._lock:
            if not self._settled and not self._waits:
                self._waits = self._take(fcntl.LOCK_SH, _WAITING)

    def take(self, session_id: str, files: FileLocks) -> SessionLock | None:
        """The session's lock, where this process has all and has not given this one to anybody."""
        with self._lock:
            if not self.alone:  # since it was asked
                return files.try_acquire(session_id) if self._settled else None
            if session_id in self._held:
                return None
            lock = self._held[session_id] = _SoleLock(self, session_id, files)
            return lock

    def give(self, lock: _SoleLock) -> None:
        """Takes a session's lock back."""
        with self._lock:
            lock.held = False
            own, lock.own = lock.own, None
            if self._held.get(lock.session_id) is lock:
                del self._held[lock.session_id]
        if own is not None:
            own.release()

    def give_all(self, files: FileLocks) -> None:
        """Takes back the locks that one of the users has."""
        for lock in [lock for lock in list(self._held.values()) if lock.files is files]:
            self.give(lock)

    def close(self) -> None:
        """Gives this process's share up."""
        with self._lock:
            self._closed.set()
            self._settled = self.alone = False
            # Once: the number may be somebody else's file afterwards.
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                with contextlib.suppress(OSError):
                    os.close(descriptor)

    def _look(self) -> None:
        while not self._closed.wait(LOOK_EVERY):
            with self._lock:
                if self._closed.is_set() or not self._stays_alone():
                    return

    def _stays_alone(self) -> bool:
        try:
            if not self._in_place():
                self.lost = True
                logger.error("the session locks in %s were deleted or replaced", self._path)
            elif self._others_wait():
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

    def _others_wait(self) -> bool:
        if not self._take(fcntl.LOCK_EX, _WAITING):
            return True
        self._free(_WAITING)
        return False

    def _share(self) -> None:
        # Each session that is held before all are given up: nobody else can have them by then.
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


class _Claims:
    """This process's claims, one for each database: a file's locks end when it is closed anywhere here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_path: dict[str, _Claim] = {}

    def of(self, path: str, user: SoleLocks) -> _Claim:
        claim = self._by_path.get(path)
        if claim is not None and user in claim.users and not claim.lost:
            return claim
        with self._lock:
            claim = self._by_path.get(path)
            if claim is None or claim.lost:
                if claim is not None:
                    # Nobody finds that file any more: what is held there is lost. It is forgotten first, as
                    # there may be no other one yet.
                    del self._by_path[path]
                    claim.close()
                claim = self._by_path[path] = _opened(path)
            claim.users.add(user)
            return claim

    def drop(self, path: str, user: SoleLocks, files: FileLocks) -> None:
        with self._lock:
            claim = self._by_path.get(path)
            if claim is not None and user in claim.users:
                claim.give_all(files)
                claim.users.discard(user)
                if not claim.users:
                    del self._by_path[path]
                    claim.close()


def _opened(path: str) -> _Claim:
    try:
        return _Claim(path)
    except OSError as error:
        raise unusable(path, error) from None


_claims: PerProcess[_Claims] = PerProcess(_Claims)


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
    return SoleLocks(database, FileLocks(database), alone=alone)
